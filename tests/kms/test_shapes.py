"""The generated shapes are AWS's model: nothing added, nothing lost, nothing typed by hand."""

import gzip
import importlib.util
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import botocore
import msgspec
import pytest

from strongroom.kms.wire import shapes
from strongroom.kms.wire.model import Rule, Shape, structure_rule

REPOSITORY = Path(__file__).resolve().parents[2]
MODEL = Path(botocore.__file__).parent / "data/kms/2014-11-01/service-2.json.gz"


@cache
def model() -> dict[str, Any]:
    with gzip.open(MODEL) as stream:
        return json.load(stream)


def structures() -> list[str]:
    return [name for name, s in model()["shapes"].items() if s["type"] == "structure" and not s.get("exception")]


def differences(name: str, rule: Rule) -> list[str]:
    """Compare a rule, read from our structs, with the published shape `name`, read from botocore's file."""
    published = model()["shapes"][name]
    found = []
    expected = {
        "kind": published["type"],
        "minimum": published.get("min"),
        "maximum": published.get("max"),
        "choices": tuple(published.get("enum", ())),
        "pattern": published.get("pattern"),
        # Grant tokens are withheld although the model does not say so.
        "sensitive": published.get("sensitive", False) or name == "GrantTokenType",
    }
    actual = {field: getattr(rule, field) for field in expected} | {
        "pattern": None if rule.pattern is None else rule.published_pattern
    }
    found += [f"{name}.{field}" for field in expected if expected[field] != actual[field]]
    if published["type"] == "list":
        found += differences(published["member"]["shape"], rule.element)
    if published["type"] == "map":
        found += differences(published["key"]["shape"], rule.key) + differences(
            published["value"]["shape"], rule.element
        )
    if published["type"] == "structure":
        if [member.name for member in rule.members] != list(published["members"]):
            found.append(f"{name}: members")
        required = {member.name for member in rule.members if member.required}
        if required != set(published.get("required", ())):
            found.append(f"{name}: required")
        for member in rule.members:
            if member.name in published["members"]:
                found += differences(published["members"][member.name]["shape"], member.rule)
    return found


def test_the_model_has_56_operations_and_259_shapes() -> None:
    assert len(model()["operations"]) == len(shapes.OPERATIONS) == 56
    assert len(model()["shapes"]) == 259


def test_regenerating_gives_the_identical_file() -> None:
    spec = importlib.util.spec_from_file_location("generate_shapes", REPOSITORY / "scripts/generate_shapes.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for source in script.SOURCES:
        assert source.target.read_text(encoding="utf-8") == script.render(source)


def test_every_shape_of_the_model_is_there() -> None:
    for name, shape in model()["shapes"].items():
        if shape.get("exception"):
            assert name in shapes.ERRORS
        elif shape["type"] == "structure":
            assert issubclass(getattr(shapes, name), Shape)
        else:
            assert hasattr(shapes, f"{name}Shape")


@pytest.mark.parametrize("name", structures())
def test_a_struct_demands_exactly_what_the_model_demands(name: str) -> None:
    assert differences(name, structure_rule(getattr(shapes, name))) == []


def test_the_comparison_with_the_model_sees_a_difference() -> None:
    rule = structure_rule(shapes.DecryptRequest)
    assert "EncryptRequest: members" in differences("EncryptRequest", rule)
    key_id = Rule("string", minimum=1, maximum=2047)
    assert differences("KeyIdType", key_id) == ["KeyIdType.maximum"]


def test_operations_have_the_models_shapes_and_exceptions() -> None:
    for name, published in model()["operations"].items():
        operation = shapes.OPERATIONS[name]
        assert operation.name == name
        assert operation.request.__name__ == published["input"]["shape"]
        assert (operation.response.__name__ if operation.response else None) == published.get("output", {}).get("shape")
        assert operation.exceptions == tuple(error["shape"] for error in published.get("errors", ()))
        assert set(operation.exceptions) <= set(shapes.ERRORS)


def test_only_the_three_faults_answer_500() -> None:
    # Every operation's page of the KMS API reference lists "HTTP Status Code: 500" for these three and 400 for all others.
    faults = {"DependencyTimeoutException", "KMSInternalException", "KeyUnavailableException"}
    assert {name for name, status in shapes.ERRORS.items() if status == 500} == faults
    assert set(shapes.ERRORS.values()) == {400, 500}
    assert len(shapes.ERRORS) == sum(1 for shape in model()["shapes"].values() if shape.get("exception"))


def test_every_struct_is_frozen_and_takes_keywords_only() -> None:
    for name in structures():
        config = getattr(shapes, name).__struct_config__
        assert config.frozen
        assert config.omit_defaults
        assert not config.forbid_unknown_fields
    with pytest.raises(AttributeError):
        shapes.DescribeKeyRequest(KeyId="a").KeyId = "b"
    with pytest.raises(TypeError):
        shapes.DescribeKeyRequest("a")


def test_absent_members_of_a_response_are_not_sent() -> None:
    response = shapes.ListKeysResponse(Keys=[], Truncated=False)
    assert msgspec.json.encode(response) == b'{"Keys":[],"Truncated":false}'


def test_blobs_travel_as_base64_and_timestamps_as_seconds() -> None:
    assert msgspec.json.encode(shapes.DecryptResponse(Plaintext=b"\x00\xff")) == b'{"Plaintext":"AP8="}'
    body = msgspec.json.encode(shapes.ScheduleKeyDeletionResponse(DeletionDate=1700000000.123))
    assert body == b'{"DeletionDate":1700000000.123}'


@pytest.mark.parametrize(("length", "accepted"), [(1, True), (4096, True), (4097, False), (0, False)])
def test_the_length_of_a_blob_counts_decoded_bytes(length: int, accepted: bool) -> None:
    body = msgspec.json.encode({"KeyId": "k", "Plaintext": b"\x00" * length})
    decoder = msgspec.json.Decoder(shapes.EncryptRequest)
    if accepted:
        assert len(decoder.decode(body).Plaintext) == length
    else:
        with pytest.raises(msgspec.ValidationError):
            decoder.decode(body)


@pytest.mark.parametrize("name", ["alias/a\n", "\nalias/a", "alias/é", "alias/\u0661"])
def test_a_pattern_matches_the_whole_text_in_ascii(name: str) -> None:
    decoder = msgspec.json.Decoder(shapes.CreateAliasRequest)
    assert decoder.decode(b'{"AliasName":"alias/a","TargetKeyId":"k"}').AliasName == "alias/a"
    with pytest.raises(msgspec.ValidationError):
        decoder.decode(msgspec.json.encode({"AliasName": name, "TargetKeyId": "k"}))


def test_the_repr_of_a_struct_shows_no_value() -> None:
    response = shapes.GenerateDataKeyResponse(Plaintext=b"canary-of-plaintext", KeyId="canary-of-id")
    assert repr(response) == f"{response}" == "GenerateDataKeyResponse(Plaintext, KeyId)"
    nested = shapes.CreateCustomKeyStoreRequest(
        CustomKeyStoreName="canary",
        XksProxyAuthenticationCredential=shapes.XksProxyAuthenticationCredentialType(
            AccessKeyId="canary", RawSecretAccessKey="canary"
        ),
    )
    assert "canary" not in repr(nested)


def test_the_validator_needs_no_botocore() -> None:
    program = (
        "import sys; import strongroom.kms.wire.validation; "
        "sys.exit(any(name.startswith(('botocore', 'boto3', 'gzip')) for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, cwd=REPOSITORY / "src")
    assert done.returncode == 0
