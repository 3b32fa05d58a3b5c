"""A running home that keeps its trail for a second: files go, the trail says so, and the rest verifies."""

from __future__ import annotations

import json
import time
from pathlib import Path

from testkit.installation import START_S_MAX, Installation
from testkit.raw import RawKms

SEGMENT_BYTES = 65_536
# Nobody waits ten minutes here: the service's process looks every half a second. Nothing else of it is changed.
EARLIER = """
import sys
if "strongroom.kms" in sys.orig_argv:
    from strongroom.kms.chores import audit_retention
    audit_retention.INTERVAL_S = 0.5
"""


def segments(home: Path) -> list[int]:
    """The first record of each."""
    return sorted(int(path.stem.rsplit("-", 1)[1]) for path in (home / "service" / "audit").glob("audit-w1-*.jsonl"))


def fill(running: Installation, requests: int = 300) -> None:
    kms = RawKms(running)
    for _ in range(requests):
        assert kms.call("GenerateRandom", {"NumberOfBytes": 8}).status == 200


def verified(running: Installation) -> str:
    done = running.cli("audit", "verify", "--home", str(running.home), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_by_default_nothing_goes(tmp_path: Path) -> None:
    running = Installation("--audit-segment-bytes", str(SEGMENT_BYTES))
    try:
        (tmp_path / "sitecustomize.py").write_text(EARLIER)
        running.environment["PYTHONPATH"] = str(tmp_path)
        running.start()
        fill(running)
        time.sleep(7)
        assert (segments(running.home)[0], len(segments(running.home)) >= 4) == (1, True)
        verified(running)
    finally:
        running.destroy()


def test_what_is_older_goes_and_the_trail_still_verifies_after_a_restart(tmp_path: Path) -> None:
    running = Installation("--audit-segment-bytes", str(SEGMENT_BYTES), "--audit-keep-days", "0.00002")
    try:
        (tmp_path / "sitecustomize.py").write_text(EARLIER)
        running.environment["PYTHONPATH"] = str(tmp_path)
        running.start()
        fill(running)
        deadline_s = time.monotonic() + START_S_MAX
        while segments(running.home)[0] == 1:
            assert time.monotonic() < deadline_s, running.output.read_text()
            time.sleep(0.2)
        assert " 0 problems" in verified(running)
        text = "".join(path.read_text() for path in (running.home / "service" / "audit").glob("audit-w1-*.jsonl"))
        assert '"AuditRetention"' in text
        running.stop()
        assert any(
            "audit retention removed" in line.get("message", "")
            for line in map(
                json.loads, filter(lambda line: line.startswith("{"), running.output.read_text().splitlines())
            )
        )
        running.start()
        fill(running, 10)
        assert " 0 problems" in verified(running)
    finally:
        running.destroy()
