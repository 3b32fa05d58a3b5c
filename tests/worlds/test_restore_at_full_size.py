"""A machine is lost while it serves: what its last backup and the recovery bundle bring back elsewhere.

The home has everything that a home can hold: keys, rotated ones, ciphertexts, aliases, tags, grants, two
accounts, users, groups, roles, policies, access keys and sessions, limits of the organisation and a provider of web
identities. A load that changes all that keys and identities have goes on before, while and after the backup is made, by the
commands of docs/operate/backup.md. Then the home is gone, and the same page's commands restore it at another place.

Consistent means: somebody counts in several tables, one after the other, while the backup is made, and the copy shows the
counts of one moment; the copied trail has the record of each of them, and of all that was answered before.

How the check was seen to fail: `test_a_faulty_backup_is_caught` gives it a copy of the store without its write-ahead log
and without what the operator wrote, one of two moments, and one that is younger than its trail;
`test_without_the_domains_own_bundle_nothing_opens` other bundles, and none.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from testkit.accounts import make_account, make_user
from testkit.identities import arn_of, document, iam_client, statement
from testkit.installation import START_S_MAX, Installation, client
from testkit.planting import plant
from testkit.raw import audit_records
from testkit.sessions import Credentials, as_client, assume, make_caller, make_role, trusting
from testkit.web_identities import NAME, SUBJECT, Issuer, provider
from worlds.kills import unrecorded
from worlds.load import MUTATIONS as KMS_MUTATIONS
from worlds.load import Ledger, load
from worlds.people import LEFT_OUT
from worlds.people import MUTATIONS as IDENTITY_MUTATIONS
from worlds.shown import clients_of, shown
from worlds.test_backup_drill import commands, run

RESTORED_S_MAX = 300.0
_KEYS = 12
_KINDS_OF_IDENTITIES = ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies")


@dataclass
class Inventory:
    """What was there before the backup began."""

    blobs: list[tuple[str, bytes, bytes, dict[str, str]]] = field(default_factory=list)
    identities: dict[str, Any] = field(default_factory=dict)
    callers: list[tuple[Credentials, str, bytes]] = field(default_factory=list)
    others: list[tuple[str, str, bytes]] = field(default_factory=list)
    # What they may not, whatever their account says, and who may come with a token of whom.
    limited: tuple[str, str, str] = ("", "", "")
    issuer: Issuer = field(default_factory=Issuer)
    web_role: str = ""


def configure(home: Path, issuer: Issuer) -> None:
    """What operators write: who may not be allowed what, whose word is taken, and a limit."""
    (home / "limits.toml").write_text("aliases_per_key_max = 100_000\n")
    organization, providers = home / "organization", home / "identity-providers"
    for folder in (organization, providers):
        folder.mkdir()
    organization.with_suffix(".toml").write_text('[root]\nservice_control_policies = ["no-disabling.json"]\n')
    limits = document(statement("*"), statement("kms:DisableKey", effect="Deny"))
    (organization / "no-disabling.json").write_text(limits)
    providers.with_suffix(".toml").write_text(provider("cluster.json"))
    (providers / "cluster.json").write_text(json.dumps(issuer.key_set()))


def fill(running: Installation, made: Inventory, blobs: int) -> None:
    """Everything that a home can hold, and so many ciphertexts."""
    with closing(running.kms(max_pool_connections=1)) as kms:
        _fill_with_blobs(kms, made, blobs)
        _fill_with_callers(running, kms, made)
    number, access_key_id, secret = make_account(running)
    user = make_user(running, access_key_id, secret, document(statement("kms:*")))
    for who in ((access_key_id, secret), user):
        with closing(running.kms(*who)) as kms:
            key_id = kms.create_key(Description=number)["KeyMetadata"]["KeyId"]
            made.others.append((*who, kms.encrypt(KeyId=key_id, Plaintext=number.encode())["CiphertextBlob"]))
            made.limited = (*who, key_id)
    who_comes = {"Federated": arn_of("oidc-provider/", NAME, path="")}
    condition = {"StringEquals": {f"{NAME}:sub": SUBJECT}}
    trusted = trusting("sts:AssumeRoleWithWebIdentity", who=who_comes, Condition=condition)
    made.web_role = make_role(running, text=document(trusted))["Arn"]
    made.identities = identities(running)


def _fill_with_blobs(kms: Any, made: Inventory, blobs: int) -> None:
    chance = random.Random(blobs)
    keys = [kms.create_key(Description=f"{at}")["KeyMetadata"]["KeyId"] for at in range(_KEYS)]
    for at in range(blobs):
        key_id, context = chance.choice(keys), {"at": str(at)} if at % 2 else {}
        if at % 3:
            plaintext = chance.randbytes(chance.randrange(1, 500))
            answer = kms.encrypt(KeyId=key_id, Plaintext=plaintext, EncryptionContext=context)
        else:
            answer = kms.generate_data_key(KeyId=key_id, KeySpec="AES_256", EncryptionContext=context)
            plaintext = answer["Plaintext"]
        made.blobs.append((key_id, answer["CiphertextBlob"], plaintext, context))
        if at % (blobs // _KEYS) == blobs // _KEYS // 2:
            kms.rotate_key_on_demand(KeyId=keys[at * _KEYS // blobs])


def _fill_with_callers(running: Installation, kms: Any, made: Inventory) -> None:
    """A user by its own policy, one by a grant alone, a session of a role, one of a user; each may decrypt its blob."""
    user = make_caller(running, statement("kms:Decrypt", "sts:*"))
    granted = make_caller(running)
    role = make_role(running)
    iam = iam_client(running)
    iam.create_group(GroupName="people", Path="/staff/")
    iam.add_user_to_group(GroupName="people", UserName=user["UserName"])
    iam.put_group_policy(GroupName="people", PolicyName="own", PolicyDocument=document(statement("kms:ListKeys")))
    iam.create_policy(PolicyName="reading", PolicyDocument=document(statement("kms:DescribeKey")))
    iam.attach_user_policy(UserName=user["UserName"], PolicyArn=arn_of("policy", "reading"))
    session = assume(running, user, role, Policy=document(statement("kms:Decrypt")))
    token = as_client(running, "sts", user).get_session_token()["Credentials"]
    for caller in (user, granted, session, token):
        key_id = kms.create_key()["KeyMetadata"]["KeyId"]
        if caller is granted:
            kms.create_grant(KeyId=key_id, GranteePrincipal=caller["Arn"], Operations=["Decrypt"])
        blob = kms.encrypt(KeyId=key_id, Plaintext=key_id.encode())["CiphertextBlob"]
        made.callers.append((caller, key_id, blob))
    iam.close()


def identities(running: Installation) -> dict[str, Any]:
    """Accounts, and of each of the main one's identities whatever IAM tells of it, with its documents."""
    arguments = ("iam", "list-accounts", "--home", str(running.home), "--json")
    told: dict[str, Any] = {str(one): one for one in json.loads(running.cli(*arguments).stdout)}
    with closing(iam_client(running)) as iam:
        wanted = ["User", "Group", "Role", "LocalManagedPolicy"]
        for page in iam.get_paginator("get_account_authorization_details").paginate(Filter=wanted):
            told |= {one["Arn"]: one for kind in _KINDS_OF_IDENTITIES for one in page[kind]}
            for user in page["UserDetailList"]:
                keys = iam.list_access_keys(UserName=user["UserName"])["AccessKeyMetadata"]
                told[f"access keys of {user['UserName']}"] = keys
    return told


def missing(running: Installation, made: Inventory) -> list[str]:
    """What of it is not there, or does not work."""
    found = []
    with closing(running.kms()) as kms:
        for at, (_, blob, plaintext, context) in enumerate(made.blobs):
            if opened(kms, blob, context) != plaintext:
                found.append(f"ciphertext {at}")
    for caller, key_id, blob in made.callers:
        with closing(as_client(running, "kms", caller)) as kms:
            if opened(kms, blob, {}) != key_id.encode():
                found.append(f"what {caller['AccessKeyId']} may open")
    for access_key_id, secret, blob in made.others:
        with closing(client("kms", running.port, access_key_id, secret)) as kms:
            if opened(kms, blob, {}) is None:
                found.append(f"what {access_key_id} may open")
    there = identities(running)
    found += [name for name, value in made.identities.items() if there.get(name) != value]
    return found + not_configured(running, made)


def not_configured(running: Installation, made: Inventory) -> list[str]:
    """What the operator wrote and does not hold."""
    found = []
    access_key_id, secret, key_id = made.limited
    with closing(running.kms(access_key_id, secret)) as kms, suppress(ClientError):
        kms.disable_key(KeyId=key_id)
        found.append("the limits of the organisation")
    with closing(as_client(running, "sts")) as sts:
        try:
            token = {"WebIdentityToken": made.issuer.token(), "RoleSessionName": "a-pod"}
            sts.assume_role_with_web_identity(RoleArn=made.web_role, **token)
        except ClientError as error:
            found.append(f"the provider of web identities: {error}")
    return found


def opened(kms: Any, blob: bytes, context: dict[str, str]) -> bytes | None:
    try:
        return bytes(kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"])
    except ClientError:
        return None


class Counting(threading.Thread):
    """Counts as fast as it is answered, in one place after the other: rows of two keys, a role and a user.

    A step is asked for when the one before was answered. So at any moment all places show the same count, or the first few
    show one more.
    """

    def __init__(self, running: Installation) -> None:
        super().__init__(name="counting")
        self._kms, self._iam = running.kms(), iam_client(running)
        described, tagged = (self._kms.create_key(Description="0")["KeyMetadata"]["KeyId"] for _ in range(2))
        role, user = make_role(running)["RoleName"], make_caller(running)["UserName"]
        self._steps: dict[tuple[str, str], Callable[[str], dict[str, Any]]] = {
            (described, "description"): lambda count: self._kms.update_key_description(
                KeyId=described, Description=count
            ),
            (tagged, "tag count"): lambda count: self._kms.tag_resource(
                KeyId=tagged, Tags=[{"TagKey": "count", "TagValue": count}]
            ),
            (f"role/{role}", "description"): lambda count: self._iam.update_role_description(
                RoleName=role, Description=count
            ),
            (f"user/{user}", "tag count"): lambda count: self._iam.tag_user(
                UserName=user, Tags=[{"Key": "count", "Value": count}]
            ),
        }
        # Of each place, the ids of the requests that counted there.
        self._asked: list[list[str]] = [[] for _ in self._steps]
        self._ending = threading.Event()

    @property
    def answered(self) -> int:
        """What it has counted to in all places."""
        return len(self._asked[-1])

    def run(self) -> None:
        while not self._ending.is_set():
            for step, asked in zip(self._steps.values(), self._asked, strict=True):
                asked.append(step(str(len(asked) + 1))["ResponseMetadata"]["RequestId"])

    def end(self) -> None:
        self._ending.set()
        self.join()
        self._kms.close()
        self._iam.close()

    def go_on(self) -> None:
        """Until all of it has counted further."""
        goal = self.answered + 2
        _wait_until(lambda: self.answered >= goal)

    def objections(self, running: Installation, began: int) -> Iterator[str]:
        """To a copy that was begun when so much was counted: its counts, and its trail without a record of some."""
        with clients_of(running, {}) as clients:
            found = [shown(clients, subject, (respect,)).get(respect, "0") for subject, respect in self._steps]
        counts = list(map(int, found))
        if not began <= min(counts) <= max(counts) <= self.answered:
            yield f"{counts} of what was counted from {began} to {self.answered} meanwhile"
        if counts != sorted(counts, reverse=True) or counts[0] - counts[-1] > 1:
            yield f"{counts} were counted at no one moment"
        # The copy may be of the moment between a change and its outcome: its intent was recorded before.
        intended = {event["requestID"] for event in audit_records(running) if event.get("phase")}
        for place, count, asked in zip(self._steps, counts, self._asked, strict=True):
            if missing := len(set(asked[:count]) - intended):
                yield f"{missing} of {count} counts without a record: {place}"


@dataclass
class Lost:
    """What is left of a machine that was lost, and what must come back."""

    folder: Path
    backup: Path
    made: Inventory
    # All of it was answered before the backup began; by request id, so was what another load asked.
    ledger: Ledger
    answered: dict[str, str]
    counting: Counting
    # What it had counted to when the backup began.
    began: int
    # What the promise comes to by the start of the machine that was lost: it knows nothing of a restore.
    late_s: float

    @property
    def recovery_files(self) -> tuple[Path, Path]:
        return self.folder / "recovery-bundle", self.folder / "recovery-share"

    def missing(self, running: Installation) -> list[str]:
        """What of it is not there."""
        found = [*missing(running, self.made), *self.ledger.losses(running), *unrecorded(running, self.answered)]
        return [*found, *self.counting.objections(running, self.began)]


@contextmanager
def machine() -> Iterator[Installation]:
    fresh = Installation("--workers", "2")
    try:
        yield fresh
    finally:
        fresh.destroy()


BackUp = Callable[[Path, Path, Counting], None]


def by_the_page(home: Path, backup: Path, _: Counting) -> None:
    run(commands("Make a backup"), home, backup, backup.parent)


def without_the_log(home: Path, backup: Path, _: Path) -> None:
    """What somebody might think of as a copy: of each store the file alone, and nothing that the operator wrote."""
    for name in ("organization", "identity-providers"):
        shutil.rmtree(backup / name)
        (backup / f"{name}.toml").unlink()
    shutil.copyfile(home / "service" / "store.db", backup / "service" / "store.db")


def of_two_moments(_: Path, backup: Path, earlier: Path) -> None:
    """Who copies table by table reads each in a transaction of its own: here those of the identities came first."""
    with closing(sqlite3.connect(backup / "service" / "store.db")) as copy:
        copy.execute("ATTACH ? AS earlier", (str(earlier / "service" / "store.db"),))
        for table in ("users", "roles"):
            copy.execute(f"DELETE FROM {table}")  # noqa: S608 -- our own names.
            copy.execute(f"INSERT INTO {table} SELECT * FROM earlier.{table}")  # noqa: S608
        copy.commit()


def trail_before_store(_: Path, backup: Path, earlier: Path) -> None:
    """The wrong order: what was done in between has no record."""
    shutil.rmtree(backup / "service" / "audit")
    shutil.copytree(earlier / "service" / "audit", backup / "service" / "audit")


# By the fault, what is said of it; of the latter two, nothing else is.
FAULTS: dict[Callable[[Path, Path, Path], None], tuple[str, ...]] = {
    without_the_log: (
        *("rotations of", "ciphertext", "the limits of the organisation", "the provider of web identities"),
        "[0, 0, 0, 0] of what was counted from",
    ),
    of_two_moments: ("counted at no one moment",),
    trail_before_store: ("counts without a record",),
}


def faulty_ones(home: Path, backup: Path, counting: Counting) -> None:
    """A backup with each fault, and with sums that are right."""
    backup.mkdir()
    earlier = backup / "earlier"
    by_the_page(home, earlier, counting)
    counting.go_on()
    for fault in FAULTS:
        faulty = backup / fault.__name__
        by_the_page(home, faulty, counting)
        fault(home, faulty, earlier)
        names = [line.split("  ")[1] for line in (faulty / "SHA256SUMS").read_text().splitlines()]
        names = [name for name in names if (faulty / name).exists()]
        anew = subprocess.run(["sha256sum", *names], cwd=faulty, check=True, capture_output=True)
        (faulty / "SHA256SUMS").write_bytes(anew.stdout)


def _as_it_is(_running: Installation) -> None:
    """Nothing is changed."""


def keep_in_the_log(running: Installation) -> None:
    """From here on nothing is carried from the log into the file by itself."""
    running.stop()
    pragma = '    "secure_delete = ON",\n'
    plant(running, "kms/storage/sqlite.py", pragma, f'{pragma}    "wal_autocheckpoint = 0",\n')
    running.start()


def lose_a_machine(
    folder: Path, blobs: int, back_up: BackUp, prepare: Callable[[Installation], None] = _as_it_is
) -> Lost:
    """A home at work, its backup made meanwhile, and its recovery files; then the home is gone."""
    folder.mkdir(exist_ok=True)
    with machine() as running:
        made = Inventory()
        running.home.mkdir()
        configure(running.home, made.issuer)
        running.start()
        fill(running, made, blobs)
        prepare(running)
        with load(running, seed=1, people=1) as ledger:
            _wait_until(lambda: ledger.operations >= KMS_MUTATIONS | (IDENTITY_MUTATIONS - LEFT_OUT.keys()))
        counting = Counting(running)
        counting.start()
        try:
            with load(running, seed=1_000, people=1) as meanwhile:
                _wait_until(lambda: counting.answered > 10)
                answered, began = ledger.answered | meanwhile.answered, counting.answered
                back_up(running.home, folder / "backup", counting)
                counting.go_on()
        finally:
            counting.end()
        for name in ("recovery-bundle", "recovery-share"):
            (path,) = (running.home / "recovery").glob(f"{name}-*")
            shutil.copy(path, folder / name)
        late_s = running.late_s(RESTORED_S_MAX)
    return Lost(folder, folder / "backup", made, ledger, answered, counting, began, late_s)


def _wait_until(condition: Callable[[], bool]) -> None:
    """As long as a machine takes that is many times slower: the load uses some operations seldom."""
    deadline = time.monotonic() + 12 * START_S_MAX
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def require_whole(running: Installation) -> None:
    """The trail verifies, and the doctor finds nothing bad."""
    home = str(running.home)
    done = running.cli("doctor", "--deep", "--json", "--home", home, check=False)
    bad = [finding for finding in json.loads(done.stdout) if finding["verdict"] == "bad"]
    assert (done.returncode, bad) == (0, [])
    verified = running.cli("audit", "verify", "--home", home, check=False)
    assert verified.returncode == 0, verified.stdout


def _seconds_until_everything_is_back(folder: Path, blobs: int) -> tuple[float, float]:
    """How long it took until it served, and what is late on this machine."""
    lost = lose_a_machine(folder, blobs, by_the_page)
    with machine() as fresh:
        started = time.monotonic()
        run(commands("Restore"), fresh.home, lost.backup, lost.folder)
        fresh.start()
        served_s = time.monotonic() - started
        assert lost.missing(fresh) == []
        seen_s = time.monotonic() - started
        require_whole(fresh)
        print(
            f"restored and serving after {served_s:.1f} s (late is over {lost.late_s:.0f} s), {blobs} of {blobs} "
            f"ciphertexts opened and everything compared after {seen_s:.1f} s; before the backup: "
            f"{lost.ledger.acknowledged} acknowledged, {len(lost.ledger.blobs)} ciphertexts, {len(lost.answered)} "
            f"answers in the trail; counted from {lost.began} to {lost.counting.answered} during it"
        )
        return served_s, lost.late_s


@pytest.mark.long
def test_three_hundred_ciphertexts_and_everything_else_come_back_from_a_backup_made_under_load(tmp_path: Path) -> None:
    served_s, late_s = _seconds_until_everything_is_back(tmp_path, 300)
    assert served_s < late_s


@pytest.mark.campaign
def test_ten_thousand_ciphertexts_and_everything_else_come_back_from_a_backup_made_under_load(tmp_path: Path) -> None:
    served_s, _ = _seconds_until_everything_is_back(tmp_path, 10_000)
    assert served_s < RESTORED_S_MAX


# ── the check itself, and what must not open ────────────────────────────────────────────────────────────────────────


@pytest.mark.long
def test_a_faulty_backup_is_caught(tmp_path: Path) -> None:
    lost = lose_a_machine(tmp_path, 24, faulty_ones, keep_in_the_log)
    for fault, said in FAULTS.items():
        faulty = replace(lost, backup=lost.backup / fault.__name__)
        with machine() as restored:
            run(commands("Restore"), restored.home, faulty.backup, lost.folder)
            restored.start()
            found = faulty.missing(restored)
        assert [word for word in said if not any(word in one for one in found)] == [], found
        others = [one for one in found if not any(word in one for word in said)]
        assert fault is without_the_log or others == []


@pytest.mark.long
def test_without_the_domains_own_bundle_nothing_opens(tmp_path: Path) -> None:
    lost = lose_a_machine(tmp_path / "own", 24, by_the_page)
    with machine() as foreign:
        foreign.start()
        foreign.stop()
        # 1. Without any: the start is refused, and the same page's restore with the bundle of another domain.
        with machine() as fresh:
            shutil.copytree(lost.backup, fresh.home)
            with pytest.raises(AssertionError, match="strongroom restore"):
                fresh.start()
            (bundle,), (share,) = (foreign.home.glob(f"recovery/recovery-{kind}-*") for kind in ("bundle", "share"))
            own_bundle, own_share = lost.recovery_files
            for files in ((bundle, share), (own_bundle, share), (bundle, own_share)):
                restore = ("restore", "--home", str(fresh.home), "--bundle", str(files[0]), "--share", str(files[1]))
                done = fresh.cli(*restore, check=False)
                assert (done.returncode, "strongroom: " in done.stderr) == (1, True), done.stderr
                with pytest.raises(AssertionError, match="strongroom restore"):
                    fresh.start()
        # 2. Another domain's HSM, with everything of its own, is given the store of this one.
        shutil.copyfile(lost.backup / "service" / "store.db", foreign.home / "service" / "store.db")
        for left in foreign.home.glob("service/store.db-*"):
            left.unlink()
        with pytest.raises(AssertionError, match="the service cannot start: KMSInternalException"):
            foreign.start()
