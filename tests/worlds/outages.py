"""The outages that kills make: how long each may last, and which failures it explains."""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from worlds.ledger import Failure
from worlds.yardstick import Yardstick

SERVES_AGAIN_S_MAX: Final = 2.0
# Who comes back so many times later than promised is not late: there was nothing that would have brought it back.
AWAY_TIMES: Final = 3
# What the supervisor may wait before it starts again what died again and again, as it was promised; it counts from the
# beginning for what served for a second, and a moment of that goes by before it is noticed here.
_BACK_OFF_S: Final = (0.05, 0.1, 0.3, 1.0, 2.0, 5.0)
_STABLE_S: Final = 1.5
# Whoever asks a silent HSM is told within so many seconds; of the clock for that, and of the way there.
_ANSWER_S_MAX: Final = 5.0
_ANSWER_SLACK_S: Final = 0.75
# In which a request that was under way is asked again, and answered.
_CATCHES_UP_S: Final = 0.25


class Outage(NamedTuple):
    """From a kill to the next data key. The promise counts from the `last` kill before it.

    `promised_s` is of a free machine, and `slowness` what the yardstick said of this one at that time.
    """

    actor: str
    killed: float
    last: float
    served: float
    promised_s: float
    slowness: float = 1.0

    @property
    def seconds(self) -> float:
        return self.served - self.last

    @property
    def late_s(self) -> float:
        return self.promised_s * self.slowness

    def __str__(self) -> str:
        return f"{self.actor} {self.seconds:.2f} s, more than {self.late_s:.2f} s"

    def measured(self, yardstick: Yardstick) -> Outage:
        return self._replace(slowness=yardstick.slowness(self.killed, self.served))

    def explains(self, failure: Failure) -> bool:
        """It is a reason for the failure.

        What a killed HSM did not answer, the service asks the next one: clients wait, and notice nothing unless the outage
        takes as long as an answer may, and may itself take so long. What a killed worker did not answer is a broken
        connection; the same where nobody listens. And nothing hangs: an answer has its time, from when there is somebody
        to give it.
        """
        if failure.is_callers or failure.started > self.served or failure.ended < self.killed:
            return False
        lasted, took = self.last - self.killed + min(self.seconds, self.late_s), failure.ended - failure.started
        if took > lasted + (_ANSWER_S_MAX + _ANSWER_SLACK_S) * self.slowness:
            return False
        if self.actor != "hsm" and (failure.status == 0 or failure.started <= self.killed):
            return True
        given = _ANSWER_S_MAX - _ANSWER_SLACK_S
        return took >= given and lasted >= given - _CATCHES_UP_S * self.slowness


class BackOffs:
    """How long the supervisor may wait before it starts each of its processes again, seen from outside."""

    def __init__(self) -> None:
        self._deaths: Counter[str] = Counter()
        self._serves_since: dict[str, float] = {}

    def died(self, name: str, now: float) -> float:
        """Seconds, after this death."""
        if now - self._serves_since.pop(name, now) > _STABLE_S:
            self._deaths[name] = 0
        wait_s = _BACK_OFF_S[min(self._deaths[name], len(_BACK_OFF_S) - 1)]
        self._deaths[name] += 1
        return wait_s

    def serve(self, now: float) -> None:
        """All of them."""
        self._serves_since |= dict.fromkeys(self._deaths.keys() - self._serves_since.keys(), now)

    def forget(self) -> None:
        """Another supervisor knows of nothing."""
        self._deaths.clear()
        self._serves_since.clear()
