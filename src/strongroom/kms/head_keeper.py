"""Has the heads of all workers' chains signed by the home region's HSM, every few seconds and at a clean stop.

One worker at a time keeps the head log: whoever has its lock, which ends with its process. The others ask for it each
time, and so one of them goes on when the keeper is gone.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from strongroom.boundary.messages import SignatureAnswer, SignAuditHead
from strongroom.kms.audit.heads import AuditInUseError, HeadLog
from strongroom.kms.audit.log import AuditLog
from strongroom.kms.driver import run
from strongroom.kms.gate import Gate
from strongroom.kms.hsm_link.link import HsmLink

# How often a worker that stops looks whether the one that keeps the heads has stopped.
_KEEPER_STOPS_S: Final = 0.05


class HeadKeeper:
    """One worker's part in it."""

    def __init__(self, directory: Path, log: AuditLog, link: HsmLink, gate: Gate, domain_id: bytes) -> None:
        self._directory = directory
        self._heads: HeadLog | None = None
        self._log = log
        self._link = link
        self._gate = gate
        self._domain_id = domain_id

    async def sign(self, now_s: float) -> bool:
        """One head, if anything was recorded since the last; False when another worker keeps them.

        Files are touched in a thread.
        """
        loop = asyncio.get_running_loop()
        self._log.flush_noise(now_s)
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
