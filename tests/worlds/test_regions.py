"""Regions are domains of their own behind one endpoint: the region of a call is the one that its signature names.

Nothing crosses: keys, aliases, blobs and HSMs are one region's; only who the caller is comes from the home region.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from strongroom.cli.admin_socket import ask, ask_worker, workers
from strongroom.kms.hsm_link.link import ANSWER_S_MAX
from strongroom.kms.regions import WAIT_S_MAX
from strongroom.protocol.regions import REGIONS
from testkit.installation import REGION, START_S_MAX, Installation, client
from testkit.raw import (
    Answer,
    Raw,
    RawKms,
    allow,
    assert_allowed,
    assert_refused,
    audit_records,
    make_user,
    policy,
    put_policy,
    set_access_key,
)
from testkit.workers import Workers, stopped

HOME, OTHER, THIRD = REGION, "eu-west-1", "ap-southeast-2"
NOT_VALID = "Credential should be scoped to a valid region. "


@pytest.fixture(scope="module")
def two() -> Iterator[Installation]:
    """Two regions and two workers, which tests share. Not for development: nothing else is made on first use."""
    running = Installation("--region", HOME, "--region", OTHER, "--workers", "2", development=False)
    running.start()
    _wait(lambda: _is_open_everywhere(running, 2))
    yield running
    running.destroy()


@pytest.fixture
def own() -> Iterator[Installation]:
    """A development installation that the test may break."""
    running = Installation("--workers", "2")
    yield running.start()
    running.destroy()


@pytest.fixture(scope="module")
def admin(two: Installation) -> dict[str, str]:
    """The first administrator's credentials, as `client` takes them."""
    text = (two.home / "service" / "first-access-key").read_text()
    found = re.search(r"aws_access_key_id = (\S+)\naws_secret_access_key = (\S+)\n", text)
    assert found is not None
    return {"access_key_id": found[1], "secret": found[2]}


def _wait(condition: Callable[[], bool], within_s: float = START_S_MAX) -> float:
    started = time.monotonic()
    while not condition():
        waited = time.monotonic() - started
        assert waited < within_s, f"not within {within_s} s"
        time.sleep(0.01)
    return time.monotonic() - started


def _in(installation: Installation, region: str) -> Callable[..., Answer]:
    raw = RawKms(installation)
    return lambda operation, body=None, **signing: raw.call(operation, body, region=region, **signing)


def _patiently(ask: Callable[[], Answer], wait_s: float) -> Answer:
    """An answer that a caller waits for; on a slow machine it may be the next one, but nobody is sent away early."""
    given_up = time.monotonic() + START_S_MAX
    while True:
        began = time.monotonic()
        answer = ask()
        if answer.code != "DependencyTimeoutException" or began > given_up:
            return answer
        assert time.monotonic() - began > wait_s - 0.5


def _is_open_everywhere(installation: Installation, count: int) -> bool:
    """Whether every worker has so many regions: a start waits for another one's no longer than a moment."""
    told = [ask_worker(installation.home, name, "status") for name in workers(installation.home)]
    return all(len(status["regions"]) == count for status in told)


def _probe(installation: Installation, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{installation.port}{path}", timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def _hsm_of(installation: Installation, region: str) -> int:
    """The process of a region's HSM."""
    config = installation.home / "regions" / region / "hsm" / "hsm-1.toml"
    return installation.pids_of("hsm")[str(config)]


# ── nothing crosses ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_region_that_was_signed_for_shows_in_arns_and_in_the_record_of_the_call(
    two: Installation, admin: dict[str, str]
) -> None:
    for region in (HOME, OTHER):
        kms = client("kms", two.port, **admin, region=region)
        key = kms.create_key()["KeyMetadata"]
        assert key["Arn"].startswith(f"arn:aws:kms:{region}:000000000000:key/")
        assert kms.describe_key(KeyId=key["Arn"])["KeyMetadata"]["KeyId"] == key["KeyId"]
        kms.close()
        records = [record for record in audit_records(two) if key["KeyId"] in json.dumps(record)]
        assert records
        assert {record["awsRegion"] for record in records} == {region}


def test_keys_aliases_and_blobs_of_one_region_are_nothing_in_another(two: Installation, admin: dict[str, str]) -> None:
    here, there = (client("kms", two.port, **admin, region=region) for region in (HOME, OTHER))
    key = here.create_key()["KeyMetadata"]
    here.create_alias(AliasName="alias/of-one-region", TargetKeyId=key["KeyId"])
    blob = here.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    with pytest.raises(ClientError, match="NotFoundException"):
        there.describe_key(KeyId=key["KeyId"])
    with pytest.raises(ClientError, match=rf"Invalid arn {HOME}"):
        there.describe_key(KeyId=key["Arn"])
    with pytest.raises(ClientError, match="NotFoundException"):
        there.describe_key(KeyId="alias/of-one-region")
    with pytest.raises(ClientError, match="AccessDeniedException"):
        there.decrypt(CiphertextBlob=blob)
    assert key["KeyId"] not in [one["KeyId"] for one in there.list_keys()["Keys"]]
    other = there.create_key()["KeyMetadata"]["KeyId"]
    there.create_alias(AliasName="alias/of-one-region", TargetKeyId=other)
    assert here.describe_key(KeyId="alias/of-one-region")["KeyMetadata"]["KeyId"] == key["KeyId"]
    assert there.describe_key(KeyId="alias/of-one-region")["KeyMetadata"]["KeyId"] == other
    for one in (here, there):
        one.close()


def test_each_region_has_a_domain_a_seal_and_a_store_of_its_own(two: Installation) -> None:
    status = {region["region"]: region["hsm"] for region in ask(two.home, "status")["regions"]}
    assert list(status) == [HOME, OTHER]
    assert len({hsm["domain_id"] for hsm in status.values()}) == 2
    assert not set(status[HOME]["domain_keys"]) & set(status[OTHER]["domain_keys"])
    place = two.home / "regions" / OTHER
    assert (place / "seal" / "local.secret").read_bytes() != (two.home / "seal" / "local.secret").read_bytes()
    assert (two.home / "service" / "regions" / OTHER / "store.db").exists()
    assert len(two.pids_of("hsm")) == 2
    with sqlite3.connect(f"file:{two.home / 'service' / 'regions' / OTHER / 'store.db'}?mode=ro", uri=True) as other:
        assert other.execute("SELECT count(*) FROM access_keys").fetchone() == (0,)
    other.close()


def test_users_are_the_accounts_and_their_policies_count_in_every_region(
    two: Installation, admin: dict[str, str]
) -> None:
    user = make_user(two, "of-both-regions", policy(allow("kms:CreateKey", "kms:PutKeyPolicy", "kms:ListKeys")))
    for region in (HOME, OTHER):
        assert_allowed(user.kms.call("CreateKey", region=region))
        assert_refused(user.kms.call("ListAliases", region=region), "AccessDeniedException")
    set_access_key(two, user, "Inactive")
    for region in (HOME, OTHER):
        assert_refused(user.kms.call("ListKeys", region=region), "UnrecognizedClientException")


def test_a_caller_is_the_same_one_for_sts_in_every_region(two: Installation, admin: dict[str, str]) -> None:
    for region in (HOME, OTHER):
        sts = client("sts", two.port, **admin, region=region)
        assert sts.get_caller_identity()["Arn"].endswith(":user/admin")
        sts.close()


def test_a_change_in_another_region_is_seen_by_every_worker(two: Installation, admin: dict[str, str]) -> None:
    signing = {**admin, "region": OTHER}
    with Workers(two, 2) as pinned:
        first = pinned.connections[0]
        key_id = assert_allowed(first.call("CreateKey", **signing))["KeyMetadata"]["KeyId"]
        encrypt = ("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="})
        for _ in range(50):
            assert [answer.status for answer in pinned.ask_all(*encrypt, **signing)] == [200, 200]
            assert_allowed(first.call("DisableKey", {"KeyId": key_id}, **signing))
            assert [answer.code for answer in pinned.ask_all(*encrypt, **signing)] == ["DisabledException"] * 2
            assert_allowed(first.call("EnableKey", {"KeyId": key_id}, **signing))


def test_requests_of_several_regions_in_one_turn_do_not_mix(two: Installation, admin: dict[str, str]) -> None:
    """Sent ahead on one connection, they are one batch or two: each answer is its own region's."""
    with Raw(two.port) as raw:
        regions = [HOME, OTHER, OTHER, HOME] * 3
        keys = [assert_allowed(raw.call("CreateKey", region=region, **admin))["KeyMetadata"] for region in regions]
        for key, region in zip(keys, regions, strict=True):
            assert f":{region}:" in key["Arn"]
            body = {"KeyId": key["KeyId"], "KeySpec": "AES_256"}
            raw.send(raw.request("GenerateDataKey", body, region=region, **admin))
        for key in keys:
            assert assert_allowed(raw.read_answer())["KeyId"] == key["Arn"]


# ── which regions there are ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("region", ["mars-north-1", THIRD, "", "us-east-1/..", "US-EAST-1"])
def test_a_region_that_the_home_has_not_is_refused_in_awss_words(
    two: Installation, admin: dict[str, str], region: str
) -> None:
    hsms = two.pids_of("hsm")
    answer = RawKms(two, admin["access_key_id"], admin["secret"]).call("ListKeys", region=region)
    assert answer.status == 400
    if "/" not in region and region:
        assert_refused(answer, "InvalidSignatureException", NOT_VALID)
    assert two.pids_of("hsm") == hsms
    assert not (two.home / "regions" / THIRD).exists()


def test_in_development_a_known_region_is_made_on_first_use_for_every_worker(own: Installation) -> None:
    with Workers(own, 2) as pinned:
        began = time.monotonic()
        answer = _patiently(lambda: pinned.connections[0].call("CreateKey", region=THIRD), WAIT_S_MAX)
        key = assert_allowed(answer)["KeyMetadata"]
        took = time.monotonic() - began
        assert key["Arn"].startswith(f"arn:aws:kms:{THIRD}:")
        body = {"KeyId": key["KeyId"], "KeySpec": "AES_256"}
        assert [answer.status for answer in pinned.ask_all("GenerateDataKey", body, region=THIRD)] == [200, 200]
    print(f"a region on first use: {took:.2f} s")
    assert took < own.late_s(10.0)
    _wait(lambda: _probe(own, f"/readyz/{THIRD}") == 200)
    said = own.output.read_text()
    assert f"a caller wants the region {THIRD}: making it" in said
    assert f"what recovers its keys lies in {own.home / 'regions' / THIRD / 'recovery'}" in said
    own.stop()
    own.start()
    _wait(lambda: own.output.read_text().count("Strongroom serves") == 2)
    assert f"  regions  {HOME}, {THIRD}\n" in own.output.read_text()
    describe = _in(own, THIRD)("DescribeKey", {"KeyId": key["KeyId"]})
    assert assert_allowed(describe)["KeyMetadata"]["Arn"] == key["Arn"]


def test_many_first_uses_of_many_regions_at_once_make_each_once(own: Installation) -> None:
    wanted = [OTHER, THIRD, "sa-east-1"]

    def make(at: int) -> str:
        answer = _patiently(lambda: _in(own, wanted[at % 3])("CreateKey"), WAIT_S_MAX)
        return str(assert_allowed(answer)["KeyMetadata"]["Arn"])

    with ThreadPoolExecutor(12) as pool:
        arns = list(pool.map(make, range(24)))
    assert len(set(arns)) == 24
    assert len(own.pids_of("hsm")) == 4
    for region in wanted:
        assert len(list((own.home / "regions" / region / "domain").glob("token-*"))) == 1
        keys = assert_allowed(_in(own, region)("ListKeys"))["Keys"]
        assert sorted(key["KeyArn"] for key in keys) == sorted(arn for arn in arns if f":{region}:" in arn)


@pytest.mark.parametrize(
    "signing",
    [
        {"secret": "wrong"},
        {"access_key_id": "nobody"},
        {"date": "20200101T000000Z"},
        {"region": "mars-north-1"},
        {"region": "cn-north-1"},
        {"region": "us-gov-west-1"},
    ],
)
def test_no_region_is_made_for_who_did_not_sign_or_for_a_name_that_is_none(
    own: Installation, signing: dict[str, str]
) -> None:
    answer = RawKms(own).call("CreateKey", **{"region": OTHER, **signing})
    assert answer.status in {400, 403}
    time.sleep(0.3)
    assert len(own.pids_of("hsm")) == 1
    assert not (own.home / "regions").exists()
    assert "a caller wants" not in own.output.read_text()


def test_the_table_of_regions_is_that_of_the_partition_as_the_clients_know_it() -> None:
    import botocore

    endpoints = json.loads((Path(botocore.__file__).parent / "data" / "endpoints.json").read_text())
    (partition,) = [one for one in endpoints["partitions"] if one["partition"] == "aws"]
    assert set(partition["regions"]) == REGIONS


def _refused(home: Path, *options: str) -> str:
    command = [sys.executable, "-m", "strongroom.supervisor", "up", "--home", str(home), "--dev", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_S_MAX, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def test_a_region_is_added_at_a_later_start_only_beside_the_homes_own(own: Installation) -> None:
    own.stop()
    words = _refused(own.home, "--region", OTHER)
    assert f"belongs to region {HOME}, not to {OTHER} (to add it: --region {HOME} --region {OTHER})" in words
    assert f"not to {THIRD}" in _refused(own.home, "--region", OTHER, "--region", THIRD).replace(OTHER, THIRD)
    assert not (own.home / "regions").exists()
    own._options += ["--region", HOME, "--region", OTHER]
    own.start()
    assert_allowed(_in(own, OTHER)("CreateKey"))
    assert json.dumps(OTHER) in (own.home / "strongroom.toml").read_text()


def test_a_home_has_a_bounded_number_of_regions(own: Installation) -> None:
    own.stop()
    many = [option for region in sorted(REGIONS - {HOME})[:16] for option in ("--region", region)]
    assert "a home has at most 16 regions" in _refused(own.home, "--region", HOME, *many)


def test_on_first_use_the_number_of_regions_is_bounded_and_one_too_many_is_no_region(own: Installation) -> None:
    wanted = sorted(REGIONS - {HOME})[:16]
    answers = {region: _patiently(partial(_in(own, region), "CreateKey"), WAIT_S_MAX) for region in wanted}
    assert [answer.status for answer in answers.values()] == [200] * 15 + [400]
    assert_refused(answers[wanted[-1]], "InvalidSignatureException", NOT_VALID)
    assert len(own.pids_of("hsm")) == 16
    assert not (own.home / "regions" / wanted[-1]).exists()


def test_hsm_and_service_started_apart_know_the_same_regions(tmp_path: Path) -> None:
    """Two supervisors on one home: the first has the HSMs, the second the workers."""
    apart = Installation()
    command = [sys.executable, "-m", "strongroom.supervisor"]
    options = ("--home", str(apart.home), "--port", str(apart.port), "--dev")
    regions = ("--region", HOME, "--region", OTHER)
    hsms = subprocess.Popen([*command, "hsm", *options, *regions], stdout=subprocess.PIPE, text=True)
    try:
        assert hsms.stdout is not None
        _wait(lambda: "The HSM serves." in hsms.stdout.readline())  # type: ignore[union-attr]
        unknown = subprocess.run(
            [*command, "kms", *options, "--region", HOME, "--region", THIRD],
            capture_output=True,
            text=True,
            timeout=START_S_MAX,
            check=False,
        )
        assert unknown.stderr == f"strongroom: {apart.home} has no region {THIRD}: a start of its HSM makes it\n"
        with apart.output.open("ab") as output:
            apart.process = subprocess.Popen([*command, "kms", *options], stdout=output, stderr=output)
        apart.wait_until_ready()
        for region in (HOME, OTHER):
            assert_allowed(_in(apart, region)("CreateKey"))
        assert_refused(_in(apart, THIRD)("CreateKey"), "InvalidSignatureException", NOT_VALID)
    finally:
        apart.stop()
        hsms.terminate()
        hsms.communicate(timeout=60)
        apart.destroy()


@pytest.mark.parametrize("region", ["x", "../up", "a b", "eu-west-1/x", "-a-b", "A-B-1", "a" * 20 + "-1"])
def test_a_region_by_an_impossible_name_is_refused(tmp_path: Path, region: str) -> None:
    assert "--region takes a name such as eu-central-1" in _refused(tmp_path / "h", f"--region={region}")
    assert not (tmp_path / "h").exists()


# ── one of them is ill ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def ill() -> Iterator[Installation]:
    """A home with a key in each of two regions, to be broken."""
    running = Installation("--region", HOME, "--region", OTHER, "--workers", "2")
    running.start()
    _wait(lambda: _is_open_everywhere(running, 2))
    for region in (HOME, OTHER):
        key_id = assert_allowed(_in(running, region)("CreateKey"))["KeyMetadata"]["KeyId"]
        assert_allowed(_in(running, region)("CreateAlias", {"AliasName": "alias/kept", "TargetKeyId": key_id}))
    yield running
    running.destroy()


def _encrypts(installation: Installation, region: str) -> Answer:
    return _in(installation, region)("Encrypt", {"KeyId": "alias/kept", "Plaintext": "eA=="})


def test_a_region_whose_hsm_stands_still_disturbs_no_other(ill: Installation) -> None:
    with stopped(_hsm_of(ill, OTHER)):
        with ThreadPoolExecutor(2) as pool:
            slow = pool.submit(_encrypts, ill, OTHER)
            for _ in range(20):
                began = time.monotonic()
                assert_allowed(_encrypts(ill, HOME))
                assert time.monotonic() - began < ill.late_s(1.0)
            assert_refused(slow.result(), "DependencyTimeoutException", "", status=500)
        _wait(lambda: _probe(ill, f"/readyz/{OTHER}") == 503)
        _wait(lambda: (_probe(ill, "/readyz"), _probe(ill, f"/readyz/{HOME}")) == (200, 200))
        done = ill.cli("doctor", "--home", str(ill.home), check=False)
        assert f"bad   the HSM in {OTHER} does not answer" in done.stdout
        assert f"ok    the HSM hsm-1 in {HOME} is OPERATIONAL" in done.stdout
    _wait(lambda: _encrypts(ill, OTHER).status == 200)
    _wait(lambda: _probe(ill, f"/readyz/{OTHER}") == 200)


@pytest.mark.long
def test_while_the_home_regions_hsm_stands_still_a_change_of_identities_makes_everybody_unknown(
    ill: Installation,
) -> None:
    """SECURITY.md, "Regions and workers"; who is served there meanwhile: tests/worlds/test_exhaustion.py."""
    other = make_user(ill, "somebody-else", policy(allow("kms:*")))
    request = "Encrypt", {"KeyId": "alias/kept", "Plaintext": "eA=="}
    with Workers(ill, 2) as pinned:
        pinned.ask_all(*request, region=OTHER)
        with stopped(ill.pid_of("hsm")):
            assert [answer.status for answer in pinned.ask_all(*request, region=OTHER)] == [200, 200]
            put_policy(ill, other.name, policy(allow("kms:Encrypt")))
            for answer in pinned.ask_all(*request, region=OTHER):
                assert_refused(answer, "DependencyTimeoutException", "", status=500)
    assert_allowed(_encrypts(ill, OTHER))


def test_a_killed_hsm_of_a_region_is_started_again_and_the_others_do_not_notice(ill: Installation) -> None:
    before = _hsm_of(ill, OTHER)
    home_hsm = ill.pid_of("hsm")
    os.kill(before, signal.SIGKILL)
    assert_allowed(_encrypts(ill, HOME))
    assert_allowed(_patiently(lambda: _encrypts(ill, OTHER), ANSWER_S_MAX))
    assert _hsm_of(ill, OTHER) != before
    assert ill.pid_of("hsm") == home_hsm
    assert f"hsm of {OTHER} ended (-9); starting it again" in ill.output.read_text()


def test_a_region_that_lost_its_state_is_said_so_and_the_others_serve(ill: Installation) -> None:
    ill.stop()
    for path in (ill.home / "regions" / OTHER / "hsm").glob("*.state.?"):
        path.unlink()
    ill.start()
    assert_allowed(_encrypts(ill, HOME))
    assert f"hsm of {OTHER}: the HSM's sealed state is gone" in ill.output.read_text()
    assert "strongroom restore" in ill.output.read_text()
    assert len(ill.pids_of("hsm")) == 1
    with Workers(ill, 2) as pinned:
        for connection in pinned.connections:
            for _ in range(2):  # It may still be at its first try.
                began = time.monotonic()
                answer = connection.call("Encrypt", {"KeyId": "alias/kept", "Plaintext": "eA=="}, region=OTHER)
                assert_refused(answer, "DependencyTimeoutException", "", status=500)
            assert time.monotonic() - began < ill.late_s(2.0), "there is nothing to wait for"
    assert ill.output.read_text().count("the HSM's sealed state is gone") == 1, "it is tried again, and said once"
    _wait(lambda: _probe(ill, f"/readyz/{OTHER}") == 503)
    done = ill.cli("doctor", "--home", str(ill.home), check=False)
    assert done.returncode == 1
    assert f"bad   {OTHER}: 0 copies of the HSM's sealed state" in done.stdout
    assert f"bad   the region {OTHER} is not open" in done.stdout


def test_a_region_whose_store_is_damaged_is_said_so_and_the_others_serve(ill: Installation) -> None:
    ill.stop()
    store = ill.home / "service" / "regions" / OTHER / "store.db"
    store.write_bytes(b"not a database at all" * 400)
    ill.start()
    assert_allowed(_encrypts(ill, HOME))
    _wait(lambda: f"the region {OTHER} cannot be opened and will be tried again" in ill.output.read_text())
    _wait(lambda: _probe(ill, f"/readyz/{OTHER}") == 503)


def test_all_of_a_region_that_is_gone_is_not_quietly_made_anew(ill: Installation) -> None:
    ill.stop()
    shutil.rmtree(ill.home / "regions")
    shutil.rmtree(ill.home / "service" / "regions")
    ill.start()
    assert_allowed(_encrypts(ill, HOME))
    assert f"hsm of {OTHER}: the HSM's sealed state is gone" in ill.output.read_text()
    assert not list((ill.home / "regions").rglob("token-*"))


# ── restore ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_lost_machine_comes_back_region_by_region(ill: Installation, tmp_path: Path) -> None:
    """1. what an operator keeps   2. the machine is lost   3. home first, then the other region   4. all blobs open."""
    blobs = {region: assert_allowed(_encrypts(ill, region))["CiphertextBlob"] for region in (HOME, OTHER)}
    ill.stop()
    place = ill.home / "regions" / OTHER  # 1
    kept = tmp_path / "kept"
    shutil.copytree(ill.home / "recovery", kept / HOME)
    shutil.copytree(place / "recovery", kept / OTHER)
    for lost in (ill.home, place):  # 2
        shutil.rmtree(lost / "seal")
        shutil.rmtree(lost / "hsm")
        shutil.rmtree(lost / "recovery")
    shutil.rmtree(ill.home / "host")
    shutil.rmtree(place / "host")

    def restore(region: str, *more: str) -> subprocess.CompletedProcess[str]:
        (bundle,), (share,) = (sorted((kept / region).glob(f"recovery-{kind}-*")) for kind in ("bundle", "share"))
        files = ("--bundle", str(bundle), "--share", str(share))
        return ill.cli("restore", "--home", str(ill.home), *files, *more, check=False)

    assert restore(HOME).returncode == 0  # 3
    wrong = restore(HOME, "--region", OTHER)
    assert wrong.returncode == 1
    assert "do not belong together" in wrong.stderr
    assert restore(HOME, "--region", THIRD).stderr.startswith(f"strongroom: {ill.home} has no region {THIRD}")
    done = restore(OTHER, "--region", OTHER)
    assert done.returncode == 0, done.stderr
    assert str(place / "recovery" / "recovery-bundle-000002") in done.stdout
    ill.start()
    for region, blob in blobs.items():  # 4
        assert assert_allowed(_in(ill, region)("Decrypt", {"CiphertextBlob": blob}))["Plaintext"] == "eA=="


# ── looking at them ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_doctor_looks_at_every_region_and_its_deep_look_opens_every_regions_keys(ill: Installation) -> None:
    _wait(lambda: "Strongroom serves" in ill.output.read_text())
    bundle = next((ill.home / "regions" / OTHER / "recovery").glob("recovery-bundle-*"))
    done = ill.cli("doctor", "--deep", "--recovery-bundle", str(bundle), "--home", str(ill.home), check=False)
    assert done.returncode == 0, done.stdout
    for line in (
        f"ok    the HSM hsm-1 in {HOME} is OPERATIONAL",
        f"ok    the HSM hsm-1 in {OTHER} is OPERATIONAL",
        f"ok    {OTHER}: 2 copies of the HSM's sealed state, equal",
        f"ok    {OTHER}: kms_keys: 1 rows hold",
        f"ok    {OTHER}: materials: 1 rows hold",
        f"ok    {OTHER}: the recovery bundle {bundle} is a member of this domain",
    ):
        assert line in done.stdout, line
    assert "\nok    kms_keys: 1 rows hold" in done.stdout


def test_only_their_owner_can_open_the_secrets_of_a_region(two: Installation) -> None:
    place = two.home / "regions" / OTHER
    for path in (place / "seal" / "local.secret", *(place / "recovery").iterdir()):
        assert path.stat().st_mode & 0o077 == 0, path
    assert (two.home / "regions").stat().st_mode & 0o066 == 0
    assert (two.home / "service" / "regions").stat().st_mode & 0o077 == 0


def test_the_records_of_all_regions_are_one_trail_that_verifies(two: Installation, admin: dict[str, str]) -> None:
    for region in (HOME, OTHER):
        kms: Any = client("kms", two.port, **admin, region=region)
        kms.list_keys()
        kms.close()
    assert "0 problems" in two.cli("audit", "verify", "--home", str(two.home)).stdout
