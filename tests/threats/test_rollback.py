"""Classes 13 and 27: whoever puts back what was repeats no nonce, brings no plaintext to light, and leaves a gap to see.

That a store is old cannot be seen in it. What can be seen: the trail beside it records changes that it has not, and a trail
that was put back too lacks the head whose digest somebody kept. A counter that is part of what is copied would begin anew in
the copy; here every nonce is the kernel's, and nothing that is stored, inherited or restored has a part in it.

Domain keys are not rotated yet; what a recovery retires is the offline member (`tests/worlds/test_restore.py`,
`tests/hsm/test_domain.py`). 2^20 encryptions of one HSM: `tests/hsm/test_customer_data.py`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from base64 import b64decode
from pathlib import Path
from typing import Any

from strongroom.hsm.entropy import Entropy
from testkit.installation import Installation
from testkit.raw import RawKms, assert_allowed, assert_refused, audit_records

ENCRYPTIONS = 128
DRAWS = 64


def encrypt(raw: RawKms, key_id: str) -> str:
    return str(assert_allowed(raw.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="}))["CiphertextBlob"])


def numbers(raw: RawKms, key_id: str) -> list[bytes]:
    """Nonce and IV of one encryption after the other (boundary/blob.py: bytes 37 to 64), and some of GenerateRandom."""
    drawn = [b64decode(encrypt(raw, key_id))[37:65] for _ in range(ENCRYPTIONS)]
    random = [assert_allowed(raw.call("GenerateRandom", {"NumberOfBytes": 28})) for _ in range(ENCRYPTIONS)]
    return drawn + [b64decode(answer["Plaintext"]) for answer in random]


def verify(installation: Installation, *options: str) -> tuple[int, str]:
    done = installation.cli("audit", "verify", "--home", str(installation.home), *options, check=False)
    return done.returncode, done.stdout


def last_head(installation: Installation) -> str:
    status, said = verify(installation)
    found = re.search(r"last head: ([0-9a-f]{64,})", said)
    assert status == 0, said
    assert found is not None, said
    return found[1]


def snapshot(installation: Installation, place: Path) -> None:
    """The service's directory at one moment, as a machine's snapshot has it: nobody writes meanwhile."""
    worker = installation.pid_of("kms")
    os.kill(worker, signal.SIGSTOP)
    try:
        shutil.copytree(installation.home / "service", place, ignore=shutil.ignore_patterns("*.sock"))
    finally:
        os.kill(worker, signal.SIGCONT)


def state_of(raw: RawKms, key_id: str) -> str:
    return str(assert_allowed(raw.call("DescribeKey", {"KeyId": key_id}))["KeyMetadata"]["KeyState"])


def recorded(installation: Installation, name: str) -> list[dict[str, Any]]:
    return [event for event in audit_records(installation) if event["eventName"] == name and "phase" not in event]


def test_what_is_put_back_repeats_nothing_opens_nothing_newer_and_leaves_a_gap_in_the_trail(tmp_path: Path) -> None:
    installation = Installation()
    service = installation.home / "service"
    try:
        raw = RawKms(installation.start())
        rotated, doomed = (str(assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"]) for _ in range(2))
        old_blob = encrypt(raw, rotated)
        snapshot(installation, tmp_path / "older")
        assert_allowed(raw.call("RotateKeyOnDemand", {"KeyId": rotated}))
        new_blob = encrypt(raw, rotated)
        assert_allowed(raw.call("ScheduleKeyDeletion", {"KeyId": doomed, "PendingWindowInDays": 7}))
        seen = numbers(raw, rotated)
        installation.stop()
        kept = last_head(installation)

        # The store alone: what it has forgotten stands in the trail, and a newer blob is refused, not guessed at.
        for path in service.glob("store.db*"):
            path.unlink()
        for path in (tmp_path / "older").glob("store.db*"):
            shutil.copy2(path, service / path.name)
        raw = RawKms(installation.start())
        assert state_of(raw, doomed) == "Enabled"
        assert_allowed(raw.call("Decrypt", {"CiphertextBlob": old_blob}))
        assert_refused(raw.call("Decrypt", {"CiphertextBlob": new_blob}), "AccessDeniedException")
        (deletion,), (_,) = (recorded(installation, name) for name in ("ScheduleKeyDeletion", "RotateKeyOnDemand"))
        assert deletion["requestParameters"]["keyId"] == doomed
        seen += numbers(raw, rotated)
        installation.stop()
        assert verify(installation, "--expected-digest", kept)[0] == 0

        # The trail too: by itself it is whole, and the head that somebody kept is missing.
        shutil.rmtree(service)
        shutil.copytree(tmp_path / "older", service)
        raw = RawKms(installation.start())
        assert state_of(raw, doomed) == "Enabled"
        assert_refused(raw.call("Decrypt", {"CiphertextBlob": new_blob}), "AccessDeniedException")
        seen += numbers(raw, rotated)
        installation.stop()
        status, said = verify(installation, "--expected-digest", kept)
        assert (status, "the head with the expected digest is missing" in said) == (1, True), said
        assert verify(installation)[0] == 0
    finally:
        installation.destroy()
    assert len(set(seen)) == len({number[:16] for number in seen}) == len({number[16:] for number in seen}) == len(seen)


def drawn_by_a_child(entropy: Entropy) -> list[bytes]:
    """What a fork of this process draws with a copy of its generator's state."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, b"".join(entropy.draw(16) for _ in range(DRAWS)))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as source:
        drawn = source.read()
    os.waitpid(child, 0)
    assert len(drawn) == 16 * DRAWS
    return [drawn[start : start + 16] for start in range(0, len(drawn), 16)]


def test_forks_of_one_generator_draw_different_bytes() -> None:
    entropy = Entropy()
    before = [entropy.draw(16) for _ in range(DRAWS)]
    lines = [before, drawn_by_a_child(entropy), drawn_by_a_child(entropy), [entropy.draw(16) for _ in range(DRAWS)]]
    assert len({value for line in lines for value in line}) == 4 * DRAWS
