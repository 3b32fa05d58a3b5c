"""A machine is lost while it serves: what its last backup and the recovery bundle bring back elsewhere.

The home has everything that a home can hold: keys, rotated ones, ciphertexts, aliases, tags, grants, two
accounts, users, groups, roles, policies, access keys and sessions, limits of the organisation and a provider of web
identities. A load that changes all that keys and identities have goes on before, while and after the backup is made, by the
commands of docs/operate/backup.md. Then the home is gone, and the same page's commands restore it at another place.

How the check was seen to fail: `test_a_backup_that_misses_the_log_is_caught` gives it a copy of the store without its
write-ahead log, and none of what the operator wrote; `test_without_the_domains_own_bundle_nothing_opens` other bundles,
and none.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from testkit.accounts import make_account, make_user
from testkit.identities import arn_of, document, iam_client, statement
from testkit.installation import START_S_MAX, Installation, client
from testkit.planting import plant
from testkit.sessions import Credentials, as_client, assume, make_caller, make_role, trusting
from testkit.web_identities import NAME, SUBJECT, Issuer, provider
from worlds.load import MUTATIONS as KMS_MUTATIONS
from worlds.load import Ledger, load
from worlds.people import LEFT_OUT
from worlds.people import MUTATIONS as IDENTITY_MUTATIONS
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
    """Counts in a key's description and in a tag of another one, as fast as it is answered."""

    def __init__(self, running: Installation) -> None:
        super().__init__(name="counting")
        self._kms = running.kms()
        self.keys = [self._kms.create_key(Description="0")["KeyMetadata"]["KeyId"] for _ in range(2)]
        self.answered = 0
        self._ending = threading.Event()

    def run(self) -> None:
        described, tagged = self.keys
        while not self._ending.is_set():
            count = str(self.answered + 1)
            self._kms.update_key_description(KeyId=described, Description=count)
            self._kms.tag_resource(KeyId=tagged, Tags=[{"TagKey": "count", "TagValue": count}])
            self.answered += 1

    def end(self) -> None:
        self._ending.set()
        self.join()
        self._kms.close()

    def shown(self, running: Installation) -> list[int]:
        """What the two keys say now; nothing of one that is not there."""
        described, tagged = self.keys
        counts = []
        with closing(running.kms()) as kms:
            with suppress(ClientError):
                counts.append(int(kms.describe_key(KeyId=described)["KeyMetadata"]["Description"]))
            with suppress(ClientError):
                counts += [int(tag["TagValue"]) for tag in kms.list_resource_tags(KeyId=tagged)["Tags"]]
        return counts


@dataclass
class Lost:
    """What is left of a machine that was lost, and what must come back."""

    folder: Path
    backup: Path
    made: Inventory
    # All of it was answered before the backup began.
    ledger: Ledger
    counting: Counting
    # What it had counted to when the backup began, and in the end.
    counted: tuple[int, int]

    @property
    def recovery_files(self) -> tuple[Path, Path]:
        return self.folder / "recovery-bundle", self.folder / "recovery-share"

    def missing(self, running: Installation) -> list[str]:
        """What of it is not there."""
        began, ended = self.counted
        found = missing(running, self.made) + self.ledger.losses(running)
        shown = self.counting.shown(running)
        if len(shown) != 2 or not all(began <= count <= ended + 1 for count in shown):
            found.append(f"{shown} of what was counted from {began} to {ended} meanwhile")
        return found


@contextmanager
def machine() -> Iterator[Installation]:
    fresh = Installation("--workers", "2")
    try:
        yield fresh
    finally:
        fresh.destroy()


BackUp = Callable[[Path, Path, Path], None]


def by_the_page(home: Path, backup: Path, folder: Path) -> None:
    run(commands("Make a backup"), home, backup, folder)


def without_the_log(home: Path, backup: Path, folder: Path) -> None:
    """What somebody might think of as a copy: of each store the file alone, and nothing that the operator wrote."""
    by_the_page(home, backup, folder)
    for name in ("organization", "identity-providers"):
        shutil.rmtree(backup / name)
        (backup / f"{name}.toml").unlink()
    shutil.copyfile(home / "service" / "store.db", backup / "service" / "store.db")
    names = [line.split("  ")[1] for line in (backup / "SHA256SUMS").read_text().splitlines()]
    names = [name for name in names if (backup / name).exists()]
    anew = subprocess.run(["sha256sum", *names], cwd=backup, check=True, capture_output=True)
    (backup / "SHA256SUMS").write_bytes(anew.stdout)


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
            with load(running, seed=1_000, people=1):
                _wait_until(lambda: counting.answered > 10)
                began = counting.answered
                back_up(running.home, folder / "backup", folder)
                _wait_until(lambda: counting.answered > began)
        finally:
            counting.end()
        for name in ("recovery-bundle", "recovery-share"):
            (path,) = (running.home / "recovery").glob(f"{name}-*")
            shutil.copy(path, folder / name)
    return Lost(folder, folder / "backup", made, ledger, counting, (began, counting.answered))


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


def _require_everything_back(folder: Path, blobs: int) -> None:
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
            f"restored and serving after {served_s:.1f} s (late is over {fresh.late_s(RESTORED_S_MAX):.0f} s), {blobs} of "
            f"{blobs} ciphertexts opened and everything compared after {seen_s:.1f} s; the load before the backup: "
            f"{lost.ledger.acknowledged} acknowledged, {len(lost.ledger.blobs)} ciphertexts; counted from "
            f"{lost.counted[0]} to {lost.counted[1]} during it"
        )
        assert served_s < fresh.late_s(RESTORED_S_MAX)


@pytest.mark.long
def test_three_hundred_ciphertexts_and_everything_else_come_back_from_a_backup_made_under_load(tmp_path: Path) -> None:
    _require_everything_back(tmp_path, 300)


@pytest.mark.campaign
def test_ten_thousand_ciphertexts_and_everything_else_come_back_from_a_backup_made_under_load(tmp_path: Path) -> None:
    _require_everything_back(tmp_path, 10_000)


# ── the check itself, and what must not open ────────────────────────────────────────────────────────────────────────


@pytest.mark.long
def test_a_backup_that_misses_the_log_is_caught(tmp_path: Path) -> None:
    lost = lose_a_machine(tmp_path, 24, without_the_log, keep_in_the_log)
    with machine() as fresh:
        run(commands("Restore"), fresh.home, lost.backup, lost.folder)
        fresh.start()
        found = lost.missing(fresh)
    assert any(one.startswith("rotations of") for one in found)
    assert any(one.startswith("ciphertext") for one in found)
    assert "the limits of the organisation" in found
    assert any(one.startswith("the provider of web identities") for one in found)
    assert any("of what was counted" in one for one in found)


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
