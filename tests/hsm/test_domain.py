"""A domain's life at one member: create, restart from sealed state, recover from the bundle."""

from __future__ import annotations

import itertools
import os

import msgspec
import pytest

from strongroom.boundary import control, session
from strongroom.boundary import domain_token as dt
from strongroom.boundary.messages import CiphertextAnswer, Decrypt, Encrypt, PlaintextAnswer, SealColumn
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.hsm.domain import domain as domain_module
from strongroom.hsm.domain import token as domain_token
from strongroom.hsm.domain.identity import Identity
from strongroom.hsm.domain.recovery import open_bundle
from strongroom.hsm.module import ModuleState
from strongroom.hsm.vault.ring import Ring
from testkit.module import HOST_ID, KEY_ID, REGION, Hsm, operational_hsm, public_of


def created_of(hsm: Hsm) -> control.DomainCreated:
    assert hsm.created is not None
    return hsm.created


def recovered(lost: Hsm, **settings: object) -> Hsm:
    """Another HSM that took the domain over with the lost one's bundle, all its shares and its token."""
    created = created_of(lost)
    hsm = Hsm(**{"hsm_id": "hsm-2", "seal_secret": os.urandom(32), "host": lost.host, **settings})  # type: ignore[arg-type]
    answer = hsm.recover_domain(created.recovery_bundle, created.shares, created.domain_token)
    assert isinstance(answer, control.DomainCreated), answer
    return hsm


def command(hsm: Hsm, shares: tuple[int, int] = (1, 1)) -> control.CreateDomain:
    return control.CreateDomain("primary", REGION, HOST_ID, public_of(hsm.host.private), *shares)


# ── create ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_domain_has_this_hsm_an_offline_member_one_host_and_one_key(hsm: Hsm) -> None:
    state = hsm.domain
    assert [(member.member_id, member.offline) for member in state.members] == [
        ("hsm-1", False),
        ("hsm-1-offline-1", True),
    ]
    assert [(operator.operator_id, operator.role) for operator in state.operators] == [(HOST_ID, "service-host")]
    assert [info.domain_key_id for info in state.domain_keys] == list(hsm.domain_keys)
    assert (state.version, state.previous_digest, len(state.domain_id)) == (1, b"", 16)
    token, _ = dt.parse_domain_token(created_of(hsm).domain_token)
    dt.verify_domain_token(token, state.members[:1])


def test_what_a_domain_hands_out_holds_no_key_in_plain_form(hsm: Hsm) -> None:
    created, domain = created_of(hsm), hsm.module.domain()
    secrets = [*hsm.domain_keys.values(), hsm.seal_secret]
    for der in domain.identity.private_parts():
        secrets += [der, der[35:83]]  # The scalar inside PKCS#8.
    for data in (created.sealed_state, created.domain_token, created.recovery_bundle, *created.shares):
        assert not any(secret in data for secret in secrets)


def test_nothing_is_wrapped_before_the_state_is_acknowledged() -> None:
    hsm = Hsm()
    hsm.create_domain(acknowledge=False)
    assert hsm.module.report().state_acknowledged is False
    hello = hsm.connect().new_handshake().hello()
    with pytest.raises(RefusedError, match="STATE_UNACKNOWLEDGED"):
        hsm.connect().connection.handle(session.FrameType.HELLO, hello)
    with pytest.raises(RefusedError, match="STATE_UNACKNOWLEDGED"):
        hsm.module.execute(b"")
    for version in (0, 2, -1):
        assert hsm.control(control.AcknowledgeState(version)) == control.ControlRefused(Status.OUT_OF_ORDER)
    with pytest.raises(RefusedError, match="STATE_UNACKNOWLEDGED"):
        hsm.connect().handshake()
    hsm.acknowledge()
    assert hsm.open_peer().status_of(SealColumn(1, "c", "r", b"v")) is Status.SUCCESS


def test_nothing_is_done_without_a_domain() -> None:
    hsm = Hsm()
    assert hsm.module.state is ModuleState.INITIALISED
    with pytest.raises(RefusedError, match="NOT_OPERATIONAL"):
        hsm.module.execute(b"")
    assert hsm.control(control.AcknowledgeState(0)) == control.ControlRefused(Status.OUT_OF_ORDER)


def test_a_domain_is_created_once(hsm: Hsm) -> None:
    keys = hsm.domain_keys
    assert hsm.control(command(hsm)) == control.ControlRefused(Status.OUT_OF_ORDER)
    assert hsm.domain_keys == keys
    assert hsm.restart().control(command(hsm)) == control.ControlRefused(Status.OUT_OF_ORDER)


def test_an_operational_hsm_takes_no_other_domain_over(hsm: Hsm) -> None:
    other = created_of(operational_hsm())
    answer = hsm.recover_domain(other.recovery_bundle, other.shares, other.domain_token)
    assert answer == control.ControlRefused(Status.OUT_OF_ORDER)


@pytest.mark.parametrize("shares", [(0, 0), (1, 0), (1, 2), (256, 1), (300, 300), (-1, -1), (1 << 62, 1 << 62)])
def test_impossible_shares_are_refused_and_leave_the_hsm_as_it_was(shares: tuple[int, int]) -> None:
    hsm = Hsm()
    used = hsm.arena.lasting.used
    assert hsm.control(command(hsm, shares)) == control.ControlRefused(Status.MALFORMED)
    assert hsm.module.state is ModuleState.INITIALISED
    assert hsm.arena.lasting.used == used
    hsm.create_domain()


def test_a_refused_creation_leaves_no_key_in_the_arena() -> None:
    hsm = Hsm()
    used = hsm.arena.lasting.used
    bad_host = msgspec.structs.replace(command(hsm), service_host_public=bytes(97))
    for _ in range(200):  # Otherwise the arena would be full after some of them.
        assert hsm.control(bad_host) == control.ControlRefused(Status.AUTHENTICATION_FAILED)
    assert hsm.arena.lasting.used == used
    assert not any(hsm.arena.lasting._view[used:])


# ── restart ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_restarted_hsm_is_the_same_member_with_the_same_keys(hsm: Hsm) -> None:
    restarted = hsm.restart()
    assert restarted.module.state is ModuleState.OPERATIONAL
    assert restarted.module.report().state_acknowledged
    assert restarted.domain_keys == hsm.domain_keys
    assert restarted.module.domain().identity.member == hsm.module.domain().identity.member


def test_another_seal_secret_does_not_open_the_state(hsm: Hsm) -> None:
    with pytest.raises(RefusedError, match="AUTHENTICATION_FAILED"):
        hsm.restart(seal_secret=os.urandom(32))


def test_every_flipped_byte_of_a_sealed_state_is_refused(hsm: Hsm) -> None:
    sealed = created_of(hsm).sealed_state
    probe = Hsm()
    mark = probe.arena.lasting.used
    for at in range(len(sealed)):
        altered = sealed[:at] + bytes((sealed[at] ^ 0x01,)) + sealed[at + 1 :]
        with pytest.raises(RefusedError, match="AUTHENTICATION_FAILED"):
            probe.maker.restart(altered)
        probe.arena.lasting.rewind(mark)
    probe.maker.restart(sealed)


def test_every_truncated_sealed_state_is_refused(hsm: Hsm) -> None:
    sealed = created_of(hsm).sealed_state
    probe = Hsm()
    for length in range(len(sealed)):
        with pytest.raises(RefusedError, match="AUTHENTICATION_FAILED"):
            probe.maker.restart(sealed[:length])
    with pytest.raises(RefusedError, match="AUTHENTICATION_FAILED"):
        probe.maker.restart(sealed + b"\x00")


def test_a_sealed_identity_does_not_go_with_another_token(hsm: Hsm) -> None:
    """Identity and token belong together: a newer, older or foreign token cannot be put under the same seal."""
    newer = recovered(hsm, hsm_id="hsm-1", seal_secret=hsm.seal_secret)
    one, other = created_of(hsm), created_of(newer)
    head = one.sealed_state.removesuffix(one.domain_token)
    with pytest.raises(RefusedError, match="AUTHENTICATION_FAILED"):
        hsm.restart(head + other.domain_token)


def test_a_torn_copy_is_ignored(hsm: Hsm) -> None:
    sealed = created_of(hsm).sealed_state
    for torn in (b"", b"S", sealed[:-1], sealed[: len(sealed) // 2], bytes(len(sealed)), os.urandom(4096)):
        for copies in ((torn, sealed), (sealed, torn)):
            assert hsm.restart(*copies).domain_keys == hsm.domain_keys


def test_with_no_good_copy_the_hsm_does_not_start_and_does_not_begin_anew(hsm: Hsm) -> None:
    sealed = created_of(hsm).sealed_state
    with pytest.raises(RefusedError, match="AUTHENTICATION_FAILED"):
        hsm.restart(sealed[:-1], b"")


def test_the_newest_of_two_copies_is_used(hsm: Hsm) -> None:
    newer = recovered(hsm, hsm_id="hsm-1", seal_secret=hsm.seal_secret)
    old, new = created_of(hsm).sealed_state, created_of(newer).sealed_state
    for copies in ((old, new), (new, old)):
        restarted = hsm.restart(*copies)
        assert restarted.module.report().state_version == 2
        assert restarted.module.domain().identity.member.member_id == "hsm-1-v2"


# ── recover ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_data_of_a_lost_hsm_is_decrypted_by_the_recovered_one(hsm: Hsm) -> None:
    peer = hsm.open_peer()
    binding = hsm.generate_key(peer)
    (made,) = peer.ask(Encrypt(1, 0, b"text", {}), keys=(binding,))
    assert isinstance(made, CiphertextAnswer)
    saved = recovered(hsm)
    saved.acknowledge()
    peer = saved.open_peer()
    assert peer.ask(Decrypt(1, 0, made.blob, {}), keys=(binding,)) == [PlaintextAnswer(1, b"text")]
    assert saved.domain_keys == hsm.domain_keys


def test_recovery_makes_a_new_state_that_names_its_predecessor(hsm: Hsm) -> None:
    before, after = hsm.domain, recovered(hsm).domain
    old_token, _ = dt.parse_domain_token(created_of(hsm).domain_token)
    assert (after.version, after.domain_id) == (2, before.domain_id)
    assert after.previous_digest == dt.state_digest(old_token.state)
    assert [member.member_id for member in after.members] == ["hsm-2-v2", "hsm-2-offline-2"]
    assert after.domain_keys == before.domain_keys
    assert not {m.signing_public for m in before.members} & {m.signing_public for m in after.members}


def test_the_recovered_token_is_signed_by_a_member_of_the_state_before(hsm: Hsm) -> None:
    saved = recovered(hsm)
    token, _ = dt.parse_domain_token(created_of(saved).domain_token)
    assert token.signer_id == "hsm-1-offline-1"
    dt.verify_domain_token(token, hsm.domain.members)
    with pytest.raises(dt.DomainTokenError, match="nobody known"):
        dt.verify_domain_token(token, saved.domain.members)


def test_a_recovered_hsm_restarts_and_is_recovered_again(hsm: Hsm) -> None:
    second = recovered(hsm)
    assert second.restart().domain_keys == hsm.domain_keys
    third = recovered(second, hsm_id="hsm-3")
    assert third.domain.version == 3
    third.acknowledge()
    assert third.domain_keys == hsm.domain_keys


def test_a_recovered_hsm_wraps_nothing_before_its_state_is_acknowledged(hsm: Hsm) -> None:
    saved = recovered(hsm)
    with pytest.raises(RefusedError, match="STATE_UNACKNOWLEDGED"):
        saved.connect().handshake()


def test_the_old_bundle_does_not_open_the_new_token(hsm: Hsm) -> None:
    old, saved = created_of(hsm), recovered(hsm)
    fresh = Hsm(hsm_id="hsm-9")
    answer = fresh.recover_domain(old.recovery_bundle, old.shares, created_of(saved).domain_token)
    assert answer == control.ControlRefused(Status.AUTHENTICATION_FAILED)


def test_the_bundle_of_another_domain_is_refused(hsm: Hsm) -> None:
    mine, other = created_of(hsm), created_of(operational_hsm())
    for bundle, shares, token in (
        (other.recovery_bundle, other.shares, mine.domain_token),
        (mine.recovery_bundle, other.shares, mine.domain_token),
        (mine.recovery_bundle, mine.shares, other.domain_token),
    ):
        fresh = Hsm(hsm_id="hsm-9")
        used = fresh.arena.lasting.used
        assert fresh.recover_domain(bundle, shares, token) == control.ControlRefused(Status.AUTHENTICATION_FAILED)
        assert (fresh.module.state, fresh.arena.lasting.used) == (ModuleState.INITIALISED, used)


def test_a_bundle_opens_with_one_of_one(hsm: Hsm) -> None:
    assert len(created_of(hsm).shares) == 1
    recovered(hsm)


def test_of_three_of_five_any_three_open_and_no_two_do() -> None:
    hsm = Hsm()
    created = hsm.create_domain((5, 3))
    region = Hsm().arena.lasting
    assert len(created.shares) == 5
    mark = region.used
    for number in range(6):
        for chosen in itertools.combinations(created.shares, number):
            if number >= 3:
                bundle = open_bundle(created.recovery_bundle, list(chosen), region)
                assert (bundle.domain_id, bundle.shares) == (hsm.domain.domain_id, (5, 3))
                assert bundle.offline.member == hsm.domain.members[1]
            else:
                with pytest.raises(RefusedError, match="AUTHENTICATION_FAILED"):
                    open_bundle(created.recovery_bundle, list(chosen), region)
            region.rewind(mark)
    saved = recovered(hsm)
    assert len(created_of(saved).shares) == 5, "the new bundle is shared as the old one was"


def test_repeated_altered_and_foreign_shares_do_not_open() -> None:
    hsm, region = Hsm(), Hsm().arena.lasting
    created = hsm.create_domain((3, 2))
    other = Hsm().create_domain((3, 2))
    one, two, _ = created.shares
    wrong: list[list[bytes]] = [
        *([one, one], [one, other.shares[1]], [one, b""], [one, b"noise"]),
        *[[one, two[:at] + bytes((two[at] ^ 1,)) + two[at + 1 :]] for at in range(len(two))],
    ]
    for shares in wrong:
        if _means_the_same(shares[1], two):
            open_bundle(created.recovery_bundle, shares, region)
            continue
        with pytest.raises(RefusedError, match="AUTHENTICATION_FAILED"):
            open_bundle(created.recovery_bundle, shares, region)


def _means_the_same(share: bytes, original: bytes) -> bool:
    """Format and "needed" of a share are for people to read; the bundle's own, authenticated, are what counts."""
    try:
        _, bundle_id, _, *rest = msgspec.msgpack.decode(share)
    except (msgspec.MsgspecError, ValueError, TypeError):
        return False
    _, original_id, _, *original_rest = msgspec.msgpack.decode(original)
    return bool((bundle_id, rest) == (original_id, original_rest))


def test_every_flipped_byte_of_a_bundle_is_refused(hsm: Hsm) -> None:
    created, region = created_of(hsm), Hsm().arena.lasting
    bundle = created.recovery_bundle
    for at in range(len(bundle)):
        altered = bundle[:at] + bytes((bundle[at] ^ 0x01,)) + bundle[at + 1 :]
        with pytest.raises(RefusedError, match="AUTHENTICATION_FAILED"):
            open_bundle(altered, created.shares, region)


def test_an_altered_domain_token_is_refused_at_recovery(hsm: Hsm) -> None:
    created, probe = created_of(hsm), Hsm()
    bundle = open_bundle(created.recovery_bundle, created.shares, probe.arena.lasting)
    mark = probe.arena.lasting.used
    token = created.domain_token
    for at in range(0, len(token), 4):  # Every byte, without the envelope: tests/boundary/test_domain_token.py.
        altered = token[:at] + bytes((token[at] ^ 0x01,)) + token[at + 1 :]
        with pytest.raises(RefusedError, match="AUTHENTICATION_FAILED"):
            domain_token.open_domain_token(altered, bundle.offline, probe.arena.lasting, bundle.signers)
        probe.arena.lasting.rewind(mark)


def forged_token(hsm: Hsm, hsm_key: bytes) -> bytes:
    """A token with the right domain, members and addressees, but the forger's ring and signature."""
    probe = Hsm()
    forger = Identity.generate("hsm-1", probe.arena.lasting)
    state = msgspec.structs.replace(hsm.domain, members=[forger.member, hsm.domain.members[1]])
    ring = Ring([(hsm.domain.domain_keys[0].domain_key_id, memoryview(bytearray(hsm_key)))])
    return domain_token.export_domain_token(state, ring, forger, probe.entropy)


def test_a_forged_token_brings_no_ring_into_a_recovery(hsm: Hsm) -> None:
    """Who keeps the token knows all public keys: without signers pinned in the bundle he could bring his own domain key."""
    created = created_of(hsm)
    forged = forged_token(hsm, bytes(32))
    answer = Hsm(hsm_id="hsm-2").recover_domain(created.recovery_bundle, created.shares, forged)
    assert answer == control.ControlRefused(Status.AUTHENTICATION_FAILED)


def test_a_token_of_another_domain_is_refused_even_from_a_pinned_signer(hsm: Hsm) -> None:
    created, domain = created_of(hsm), hsm.module.domain()
    state = msgspec.structs.replace(hsm.domain, domain_id=bytes(16))
    token = domain_token.export_domain_token(state, domain.ring, domain.identity, hsm.entropy)
    answer = Hsm(hsm_id="hsm-2").recover_domain(created.recovery_bundle, created.shares, token)
    assert answer == control.ControlRefused(Status.UNKNOWN_DOMAIN)


def test_a_forged_token_would_be_taken_without_the_pinned_signers(hsm: Hsm, monkeypatch: pytest.MonkeyPatch) -> None:
    created = created_of(hsm)
    opening = domain_module.open_domain_token
    monkeypatch.setattr(domain_module, "open_domain_token", lambda *arguments: opening(*arguments[:-1], None))
    victim = Hsm(hsm_id="hsm-2")
    answer = victim.recover_domain(created.recovery_bundle, created.shares, forged_token(hsm, bytes(32)))
    assert isinstance(answer, control.DomainCreated)
    victim.acknowledge()
    assert set(victim.domain_keys.values()) == {bytes(32)}


def test_the_used_offline_identity_is_gone_from_the_arena(hsm: Hsm) -> None:
    created, region = created_of(hsm), Hsm().arena.lasting
    offline = open_bundle(created.recovery_bundle, created.shares, region).offline
    parts = offline.private_parts()
    for module in (hsm, recovered(hsm)):
        assert not any(part in bytes(module.arena._view) for part in parts)


def test_a_key_of_the_first_state_works_after_two_recoveries(hsm: Hsm) -> None:
    binding = hsm.import_key(bytes(range(32)), KEY_ID)
    last = recovered(recovered(hsm), hsm_id="hsm-3")
    last.acknowledge()
    assert last.open_peer().status_of(Encrypt(1, 0, b"x", {}), binding) is Status.SUCCESS
