"""The key schedule takes in everything that it should: one part changed, and every key is another."""

from __future__ import annotations

import msgspec
import pytest

from strongroom.boundary import session
from strongroom.boundary.statuses import RefusedError

HELLO = session.Hello(b"domain", "host", b"host public", b"h" * 32)
CHALLENGE = session.Challenge("hsm", 7, b"hsm public", b"c" * 32)
OPENING = session.Open(b"token", b"o" * 32)
OPENED = session.Opened("hsm", b"p" * 32)
KEY = bytes(range(32))


def test_a_transcript_changes_with_each_field_of_both_messages() -> None:
    hellos = [
        msgspec.structs.replace(HELLO, **change)
        for change in (
            {"domain_id": b"domaim"},
            {"host_id": "hosT"},
            {"host_public": b"host publiC"},
            {"host_random": b"h" * 31 + b"i"},
            # Parts cannot run together: every one has its length in front.
            {"domain_id": b"domainh", "host_id": "ost"},
        )
    ]
    challenges = [
        msgspec.structs.replace(CHALLENGE, **change)
        for change in (
            {"hsm_id": "hsM"},
            {"state_version": 8},
            {"hsm_public": b"hsm publiC"},
            {"hsm_random": b"c" * 31 + b"d"},
        )
    ]
    transcripts = {session.transcript_of(HELLO, CHALLENGE)}
    transcripts |= {session.transcript_of(hello, CHALLENGE) for hello in hellos}
    transcripts |= {session.transcript_of(HELLO, challenge) for challenge in challenges}
    assert len(transcripts) == 10


def test_the_keys_of_a_connection_change_with_each_part() -> None:
    pairs = [
        session.direction_keys(KEY, OPENING, OPENED, "host"),
        session.direction_keys(bytes(32), OPENING, OPENED, "host"),
        session.direction_keys(KEY, msgspec.structs.replace(OPENING, session_token=b"tokeN"), OPENED, "host"),
        session.direction_keys(KEY, msgspec.structs.replace(OPENING, host_random=bytes(32)), OPENED, "host"),
        session.direction_keys(KEY, OPENING, msgspec.structs.replace(OPENED, hsm_id="hsM"), "host"),
        session.direction_keys(KEY, OPENING, msgspec.structs.replace(OPENED, hsm_random=bytes(32)), "host"),
        session.direction_keys(KEY, OPENING, OPENED, "hosT"),
        session.direction_keys(KEY, OPENING, msgspec.structs.replace(OPENED, hsm_id="thsm"), "hos"),
    ]
    assert len({key for pair in pairs for key in pair}) == 2 * len(pairs)
    assert {len(key) for pair in pairs for key in pair} == {32}


def test_both_sides_negotiate_the_same_key_and_only_for_one_transcript() -> None:
    host, hsm = session.new_ephemeral(), session.new_ephemeral()
    publics = session.public_bytes(host.public_key()), session.public_bytes(hsm.public_key())
    transcript = session.transcript_of(HELLO, CHALLENGE)
    key = session.negotiated_key(host, publics[1], transcript)
    assert key == session.negotiated_key(hsm, publics[0], transcript)
    assert key != session.negotiated_key(host, publics[1], bytes(48))
    sealed = session.seal_session_key(key, KEY, transcript)
    assert session.unseal_session_key(key, sealed, transcript) == KEY
    for wrong_key, wrong_sealed, wrong_transcript in (
        (bytes(32), sealed, transcript),
        (key, sealed[:-1] + bytes((sealed[-1] ^ 1,)), transcript),
        (key, sealed, bytes(48)),
        (key, b"", transcript),
    ):
        with pytest.raises(RefusedError, match="AUTHENTICATION_FAILED"):
            session.unseal_session_key(wrong_key, wrong_sealed, wrong_transcript)


def test_a_signature_is_for_one_statement_and_one_key() -> None:
    one, other = session.new_ephemeral(), session.new_ephemeral()
    signature = session.sign_statement(one, b"statement")
    session.verify_statement(one.public_key(), signature, b"statement")
    for key, wrong, statement in (
        (other, signature, b"statement"),
        (one, signature, b"Statement"),
        (one, signature + b"\x00", b"statement"),
        (one, b"", b"statement"),
        (one, bytes(len(signature)), b"statement"),
    ):
        with pytest.raises(RefusedError, match="AUTHENTICATION_FAILED"):
            session.verify_statement(key.public_key(), wrong, statement)
