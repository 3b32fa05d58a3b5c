"""A client of the load: asks, writes down every answer, and looks back when an answer never came or a process was killed.

Looking back is what finds a change that was acknowledged and undone by a kill before the client makes another one in its
place. It also ends every doubt: whoever asks next knows again what there is.
"""

from __future__ import annotations

import random
import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from strongroom.cli.admin_socket import AdminRefusedError
from testkit.installation import Installation
from worlds.ledger import Failure, Ledger, opens
from worlds.shown import Clients, clients_of, shown

# A mutation waits for its fsync, so nobody needs to wait for it here.
_PAUSE_S: Final = 0.003
_PAUSE_AFTER_FAILURE_S: Final = 0.02
# As many changes as are made within a few tenths of a second.
_LOOKED_BACK_AT: Final = 8
_LOOK_BACK: Final = "look back"

Acts = Sequence[tuple[Callable[[], None], float]]


class Asker(threading.Thread):
    """One client with subjects of its own, so that it alone knows what they must be."""

    def __init__(self, name: str, installation: Installation, seed: int, stop: threading.Event) -> None:
        super().__init__(name=f"{name}-{seed}")
        self.ledger = Ledger()
        self._installation = installation
        self._random = random.Random(f"{name} {seed}")
        self._stop_asked = stop
        self._clients: Clients
        self._count = 0
        self._recent: deque[str] = deque(maxlen=_LOOKED_BACK_AT)
        # Of the ciphertexts, those that were looked back at.
        self._opened = 0
        self.error: BaseException | None = None

    @abstractmethod
    def _acts(self) -> Acts:
        """What it does, and how often beside the others."""

    def run(self) -> None:
        try:
            with clients_of(self._installation, self.ledger.answered) as self._clients:
                while not self._stop_asked.is_set():
                    if self.ledger.doubts.is_set():
                        self._look_back()
                    else:
                        self._act()
                    time.sleep(_PAUSE_S)
        except BaseException as error:  # noqa: BLE001 -- told to the test, which fails with it.
            self.error = error

    def _act(self) -> None:
        chosen, weights = zip(*self._acts(), strict=True)
        self._random.choices(chosen, weights)[0]()

    # ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _ask(self, operation: str, **arguments: Any) -> dict[str, Any] | None:
        """The answer of KMS, written down; None if there was none."""
        answer: dict[str, Any] | None = self._try(operation, lambda: getattr(self._clients.kms, operation)(**arguments))
        return answer

    def _try(self, operation: str, act: Callable[[], Any]) -> Any:
        """What it comes to; None if it failed."""
        started = time.monotonic()
        try:
            answer = act()
        except ClientError as error:
            self._failed(started, operation, str(error), error.response["ResponseMetadata"]["HTTPStatusCode"])
            return None
        except (BotoCoreError, ConnectionError) as error:
            self._failed(started, operation, type(error).__name__, 0)
            return None
        except AdminRefusedError as error:
            self._failed(started, operation, str(error), 400)
            return None
        self.ledger.acknowledged += operation != _LOOK_BACK
        self.ledger.operations.add(operation)
        return answer

    def _failed(self, started: float, operation: str, error: str, status: int) -> None:
        self.ledger.failures.append(Failure(started, time.monotonic(), operation, error, status))
        self.ledger.doubts.set()
        time.sleep(_PAUSE_AFTER_FAILURE_S)

    def _change(self, subject: str, respect: str, value: Any, operation: str, **arguments: Any) -> bool:
        """Ask for a change of one fact, and note what came of it."""
        done = self._ask(operation, **arguments) is not None
        self._note(subject, respect, value, is_done=done)
        return done

    def _note(self, subject: str, respect: str, value: Any, *, is_done: bool) -> None:
        self.ledger.note(subject, respect, value, is_done=is_done)
        self._recent.append(subject)

    def _made(self, subject: str, **facts: Any) -> None:
        self.ledger.facts[subject] = {respect: {value} for respect, value in facts.items()}
        self._recent.append(subject)

    def _word(self) -> str:
        self._count += 1
        return f"{self.name} {self._count}"

    # ── looking back ────────────────────────────────────────────────────────────────────────────────────────────

    def _look_back(self) -> None:
        """At what was changed and encrypted last since it did so; again later, if that cannot be seen now."""
        self.ledger.doubts.clear()
        for subject in dict.fromkeys(self._recent):
            facts = self.ledger.facts[subject]
            found = self._try(_LOOK_BACK, lambda: shown(self._clients, subject, facts))  # noqa: B023 -- called at once.
            if found is None:
                return
            self.ledger.settle(subject, found)
        for blob in self.ledger.blobs[max(self._opened, len(self.ledger.blobs) - _LOOKED_BACK_AT) :]:
            opened = self._try(_LOOK_BACK, lambda: opens(self._clients.kms, blob))  # noqa: B023
            if opened is None:
                return
            if not opened:
                self.ledger.missed.append(f"ciphertext made lately by {self.name}")
        if not self.ledger.doubts.is_set():  # Nothing was killed meanwhile.
            self._recent.clear()
            self._opened = len(self.ledger.blobs)
