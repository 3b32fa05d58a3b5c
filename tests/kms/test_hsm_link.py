"""The link to the HSM against a real HSM process: batches, renewal, silence, restarts."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from strongroom.boundary.domain_token import parse_domain_token
from strongroom.boundary.messages import Decrypt, GenerateRandom, PlaintextAnswer
from strongroom.kms.driver import run
from strongroom.kms.faults import DependencyTimeoutException, KMSInternalException
from strongroom.kms.hsm_link import link as link_module
from strongroom.kms.hsm_link.host_session import HostIdentity
from strongroom.kms.hsm_link.link import HsmLink
from strongroom.kms.permits import KEYLESS, Permit, PermitError
from testkit.installation import Installation
from testkit.workers import stand_still, stopped


@pytest.fixture(scope="module")
def own() -> Iterator[Installation]:
    """An installation whose HSM these tests may stop."""
    running = Installation().start()
    yield running
    running.destroy()


def with_link(installation: Installation, body: Callable[[HsmLink], Awaitable[None]]) -> None:
    """Run a body with a second host session of the home's own service host."""
    home = installation.home
    _, state = parse_domain_token((home / "domain" / "token-000001").read_bytes())
    private = load_pem_private_key((home / "host" / "identity.pem").read_bytes(), None)
    identity = HostIdentity("service-1", private)  # type: ignore[arg-type]

    async def main() -> None:
        link = HsmLink(str(home / "run" / "hsm" / "hsm-1.sock"), identity, state, lambda work: work())
        link.start()
        try:
            await body(link)
        finally:
            link.close()
            await asyncio.sleep(0.05)

    asyncio.run(main())


async def draw(link: HsmLink, length: int = 16) -> bytes:
    async def ask() -> bytes:
        permit = Permit("r", "kms:GenerateRandom", KEYLESS, 0)
        answer = await link.call((permit,), (), lambda rid: GenerateRandom(rid, length), PlaintextAnswer)
        return answer.plaintext

    return await run(ask())


def test_calls_of_one_loop_turn_are_answered_each_with_its_own(own: Installation) -> None:
    async def body(link: HsmLink) -> None:
        lengths = [1 + number % 64 for number in range(500)]
        drawn = await asyncio.gather(*(draw(link, length) for length in lengths))
        assert [len(value) for value in drawn] == lengths
        assert len({value for value in drawn if len(value) > 15}) == sum(length > 15 for length in lengths)

    with_link(own, body)


def test_a_session_is_renewed_under_load_without_a_failed_call(own: Installation) -> None:
    async def body(link: HsmLink) -> None:
        await draw(link)
        before = link._session
        stop = False

        async def load() -> int:
            done = 0
            while not stop:
                await draw(link)
                done += 1
            return done

        loads = [asyncio.ensure_future(load()) for _ in range(16)]
        for _ in range(3):
            await asyncio.sleep(0.1)
            link._renew()
        for _ in range(6_000):
            if link._session not in (None, before):
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        stop = True
        assert min(await asyncio.gather(*loads)) > 0
        assert link._session is not None
        assert link._session is not before

    with_link(own, body)


def test_a_silent_hsm_fails_calls_in_time_and_serves_again_when_it_wakes(
    own: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body(link: HsmLink) -> None:
        await draw(link)
        monkeypatch.setattr(link_module, "ANSWER_S_MAX", 1.0)
        with stopped(own.pid_of("hsm")), pytest.raises(DependencyTimeoutException):
            await asyncio.wait_for(draw(link), 30)
        monkeypatch.setattr(link_module, "ANSWER_S_MAX", 60.0)
        await asyncio.wait_for(draw(link), 60)

    with_link(own, body)


def test_what_was_under_way_when_the_hsm_died_is_asked_again(
    own: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The next HSM is there in time, however slow the machine is.
    monkeypatch.setattr(link_module, "ANSWER_S_MAX", 60.0)

    async def body(link: HsmLink) -> None:
        await draw(link)
        hsm = own.pid_of("hsm")
        stand_still(hsm)
        waiting = [asyncio.ensure_future(draw(link)) for _ in range(100)]
        await asyncio.sleep(0.1)
        os.kill(hsm, signal.SIGKILL)
        assert len(set(await asyncio.wait_for(asyncio.gather(*waiting), 60))) == 100

    with_link(own, body)


def test_commands_that_outgrow_a_frame_travel_in_the_next(own: Installation) -> None:
    """64 of the largest commands are longer than a frame may be: none is lost, and the link goes on."""
    context = {str(number): "v" * 1000 for number in range(16)}

    async def body(link: HsmLink) -> None:
        await draw(link)

        async def refused() -> None:
            permit = Permit("r", "kms:Decrypt", KEYLESS, 0)
            await link.call((permit,), (), lambda rid: Decrypt(rid, 0, bytes(6144), context), PlaintextAnswer)

        answers = await asyncio.gather(*(run(refused()) for _ in range(192)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {KMSInternalException}
        assert len(await asyncio.wait_for(draw(link), 60)) == 16

    with_link(own, body)


def test_a_stranger_s_key_opens_no_session(own: Installation) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    async def body(link: HsmLink) -> None:
        link._identity = HostIdentity("service-1", ec.generate_private_key(ec.SECP384R1()))
        await asyncio.sleep(0.5)
        assert not link.is_open

    with_link(own, body)


def test_a_permit_is_redeemed_before_a_command_is_queued(own: Installation) -> None:
    async def body(link: HsmLink) -> None:
        permit = Permit("r", "kms:GenerateRandom", KEYLESS, 0)
        link.call((permit,), (), lambda rid: GenerateRandom(rid, 1), PlaintextAnswer)
        with pytest.raises(PermitError):
            link.call((permit,), (), lambda rid: GenerateRandom(rid, 1), PlaintextAnswer)

    with_link(own, body)


def test_the_socket_path_is_where_the_home_says(own: Installation) -> None:
    assert Path(own.home / "run" / "hsm" / "hsm-1.sock").is_socket()
