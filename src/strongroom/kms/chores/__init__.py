"""What a worker does by itself: signed audit heads, noise counts, closing of late connections."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from strongroom.boundary.messages import SignatureAnswer, SignAuditHead
from strongroom.kms.audit.heads import HeadLog
from strongroom.kms.audit.log import AuditLog
from strongroom.kms.driver import run
from strongroom.kms.gate import Gate
from strongroom.kms.hsm_link.link import HsmLink

_LOG = logging.getLogger("strongroom.kms")


class AuditHeads:
    """Has the heads of the chain signed by the HSM, every few seconds and at a clean stop."""

    def __init__(self, heads: HeadLog, log: AuditLog, link: HsmLink, gate: Gate, domain_id: bytes) -> None:
        self._heads = heads
        self._log = log
        self._link = link
        self._gate = gate
        self._domain_id = domain_id

    async def sign(self, now_s: float) -> None:
        """One head, if anything was recorded since the last; files are touched in a thread."""
        loop = asyncio.get_running_loop()
        self._log.flush_noise(now_s)
        proposal = await loop.run_in_executor(None, self._heads.propose)
        if proposal is None:
            return
        answer = await run(self._ask(proposal.digest))

        def append() -> None:
            self._heads.append(
                proposal,
                domain_id=self._domain_id,
                hsm_id=answer.hsm_id,
                signed_at_s=answer.signed_at_s,
                signature=answer.signature,
            )

        await loop.run_in_executor(None, append)

    async def _ask(self, digest: bytes) -> SignatureAnswer:
        return await self._link.call(
            (self._gate.chore("SignAuditHead"),),
            (),
            lambda request_id: SignAuditHead(request_id, digest),
            SignatureAnswer,
        )


async def repeat(interval_s: float, name: str, chore: Callable[[], Awaitable[None]], *, at_once: bool = False) -> None:
    """Do a chore again and again; one that fails is logged and done again at its time."""
    pause_s = 0.0 if at_once else interval_s
    while True:
        await asyncio.sleep(pause_s)
        pause_s = interval_s
        try:
            await chore()
        except Exception as error:  # noqa: BLE001 -- a chore that ended would end silently.
            _LOG.warning("%s failed and will be done again: %s", name, type(error).__name__)
