"""The `aws` command line, as a user types it: endpoint, region and credentials come from the environment."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from testkit.clients import client_environment
from testkit.installation import ACCOUNT, Installation


def _version(program: str) -> str:
    """The major version, or nothing where the program is missing or something else."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=240, check=False)
    except OSError:
        return ""
    found = re.match(r"aws-cli/(\d+)\.", done.stdout + done.stderr)
    return found.group(1) if found else ""


def _programs() -> list[Any]:
    """Version 1 from the test requirements, and version 2 where the machine has it."""
    first = str(Path(sys.executable).parent / "aws")
    places = [shutil.which("aws2"), "/usr/local/bin/aws", "/usr/bin/aws", "/usr/local/aws-cli/v2/current/bin/aws"]
    second = next((place for place in places if place and _version(place) == "2"), "")
    absent = pytest.mark.skip(reason="aws-cli version 2 is not on this machine")
    return [pytest.param(first, id="v1"), pytest.param(second, id="v2", marks=[] if second else [absent])]


class Aws:
    """Runs `aws …` and reads its JSON."""

    def __init__(self, program: str, port: int, home: Path) -> None:
        self._program = program
        self._environment = client_environment(port, home)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._program, *arguments], capture_output=True, text=True, timeout=240, check=False, env=self._environment
        )

    def __call__(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--output", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    def refused(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode != 0
        return done.stderr


@pytest.fixture(params=_programs())
def aws(request: pytest.FixtureRequest, installation: Installation, tmp_path: Path) -> Aws:
    return Aws(request.param, installation.port, tmp_path)


def test_a_key_is_made_described_and_listed(aws: Aws) -> None:
    made = aws("kms", "create-key", "--description", "from the command line", "--tags", "TagKey=team,TagValue=blue")
    metadata = made["KeyMetadata"]
    assert metadata["Description"] == "from the command line"
    assert aws("kms", "describe-key", "--key-id", metadata["Arn"])["KeyMetadata"] == metadata
    listed = aws("kms", "list-keys", "--page-size", "2")["Keys"]
    assert {"KeyId": metadata["KeyId"], "KeyArn": metadata["Arn"]} in listed


def test_a_file_is_encrypted_and_decrypted(aws: Aws, key_id: str, tmp_path: Path) -> None:
    plain, encrypted = tmp_path / "plain", tmp_path / "encrypted"
    plain.write_bytes(bytes(range(256)))
    context = ("--encryption-context", "tenant=7,purpose=cli")
    answer = aws("kms", "encrypt", "--key-id", key_id, "--plaintext", f"fileb://{plain}", *context)
    assert answer["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
    encrypted.write_bytes(base64.b64decode(answer["CiphertextBlob"]))
    answer = aws("kms", "decrypt", "--ciphertext-blob", f"fileb://{encrypted}", *context)
    assert base64.b64decode(answer["Plaintext"]) == bytes(range(256))
    refusal = aws.refused("kms", "decrypt", "--ciphertext-blob", f"fileb://{encrypted}")
    assert "(InvalidCiphertextException) when calling the Decrypt operation" in refusal


def test_a_data_key_is_made_and_unwrapped(aws: Aws, key_id: str, tmp_path: Path) -> None:
    made = aws("kms", "generate-data-key", "--key-id", key_id, "--key-spec", "AES_256")
    assert len(base64.b64decode(made["Plaintext"])) == 32
    wrapped = tmp_path / "wrapped"
    wrapped.write_bytes(base64.b64decode(made["CiphertextBlob"]))
    unwrapped = aws("kms", "decrypt", "--key-id", key_id, "--ciphertext-blob", f"fileb://{wrapped}")
    assert unwrapped["Plaintext"] == made["Plaintext"]
    moved = aws(
        *("kms", "re-encrypt", "--ciphertext-blob", f"fileb://{wrapped}", "--destination-key-id", key_id),
        *("--destination-encryption-context", "moved=yes"),
    )
    assert moved["SourceKeyId"] == moved["KeyId"]


def test_an_alias_is_made_moved_listed_and_deleted(aws: Aws, kms: Any, key_id: str) -> None:
    alias, other = f"alias/cli/{uuid.uuid4()}", kms.create_key()["KeyMetadata"]["KeyId"]
    assert aws("kms", "create-alias", "--alias-name", alias, "--target-key-id", key_id) is None
    assert aws("kms", "update-alias", "--alias-name", alias, "--target-key-id", other) is None
    (listed,) = aws("kms", "list-aliases", "--key-id", other)["Aliases"]
    assert (listed["AliasName"], listed["TargetKeyId"]) == (alias, other)
    assert aws("kms", "delete-alias", "--alias-name", alias) is None
    assert "(NotFoundException)" in aws.refused("kms", "describe-key", "--key-id", alias)


def test_a_key_is_disabled_and_enabled(aws: Aws, key_id: str) -> None:
    assert aws("kms", "disable-key", "--key-id", key_id) is None
    refusal = aws.refused("kms", "generate-data-key-without-plaintext", "--key-id", key_id, "--key-spec", "AES_128")
    assert "(DisabledException)" in refusal
    assert aws("kms", "enable-key", "--key-id", key_id) is None
    made = aws("kms", "generate-data-key-without-plaintext", "--key-id", key_id, "--number-of-bytes", "24")
    assert "Plaintext" not in made


def test_random_bytes_go_to_a_file_as_the_manual_shows(aws: Aws) -> None:
    done = aws.run("kms", "generate-random", "--number-of-bytes", "48", "--output", "text", "--query", "Plaintext")
    assert len(base64.b64decode(done.stdout)) == 48


def test_the_caller_is_told_who_he_is(aws: Aws) -> None:
    answer = aws("sts", "get-caller-identity")
    assert answer == {"UserId": ACCOUNT, "Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:root"}


def test_a_key_is_described_anew_and_tagged(aws: Aws, key_id: str) -> None:
    key = ("--key-id", key_id)
    assert aws("kms", "update-key-description", *key, "--description", "a new one") is None
    assert aws("kms", "describe-key", *key)["KeyMetadata"]["Description"] == "a new one"
    tags = ("TagKey=team,TagValue=blue", "TagKey=cost center,TagValue=", "TagKey=stage,TagValue=a=b+c")
    assert aws("kms", "tag-resource", *key, "--tags", *tags) is None
    assert aws("kms", "untag-resource", *key, "--tag-keys", "team") is None
    listed = aws("kms", "list-resource-tags", *key, "--page-size", "1")["Tags"]
    assert {tag["TagKey"]: tag["TagValue"] for tag in listed} == {"cost center": "", "stage": "a=b+c"}
    assert "(TagException)" in aws.refused("kms", "tag-resource", *key, "--tags", "TagKey=aws:mine,TagValue=x")


def test_a_policy_from_a_file_is_read_back_to_the_byte(aws: Aws, key_id: str, tmp_path: Path) -> None:
    key = ("--key-id", key_id)
    document = json.loads(aws("kms", "get-key-policy", *key, "--policy-name", "default")["Policy"])
    document["Statement"][0]["Sid"] = "Written by hand"
    written = tmp_path / "policy.json"
    written.write_text(json.dumps(document, indent=4), encoding="utf-8")
    assert aws("kms", "put-key-policy", *key, "--policy-name", "default", "--policy", f"file://{written}") is None
    assert aws("kms", "get-key-policy", *key)["Policy"] == written.read_text(encoding="utf-8")
    assert aws("kms", "list-key-policies", *key)["PolicyNames"] == ["default"]
    assert "(MalformedPolicyDocumentException)" in aws.refused("kms", "put-key-policy", *key, "--policy", "{}")
    assert aws("kms", "list-grants", *key)["Grants"] == []


def test_a_grant_is_made_listed_retired_and_revoked(aws: Aws, key_id: str) -> None:
    key, root = ("--key-id", key_id), f"arn:aws:iam::{ACCOUNT}:root"
    made = ("--grantee-principal", root, "--retiring-principal", root, "--operations", "Encrypt", "Decrypt")
    constraints = "EncryptionContextSubset={Department=IT,Purpose=Test}"
    first = aws("kms", "create-grant", *key, *made, "--constraints", constraints, "--name", "first")
    again = aws("kms", "create-grant", *key, *made, "--constraints", constraints, "--name", "first")
    assert (again["GrantId"], again["GrantToken"] != first["GrantToken"]) == (first["GrantId"], True)
    second = aws("kms", "create-grant", *key, *made)
    listed = {grant["GrantId"]: grant for grant in aws("kms", "list-grants", *key, "--page-size", "1")["Grants"]}
    assert set(listed) == {first["GrantId"], second["GrantId"]}
    shown = {"EncryptionContextSubset": {"Department": "IT", "Purpose": "Test"}}
    assert listed[first["GrantId"]]["Constraints"] == shown
    used = ("kms", "encrypt", *key, "--plaintext", "eA==", "--grant-tokens", first["GrantToken"], again["GrantToken"])
    assert aws(*used)["KeyId"].endswith(key_id)
    assert aws("kms", "retire-grant", "--grant-token", first["GrantToken"]) is None
    assert "(InvalidGrantTokenException)" in aws.refused(*used)
    assert aws("kms", "revoke-grant", *key, "--grant-id", second["GrantId"]) is None
    assert aws("kms", "list-grants", *key)["Grants"] == []
    assert "(NotFoundException)" in aws.refused("kms", "revoke-grant", *key, "--grant-id", second["GrantId"])


def test_a_key_is_rotated_by_schedule_and_on_demand(aws: Aws, key_id: str) -> None:
    key = ("--key-id", key_id)
    assert aws("kms", "enable-key-rotation", *key, "--rotation-period-in-days", "180") is None
    status = aws("kms", "get-key-rotation-status", *key)
    assert (status["KeyRotationEnabled"], status["RotationPeriodInDays"]) == (True, 180)
    before = aws("kms", "describe-key", *key)["KeyMetadata"]
    assert aws("kms", "rotate-key-on-demand", *key) == {"KeyId": before["Arn"]}
    (rotation,) = aws("kms", "list-key-rotations", *key)["Rotations"]
    assert rotation["RotationType"] == "ON_DEMAND"
    everything = aws("kms", "list-key-rotations", *key, "--include-key-material", "ALL_KEY_MATERIAL")["Rotations"]
    assert everything[0]["KeyMaterialId"] == before["CurrentKeyMaterialId"]
    assert aws("kms", "get-key-rotation-status", *key)["NextRotationDate"] == status["NextRotationDate"]
    assert aws("kms", "disable-key-rotation", *key) is None
    assert aws("kms", "get-key-rotation-status", *key)["KeyRotationEnabled"] is False


def test_a_deletion_is_scheduled_and_cancelled(aws: Aws, key_id: str) -> None:
    key = ("--key-id", key_id)
    scheduled = aws("kms", "schedule-key-deletion", *key, "--pending-window-in-days", "7")
    assert (scheduled["KeyState"], scheduled["PendingWindowInDays"]) == ("PendingDeletion", 7)
    described = aws("kms", "describe-key", *key)["KeyMetadata"]
    assert described["DeletionDate"] == scheduled["DeletionDate"]
    refusal = aws.refused("kms", "encrypt", *key, "--plaintext", "eA==")
    assert f"(KMSInvalidStateException) when calling the Encrypt operation: {described['Arn']} is pending" in refusal
    assert aws("kms", "cancel-key-deletion", *key) == {"KeyId": described["Arn"]}
    assert aws("kms", "describe-key", *key)["KeyMetadata"]["KeyState"] == "Disabled"
    refusal = aws.refused("kms", "schedule-key-deletion", *key, "--pending-window-in-days", "6")
    assert "(ValidationException)" in refusal


def test_the_last_use_of_a_key_is_told(aws: Aws, key_id: str) -> None:
    assert aws("kms", "get-key-last-usage", "--key-id", key_id)["KeyLastUsage"] == {}
    aws("kms", "encrypt", "--key-id", key_id, "--plaintext", "eA==")
    assert aws("kms", "get-key-last-usage", "--key-id", key_id)["KeyLastUsage"]["Operation"] == "Encrypt"


def test_what_is_not_supported_yet_says_so(aws: Aws) -> None:
    refusal = aws.refused("kms", "describe-custom-key-stores")
    assert "(UnsupportedOperationException)" in refusal


def test_a_user_is_made_put_into_a_group_given_a_key_and_deleted(aws: Aws, installation: Installation) -> None:
    user, group = f"cli-{uuid.uuid4()}", f"cli-{uuid.uuid4()}"
    made = aws("iam", "create-user", "--user-name", user, "--path", "/cli/", "--tags", "Key=team,Value=blue")["User"]
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/cli/{user}"
    assert aws("iam", "get-user", "--user-name", user)["User"] == made
    assert aws("iam", "create-group", "--group-name", group)["Group"]["GroupName"] == group
    assert aws("iam", "add-user-to-group", "--user-name", user, "--group-name", group) is None
    allows = {"Effect": "Allow", "Action": "kms:ListKeys", "Resource": "*"}
    text = json.dumps({"Version": "2012-10-17", "Statement": [allows]})
    aws("iam", "put-group-policy", "--group-name", group, "--policy-name", "p", "--policy-document", text)
    shown = aws("iam", "get-group-policy", "--group-name", group, "--policy-name", "p")
    assert shown["PolicyDocument"] == json.loads(text)
    key = aws("iam", "create-access-key", "--user-name", user)["AccessKey"]
    kms = installation.kms(key["AccessKeyId"], key["SecretAccessKey"])
    kms.list_keys()
    kms.close()
    used = aws("iam", "get-access-key-last-used", "--access-key-id", key["AccessKeyId"])["AccessKeyLastUsed"]
    assert used["ServiceName"] == "kms"
    refusal = aws.refused("iam", "delete-user", "--user-name", user)
    assert "(DeleteConflict) when calling the DeleteUser operation: Cannot delete entity, must remove users" in refusal
    aws("iam", "remove-user-from-group", "--user-name", user, "--group-name", group)
    aws("iam", "delete-access-key", "--user-name", user, "--access-key-id", key["AccessKeyId"])
    aws("iam", "delete-user", "--user-name", user)
    refusal = aws.refused("iam", "get-user", "--user-name", user)
    assert f"(NoSuchEntity) when calling the GetUser operation: The user with name {user} cannot be found." in refusal
    assert user not in {one["UserName"] for one in aws("iam", "list-users", "--page-size", "2")["Users"]}
    aws("iam", "delete-group-policy", "--group-name", group, "--policy-name", "p")
    aws("iam", "delete-group", "--group-name", group)
