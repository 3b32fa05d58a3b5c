"""Has the heads of all workers' chains signed by the home region's HSM, every few seconds and at a clean stop.

One worker at a time keeps the head log: whoever has its lock, which ends with its process. The others ask for it each
time, and so one of them goes on when the keeper is gone.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from strongroom.boundary.messages import SignatureAnswer, SignAuditHead
from strongroom.kms.audit.heads import AuditInUseError, HeadLog, last_signed_of
from strongroom.kms.audit.log import AuditLog
from strongroom.kms.audit.retention import retain_heads
from strongroom.kms.audit.segments import AuditUnavailableError
from strongroom.kms.driver import run
from strongroom.kms.gate import Gate
from strongroom.kms.hsm_link.link import HsmLink

# How often a worker that stops looks whether the one that keeps the heads has stopped.
_KEEPER_STOPS_S: Final = 0.05
# What retention waits for its record to be signed for: some times the interval at which the keeper signs.
_SIGNED_TRIES: Final = 60
_SIGNED_PAUSE_S: Final = 0.5
_DAY_S: Final = 86_400.0
_LOG = logging.getLogger("strongroom.kms")


class HeadKeeper:
    """One worker's part in it."""

    def __init__(self, directory: Path, log: AuditLog, link: HsmLink, gate: Gate, domain_id: bytes) -> None:
        self._directory = directory
        self._heads: HeadLog | None = None
        self._log = log
        self._link = link
        self._gate = gate
        self._domain_id = domain_id
        # Two heads that follow the same one would be one too many.
        self._signing = asyncio.Lock()

    @property
    def heads(self) -> HeadLog | None:
        """The head log, where this worker keeps it."""
        return self._heads

    async def retain(self, days: float, now_s: float) -> None:
        """Remove what is older from this worker's chain, from those of workers that are no more, and from the heads.

        Raises:
            AuditUnavailableError: the trail could not record that it does, or nobody signed for it; it stays.
        """
        loop = asyncio.get_running_loop()

        def have_it_signed() -> None:
            asyncio.run_coroutine_threadsafe(self._sign_through(now_s), loop).result()

        removed = await loop.run_in_executor(None, self._log.retain, days, have_it_signed)
        if removed:
            _LOG.info("audit retention removed %d segments, the last is %s", len(removed), removed[-1])
        heads = self._heads
        if heads is not None:
            cutoff_s = now_s - days * _DAY_S
            await loop.run_in_executor(None, retain_heads, self._directory, heads, self._log, cutoff_s, have_it_signed)

    async def _sign_through(self, now_s: float) -> None:
        """Come back when a head covers what this worker recorded, whoever keeps the heads."""
        loop = asyncio.get_running_loop()
        wanted = self._log.head()
        for _ in range(_SIGNED_TRIES):
            await self.sign(now_s)
            signed = await loop.run_in_executor(None, last_signed_of, self._directory, wanted.writer)
            if signed is not None and signed.seq >= wanted.seq:
                return
            await asyncio.sleep(_SIGNED_PAUSE_S)
        raise AuditUnavailableError("nobody signed for what audit retention recorded")

    async def sign(self, now_s: float) -> bool:
        """One head, if anything was recorded since the last; False when another worker keeps them.

        Files are touched in a thread.
        """
        self._log.flush_noise(now_s)
        async with self._signing:
            return await self._sign()

    async def _sign(self) -> bool:
        loop = asyncio.get_running_loop()
        heads = await loop.run_in_executor(None, self._keep)
        if heads is None:
            return False
        proposal = await loop.run_in_executor(None, heads.propose)
        if proposal is None:
            return True
        answer = await run(self._ask(proposal.digest))

        def append() -> None:
            heads.append(
                proposal,
                domain_id=self._domain_id,
                hsm_id=answer.hsm_id,
                signed_at_s=answer.signed_at_s,
                signature=answer.signature,
            )

        await loop.run_in_executor(None, append)
        return True

    async def sign_last(self, now_s: float) -> None:
        """At a stop: what this worker recorded is signed for, by it or by one that stops later."""
        is_signed = await self.sign(now_s)
        while not is_signed:
            await asyncio.sleep(_KEEPER_STOPS_S)
            is_signed = await self.sign(now_s)

    def _keep(self) -> HeadLog | None:
        if self._heads is None:
            try:
                self._heads = HeadLog(self._directory)
            except AuditInUseError:
                return None
        return self._heads

    def close(self) -> None:
        if self._heads is not None:
            self._heads.close()

    async def _ask(self, digest: bytes) -> SignatureAnswer:
        return await self._link.call(
            (self._gate.chore("SignAuditHead"),),
            (),
            lambda request_id: SignAuditHead(request_id, digest),
            SignatureAnswer,
        )
