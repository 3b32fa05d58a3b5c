"""What a running service tells: every worker's numbers from one port, a line a request, and never a secret in either."""

from __future__ import annotations

import base64
import http.client
import json
import os
import secrets
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from prometheus_client.parser import text_string_to_metric_families

from testkit.installation import Installation, free_port
from testkit.raw import RawKms, make_user, whole_lines
from testkit.waiting import wait_until
from testkit.workers import stopped

WORKERS = 2


class Watched(Installation):
    """An installation with everything told."""

    def __init__(self, *options: str) -> None:
        self.metrics_port = free_port()
        super().__init__("--metrics-listen", f"127.0.0.1:{self.metrics_port}", *options)

    def get(self, path: str = "/metrics", method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=60)
        with closing(connection):
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def values(self, name: str, **labels: str) -> dict[str, float]:
        """By worker, summed over all labels that are not named."""
        _, text = self.get()
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    worker = sample.labels["worker"]
                    found[worker] = found.get(worker, 0.0) + sample.value
        return found

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in whole_lines(self.output) if line.startswith(b"{")]


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    running = Watched("--workers", str(WORKERS), "--request-log", "all")
    try:
        running.start()
        wait_until(lambda: len(running.values("strongroom_build_info")) == WORKERS)
        yield running
    finally:
        running.destroy()


def test_one_port_answers_for_all_workers_and_no_request_is_lost_or_counted_twice(watched: Watched) -> None:
    before = sum(watched.values("strongroom_requests_total", operation="GenerateRandom").values())
    for _ in range(20):
        kms = RawKms(watched)
        assert kms.call("GenerateRandom", {"NumberOfBytes": 8}).status == 200

    def counted() -> float:
        count = sum(watched.values("strongroom_requests_total", operation="GenerateRandom").values())
        assert count <= before + 20
        return count

    # A worker knows of another what that one told last, a second ago; then, whoever answers, it is the same.
    wait_until(lambda: all(counted() == before + 20 for _ in range(10)))
    time.sleep(1.5)
    counted()
    durations = watched.values("strongroom_request_duration_seconds_count", operation="GenerateRandom")
    assert sum(durations.values()) == before + 20


def test_outcomes_are_told_apart(watched: Watched) -> None:
    kms = RawKms(watched)
    refused = kms.call("DescribeKey", {"KeyId": "1234abcd-12ab-34cd-56ef-1234567890ab"})
    assert refused.code == "NotFoundException"
    wait_until(
        lambda: (
            sum(watched.values("strongroom_requests_total", operation="DescribeKey", code="NotFoundException").values())
            >= 1
        )
    )
    assert RawKms(watched, "AKIANOBODY", "x").call("ListKeys").status == 400
    wait_until(
        lambda: (
            sum(
                watched.values("strongroom_unauthenticated_requests_total", code="UnrecognizedClientException").values()
            )
            >= 1
        )
    )


def test_every_metric_of_the_table_is_told(watched: Watched) -> None:
    from strongroom.kms.telemetry.families import FAMILIES

    assert RawKms(watched).call("ListKeys").status == 200
    scraped = [""]

    def has_a_head() -> bool:
        scraped[0] = watched.get()[1]
        return "strongroom_audit_head_age_seconds{" in scraped[0]

    wait_until(has_a_head)
    (text,) = scraped
    for family in FAMILIES:
        assert f"# HELP strongroom_{family.name}" in text
        samples = [line for line in text.splitlines() if line.startswith(f"strongroom_{family.name}")]
        assert samples or family.name == "unauthenticated_requests", family.name
    wait_until(lambda: set(watched.values("strongroom_hsm_answering").values()) == {1.0})
    wait_until(lambda: set(watched.values("strongroom_audit_available").values()) == {1.0})
    assert all(value > 1e7 for value in watched.values("strongroom_resident_memory_bytes").values())


def test_nothing_else_is_served_there_and_no_metrics_elsewhere(watched: Watched) -> None:
    assert watched.get("/metrics?x=1")[0] == 200
    assert watched.get("/")[0] == 404
    assert watched.get("/readyz")[0] == 404
    assert watched.get("/metrics", "POST")[0] == 405
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{watched.port}/metrics", timeout=60)
    assert refused.value.code in {400, 403}
    refused.value.close()


def test_neither_lines_nor_metrics_hold_a_secret_or_what_customers_keep(watched: Watched) -> None:
    """Canaries in every place where a request or an answer has something that is nobody else's business."""
    word = secrets.token_hex(12)
    kms = watched.kms()
    key = kms.create_key(Description=f"description-{word}", Tags=[{"TagKey": f"tag-{word}", "TagValue": word}])
    key_id = key["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName=f"alias/{word}", TargetKeyId=key_id)
    context = {f"name-{word}": f"value-{word}"}
    made = kms.generate_data_key(KeyId=key_id, KeySpec="AES_256", EncryptionContext=context)
    blob = kms.encrypt(KeyId=key_id, Plaintext=word.encode(), EncryptionContext=context)["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == word.encode()
    secret_texts = [word, base64.b64encode(word.encode()).decode()]
    for value in (made["Plaintext"], made["CiphertextBlob"], blob):
        secret_texts += [base64.b64encode(value).decode(), value.hex()]
    for bad in (
        {"CiphertextBlob": blob, "EncryptionContext": {word: "other"}},
        {"CiphertextBlob": word.encode()},
        {"CiphertextBlob": blob, "KeyId": f"alias/no-{word}"},
    ):
        with suppress(ClientError):
            kms.decrypt(**bad)
    raw = RawKms(watched)
    for body in ({"KeyId": [word]}, {"KeyId": word, "Plaintext": word}, {word: word}):
        raw.call("Encrypt", body)
    canary = make_user(watched, "canary")
    secret_texts.append(canary.secret)
    canary.kms.call("ListKeys")
    RawKms(watched, f"AKIA{word[:16].upper()}", word).call("ListKeys")
    kms.close()
    wait_until(lambda: any(line.get("access_key_id") == canary.access_key_id for line in watched.lines()))
    output, (_, metrics) = watched.output.read_text(), watched.get()
    for text in secret_texts:
        assert text not in output
        assert text not in metrics
    assert key_id not in metrics
    assert canary.access_key_id not in metrics
    assert "canary" not in metrics


def test_every_request_is_a_line_and_the_lines_agree_with_the_audit_trail(watched: Watched) -> None:
    answers = [RawKms(watched).call("GenerateRandom", {"NumberOfBytes": 8}) for _ in range(10)]
    wanted = {answer.headers["x-amzn-requestid"] for answer in answers}

    def logged() -> dict[str, dict[str, Any]]:
        return {line["request_id"]: line for line in watched.lines() if line["event"] == "request"}

    wait_until(lambda: wanted <= set(logged()))
    for request_id in wanted:
        line = logged()[request_id]
        assert (line["operation"], line["status"], line["code"]) == ("GenerateRandom", 200, "")
        assert (line["principal"], line["access_key_id"]) == ("arn:aws:iam::000000000000:root", "test")
        assert (line["source_ip"], line["region"]) == ("127.0.0.1", "us-east-1")
        assert line["worker"] in {"w1", "w2"}
        assert 0 < line["duration_ms"] < 60_000
    audit = "".join(path.read_text() for path in (watched.home / "service" / "audit").glob("audit-*"))
    assert all(request_id in audit for request_id in wanted)


def test_a_worker_that_stands_still_is_told_of_and_the_others_answer(watched: Watched) -> None:
    with stopped(watched.pid_of("kms")):
        wait_until(lambda: watched.values("strongroom_worker_age_seconds")["w1"] > 3)
        assert watched.values("strongroom_worker_age_seconds")["w2"] < 3
    wait_until(lambda: watched.values("strongroom_worker_age_seconds")["w1"] < 2)


def test_a_worker_that_was_killed_tells_again(watched: Watched) -> None:
    started = watched.values("strongroom_start_timestamp_seconds")["w1"]
    os.kill(watched.pid_of("kms"), signal.SIGKILL)
    wait_until(lambda: watched.values("strongroom_start_timestamp_seconds").get("w1", started) > started)


def test_a_port_that_is_taken_ends_the_start_and_says_which(watched: Watched) -> None:
    second = Installation("--metrics-listen", f"127.0.0.1:{watched.metrics_port}")
    try:
        with pytest.raises(AssertionError):
            second.start()
        assert f"127.0.0.1 port {watched.metrics_port} cannot be served on" in second.output.read_text()
    finally:
        second.destroy()


def test_by_default_only_refused_requests_are_lines(installation: Installation) -> None:
    """The suite's own installation says nothing of what it was told to: it was started without a word about it."""
    assert "--request-log" not in installation._options
    succeeded = RawKms(installation).call("GenerateRandom", {"NumberOfBytes": 8}).headers["x-amzn-requestid"]
    failed = RawKms(installation).call("DescribeKey", {"KeyId": "alias/nothing"}).headers["x-amzn-requestid"]
    wait_until(lambda: failed in installation.output.read_text())
    assert succeeded not in installation.output.read_text()


@pytest.mark.parametrize("value", ["", "x", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000", "localhost:9464", ":9464"])
def test_a_place_for_metrics_that_is_none_is_refused(value: str, tmp_path: Path) -> None:
    idle = Installation()
    try:
        done = idle.cli_program()("up", "--dev", "--home", str(idle.home), f"--metrics-listen={value or 'none'}")
        assert done.returncode == 1
        assert "--metrics-listen takes an IP address and a port" in done.stderr
    finally:
        idle.destroy()
