"""`--strict-audit`: no answer before its record is on stable storage."""

from __future__ import annotations

import subprocess
import threading
from typing import Any

from testkit.installation import Installation


def test_strict_answers_come_and_each_has_its_record() -> None:
    installation = Installation("--strict-audit").start()
    try:
        kms = installation.kms(max_pool_connections=16)
        key_id = kms.create_key()["KeyMetadata"]["KeyId"]
        answered: list[str] = []

        def load() -> None:
            for _ in range(20):
                answer: dict[str, Any] = kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")
                answered.append(answer["ResponseMetadata"]["RequestId"])

        threads = [threading.Thread(target=load) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answered) == 160
        trail = b"".join(path.read_bytes() for path in (installation.home / "service" / "audit").glob("audit-*.jsonl"))
        assert all(f'"requestID":"{request_id}"'.encode() in trail for request_id in answered)
        kms.close()
        verified = installation.cli("audit", "verify", "--home", str(installation.home))
        assert "0 problems" in verified.stdout
    except subprocess.CalledProcessError as failed:
        raise AssertionError(failed.stdout + failed.stderr) from None
    finally:
        installation.destroy()
