"""IAM and STS on the wire: botocore writes our requests and reads our answers, offline, for every operation that we have.

Where the wordings come from. `AWS` was observed on AWS by the source; `framework` is what AWS's framework is known to say
of such a constraint in other services (`test_validation.py` names them); `ours` is ours.

* AWS, IAM: a length with its value (aws/aws-cli#7854, DeleteRolePolicy); a tag's pattern with its value at
  `tags.6.member.value` (ministryofjustice/cloud-platform-environments#22667, CreateRole).
* AWS, STS: a length with its value at `roleSessionName` (getmoto/moto#9218, AssumeRole).
* AWS, other Query services, all `MalformedInput`: booleans (EMR in mrjob's tests; SES in floci's, probed in September
  2026), the indices of lists (SES in floci's tests).
* Framework: null, enumerations, ranges, `tags.1.member.key`. Ours: integers, values in the wrong place.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
import sys
import time
import tracemalloc
import unicodedata
import warnings
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlencode
from xml.etree import ElementTree as ET

import botocore.session
import msgspec
import pytest
from botocore.handlers import json_decode_policies
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strongroom.kms.faults import Fault
from strongroom.kms.identities import faults
from strongroom.kms.trail import logged_parameters
from strongroom.kms.wire import iam_shapes, query_codec, sts_shapes
from strongroom.kms.wire.model import Rule, anchored_pattern, published_pattern, structure_rule
from strongroom.kms.wire.query_codec import (
    IAM,
    QUERY_ERRORS,
    QUERY_OPERATIONS,
    SERVICES,
    STS,
    decode_query,
    encode_document,
    encode_error,
    encode_result,
    error_status,
    find_operation,
)
from strongroom.kms.wire.validation import UNEXPLAINED, RequestRefused
from strongroom.protocol.query import FORM_BYTES_MAX, parse_form

REPOSITORY: Final = Path(__file__).resolve().parents[2]
OPERATIONS: Final = sorted(QUERY_OPERATIONS)
# What no caller may be able to make of a refusal; generous, because machines are loaded.
REFUSAL_MS_MAX: Final = 2_000


# --- The model, and values for it -------------------------------------------------------------------------------------


@cache
def model(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)


def service_of(action: str) -> str:
    return "iam" if action in iam_shapes.OPERATIONS else "sts"


@cache
def published(service: str) -> dict[str, Any]:
    path = Path(botocore.__file__).parent / "data" / service / SERVICES[service].api_version / "service-2.json.gz"
    return json.loads(gzip.decompress(path.read_bytes()))


# Everything that a form or XML could stumble over, beside what the patterns want.
POOL: Final = "aZ09_+=,.@-:/* \t\r\n<>&\"'%;#[]{}()äß€\u3000\u2028\U0001f512"
SAMPLES: Final = ("/", "/division/", "/a.b/c+d/", "v1", "v23", "v4.a-b")


def strings(rule: Rule) -> st.SearchStrategy[str]:
    """Texts that a rule allows."""
    if rule.choices:
        return st.sampled_from(rule.choices)
    smallest = rule.minimum or 0
    largest = min(rule.maximum if rule.maximum is not None else 10**6, smallest + 12)
    if rule.pattern is None:
        return st.text(POOL, min_size=smallest, max_size=largest)
    # A pattern is a class of characters, or samples have to do.
    alphabet = [letter for letter in POOL if rule.pattern.search(letter) and rule.pattern.search(letter * 2)]
    if alphabet:
        return st.text(alphabet, min_size=max(smallest, bool(rule.pattern.search("") is None)), max_size=largest)
    return st.sampled_from([text for text in SAMPLES if rule.pattern.search(text)])


def values(rule: Rule) -> st.SearchStrategy[Any]:
    """Values that a rule allows, as botocore takes and gives them."""
    match rule.kind:
        case "string":
            return strings(rule)
        case "integer":
            return st.integers(rule.minimum if rule.minimum is not None else -(2**31), rule.maximum or 2**31 - 1)
        case "boolean":
            return st.booleans()
        case "timestamp":
            return st.integers(0, 4_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
        case "blob":
            return st.binary(max_size=9)
        case "list":
            # A structure without members leaves no trace in a form, so no client can send one.
            elements = values(rule.element).filter(lambda element: element != {})
            return st.lists(elements, min_size=rule.minimum or 0, max_size=(rule.minimum or 0) + 3)
        case "map":
            return st.dictionaries(values(rule.key), values(rule.element), max_size=3)
        case _:
            return structures(rule)


def structures(rule: Rule) -> st.SearchStrategy[dict[str, Any]]:
    required = {member.name: values(member.rule) for member in rule.members if member.required}
    optional = {member.name: values(member.rule) for member in rule.members if not member.required}
    return st.fixed_dictionaries(required, optional=optional)


def form_of(action: str, parameters: dict[str, Any]) -> dict[str, str]:
    """The form that botocore sends, as our edge reads it."""
    operation = model(service_of(action)).operation_model(action)
    request = create_serializer("query", include_validation=True).serialize_to_request(parameters, operation)
    return parse_form(urlencode(request["body"]).encode())


def parsed(action: str, body: bytes, status: int = 200) -> dict[str, Any]:
    shape = model(service_of(action)).operation_model(action).output_shape
    return create_parser("query").parse({"body": body, "headers": {}, "status_code": status}, shape)


def plain(value: Any) -> Any:
    """A struct as botocore would hold it."""
    return msgspec.to_builtins(value, builtin_types=(bytes,))


def with_times(rule: Rule, value: Any) -> Any:
    """Seconds since 1970, which our structs hold, in place of botocore's times."""
    match value:
        case datetime():
            return value.timestamp()
        case dict() if rule.kind == "structure":
            by_name = {member.name: member.rule for member in rule.members}
            return {name: with_times(by_name[name], found) for name, found in value.items()}
        case list():
            return [with_times(rule.element, found) for found in value]
        case _:
            return value


def refusal(action: str, form: dict[str, str]) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        decode_query(action, form)
    return caught.value


def outcome(action: str, form: dict[str, str]) -> tuple[str, str]:
    """The code of the refusal, if there is one, and whether it has a reason."""
    try:
        decode_query(action, form)
    except RequestRefused as refused:
        return refused.code, "explained" if refused.message != UNEXPLAINED else "unexplained"
    return "", ""


# --- Shapes are the model ---------------------------------------------------------------------------------------------


def differences(service: str, name: str, rule: Rule) -> list[str]:
    """Compare a rule, read from our structs, with the shape `name` of botocore's file."""
    shape = published(service)["shapes"][name]
    withheld = service == "sts" and name in {"tokenType", "tokenCodeType", "contextAssertionType"}
    expected = (
        shape["type"],
        shape.get("min"),
        shape.get("max"),
        tuple(shape.get("enum", ())),
        shape.get("pattern"),
        shape.get("sensitive", False) or withheld,
    )
    pattern = None if rule.pattern is None else rule.published_pattern
    found = [f"{name}: {rule}"] * (
        (rule.kind, rule.minimum, rule.maximum, rule.choices, pattern, rule.sensitive) != expected
    )
    if shape["type"] == "structure":
        members = {member.name: member for member in rule.members}
        if list(members) != list(shape["members"]):
            found.append(f"{name}: members")
        if {member.name for member in rule.members if member.required} != set(shape.get("required", ())):
            found.append(f"{name}: required")
        for member in set(members) & set(shape["members"]):
            found += differences(service, shape["members"][member]["shape"], members[member].rule)
    for part, inner in (("member", rule.element), ("key", rule.key), ("value", rule.element)):
        if part in shape:
            found += differences(service, shape[part]["shape"], inner)
    return found


@pytest.mark.parametrize("action", OPERATIONS)
def test_an_operations_structs_demand_exactly_what_the_model_demands(action: str) -> None:
    service = service_of(action)
    operation, expected = QUERY_OPERATIONS[action], published(service)["operations"][action]
    if "input" in expected:
        assert differences(service, expected["input"]["shape"], structure_rule(operation.request)) == []
    else:
        assert structure_rule(operation.request).members == ()
    if operation.response is None:
        assert "output" not in expected
    else:
        assert differences(service, expected["output"]["shape"], structure_rule(operation.response)) == []
        assert expected["output"]["resultWrapper"] == f"{action}Result"
    errors = [published(service)["shapes"][error["shape"]]["error"] for error in expected.get("errors", ())]
    assert operation.exceptions == tuple(error["code"] for error in errors)
    assert {error["code"]: error["httpStatusCode"] for error in errors}.items() <= QUERY_ERRORS.items()


def test_the_comparison_with_the_model_sees_a_difference() -> None:
    assert "GetUserRequest: members" in differences("iam", "GetUserRequest", structure_rule(iam_shapes.GetGroupRequest))
    assert differences("iam", "maxItemsType", Rule("integer", minimum=1, maximum=999)) != []


def test_a_model_that_travels_in_a_way_that_we_do_not_know_is_not_generated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("generate_shapes", REPOSITORY / "scripts/generate_shapes.py")
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "generate_shapes", script)
    spec.loader.exec_module(script)
    changed = json.loads(json.dumps(published("sts")))
    changed["shapes"]["Tag"]["members"]["Key"]["locationName"] = "key"
    path = tmp_path / "sts" / STS.api_version / "service-2.json.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(json.dumps(changed).encode()))
    (source,) = (source for source in script.SOURCES if source.service == "sts")
    script.read_model(source)
    monkeypatch.setattr(script, "MODELS", tmp_path)
    with pytest.raises(SystemExit, match="locationName"):
        script.read_model(source)


def test_every_letter_separator_and_number_of_unicode_is_one_in_a_pattern_too() -> None:
    written = r"[\p{L}\p{Z}\p{N}_.:/=+\-@]+"
    pattern = anchored_pattern(written)
    assert published_pattern(pattern) == written
    matches = re.compile(pattern).search
    wrong = [
        hex(code)
        for code in range(sys.maxunicode + 1)
        if (unicodedata.category(chr(code))[0] in "LZN" or chr(code) in "_.:/=+-@") != (matches(chr(code)) is not None)
    ]
    assert wrong == []
    assert published_pattern(anchored_pattern(r"[\w+=,.@-]+")) == r"[\w+=,.@-]+"
    # Without that class, `\w` is ASCII's, as it is Java's.
    assert re.search(anchored_pattern(r"[\w]+"), "ä") is None


def test_patterns_compile_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for service in SERVICES:
            for shape in published(service)["shapes"].values():
                if "pattern" in shape:
                    re.purge()
                    re.compile(anchored_pattern(shape["pattern"]))


# --- Round trips through botocore -------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", OPERATIONS)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_botocore_sends_is_what_the_operation_gets(action: str, data: st.DataObject) -> None:
    rule = structure_rule(QUERY_OPERATIONS[action].request)
    parameters = data.draw(structures(rule))
    form = form_of(action, parameters)
    assert find_operation(SERVICES[service_of(action)], form) is QUERY_OPERATIONS[action]
    assert plain(decode_query(action, form)) == parameters


@pytest.mark.parametrize("action", OPERATIONS)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_the_operation_answers_is_what_botocore_reads(action: str, data: st.DataObject) -> None:
    shape = QUERY_OPERATIONS[action].response
    if shape is None:
        read = parsed(action, encode_result(action, None, "id-1"))
        assert read == {"ResponseMetadata": {"RequestId": "id-1", "HTTPStatusCode": 200, "HTTPHeaders": {}}}
        return
    rule = structure_rule(shape)
    expected = data.draw(structures(rule))
    response = msgspec.convert(with_times(rule, expected), shape, builtin_types=(bytes,))
    read = parsed(action, encode_result(action, response, "id-1"))
    assert read.pop("ResponseMetadata")["RequestId"] == "id-1"
    assert read == expected


def test_an_answer_has_the_form_that_aws_documents() -> None:
    """The examples of "CreateUser" and "DeleteUser" in the IAM API Reference, but for their line breaks."""
    user = iam_shapes.User(
        Path="/",
        UserName="Bob",
        UserId="AIDACKCEVSQ6C2EXAMPLE",
        Arn="arn:aws:iam::123456789012:user/Bob",
        CreateDate=datetime(2026, 11, 24, 11, 0, 0, 999_999, UTC).timestamp(),
        Tags=[iam_shapes.Tag(Key="a", Value="<&>")],
    )
    assert encode_result("CreateUser", iam_shapes.CreateUserResponse(User=user), "7a62c49f").decode() == (
        '<CreateUserResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><CreateUserResult><User><Path>/</Path>'
        "<UserName>Bob</UserName><UserId>AIDACKCEVSQ6C2EXAMPLE</UserId><Arn>arn:aws:iam::123456789012:user/Bob</Arn>"
        "<CreateDate>2026-11-24T11:00:00Z</CreateDate>"
        "<Tags><member><Key>a</Key><Value>&lt;&amp;&gt;</Value></member></Tags></User></CreateUserResult>"
        "<ResponseMetadata><RequestId>7a62c49f</RequestId></ResponseMetadata></CreateUserResponse>"
    )
    assert encode_result("DeleteUser", None, "7a62c49f").decode() == (
        '<DeleteUserResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
        "<ResponseMetadata><RequestId>7a62c49f</RequestId></ResponseMetadata></DeleteUserResponse>"
    )
    listed = iam_shapes.ListUsersResponse(Users=[], IsTruncated=False)
    assert b"<Users></Users><IsTruncated>false</IsTruncated>" in encode_result("ListUsers", listed, "r")
    tree = ET.fromstring(encode_result("GetCallerIdentity", sts_shapes.GetCallerIdentityResponse(), "r"))  # noqa: S314
    assert tree.tag == "{https://sts.amazonaws.com/doc/2011-06-15/}GetCallerIdentityResponse"


def test_an_operation_cannot_answer_with_anothers_response() -> None:
    for response in (None, iam_shapes.ListUsersResponse(Users=[])):
        with pytest.raises(AssertionError, match="CreateUser answers with"):
            encode_result("CreateUser", response, "r")


def test_clients_read_the_documents_that_we_escape() -> None:
    text = json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Resource": "*", "Action": "a:b/c d+e%2F~-_.ä"}]}, indent=1
    )
    escaped = encode_document(text)
    assert re.fullmatch(r"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+", escaped)
    assert unquote(escaped) == text
    response = iam_shapes.GetUserPolicyResponse(UserName="u", PolicyName="p", PolicyDocument=escaped)
    read = parsed("GetUserPolicy", encode_result("GetUserPolicy", response, "r"))
    json_decode_policies(read, model("iam").operation_model("GetUserPolicy"))
    assert read["PolicyDocument"] == json.loads(text)


# --- Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(QUERY_ERRORS))
def test_an_error_arrives_with_its_code_status_and_whose_fault_it_is(code: str) -> None:
    status = error_status(code)
    read = parsed("GetUser", encode_error(IAM, code, "what <was> wrong", "id-1"), status)
    assert read["Error"] == {
        "Type": "Receiver" if status >= 500 else "Sender",
        "Code": code,
        "Message": "what <was> wrong",
    }
    assert read["ResponseMetadata"] == {"RequestId": "id-1", "HTTPStatusCode": status, "HTTPHeaders": {}}


def test_errors_have_the_models_statuses() -> None:
    named = {
        "NoSuchEntity": 404, "EntityAlreadyExists": 409, "DeleteConflict": 409, "LimitExceeded": 409,
        "MalformedPolicyDocument": 400, "InvalidInput": 400, "ServiceFailure": 500, "ExpiredTokenException": 400,
        "PackedPolicyTooLarge": 400, "InvalidIdentityToken": 400, "IDPRejectedClaim": 403,
        "RegionDisabledException": 403, "ValidationError": 400, "AccessDenied": 403, "SignatureDoesNotMatch": 403,
    }  # fmt: skip
    assert named.items() <= QUERY_ERRORS.items()
    assert error_status("SomethingNew") == 400
    shared = set(iam_shapes.ERRORS) & set(sts_shapes.ERRORS)
    assert [code for code in shared if iam_shapes.ERRORS[code] != sts_shapes.ERRORS[code]] == []
    assert {service.internal_failure: 500 for service in SERVICES.values()}.items() <= QUERY_ERRORS.items()


def test_every_fault_of_iam_and_sts_has_a_status_and_every_error_of_the_models_a_fault() -> None:
    named = {
        name
        for name, found in vars(faults).items()
        if isinstance(found, type) and issubclass(found, Fault) and found.__module__ == faults.__name__
    }
    assert named <= set(QUERY_ERRORS)
    assert {*iam_shapes.ERRORS, *sts_shapes.ERRORS} <= named


# --- Refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "form", "code", "message"),
    [
        (IAM, {}, "MissingAction", "The request is missing an action."),
        (
            IAM,
            {"Action": "GetUser"},
            "InvalidAction",
            "Could not find operation GetUser for version NO_VERSION_SPECIFIED",
        ),
        (
            IAM,
            {"Action": "GetCallerIdentity", "Version": "2010-05-08"},
            "InvalidAction",
            "Could not find operation GetCallerIdentity for version 2010-05-08",
        ),
        (
            STS,
            {"Action": "A" * 5000, "Version": "2011-06-15"},
            "InvalidAction",
            f"Could not find operation {'A' * 128} for version 2011-06-15",
        ),
    ],
)
def test_an_operation_is_one_of_its_service_and_version(service: Any, form: Any, code: str, message: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        find_operation(service, form)
    assert (caught.value.code, caught.value.message) == (code, message)


ROLE: Final = "arn:aws:iam::000000000000:role/r"
TAG_PATTERN: Final = r"Member must satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]"


@pytest.mark.parametrize(
    ("action", "form", "sentences"),
    [
        ("CreateUser", {}, ["Value null at 'userName' failed to satisfy constraint: Member must not be null"]),
        (
            "DeleteRolePolicy",
            {"RoleName": "r" * 65, "PolicyName": "p"},
            [
                (
                    f"Value '{'r' * 65}' at 'roleName' failed to satisfy constraint: "
                    "Member must have length less than or equal to 64"
                )
            ],
        ),
        (
            "AssumeRole",
            {"RoleArn": ROLE, "RoleSessionName": "s", "DurationSeconds": "899"},
            [
                (
                    "Value 's' at 'roleSessionName' failed to satisfy constraint: "
                    "Member must have length greater than or equal to 2"
                ),
                (
                    "Value '899' at 'durationSeconds' failed to satisfy constraint: "
                    "Member must have value greater than or equal to 900"
                ),
            ],
        ),
        (
            "GetFederationToken",
            {"Name": "bob", "DurationSeconds": "129601"},
            [
                (
                    "Value '129601' at 'durationSeconds' failed to satisfy constraint: "
                    "Member must have value less than or equal to 129600"
                )
            ],
        ),
        (
            "CreateUser",
            {"UserName": "a b"},
            [
                (
                    "Value 'a b' at 'userName' failed to satisfy constraint: "
                    r"Member must satisfy regular expression pattern: [\w+=,.@-]+"
                )
            ],
        ),
        (
            "TagRole",
            {"RoleName": "r", "Tags.member.1.Key": "k", "Tags.member.1.Value": "MOJ D&T"},
            [f"Value 'MOJ D&T' at 'tags.1.member.value' failed to satisfy constraint: {TAG_PATTERN}*"],
        ),
        (
            "UpdateAccessKey",
            {"AccessKeyId": "A" * 20, "Status": "Off"},
            [
                (
                    "Value 'Off' at 'status' failed to satisfy constraint: "
                    "Member must satisfy enum value set: [Active, Inactive, Expired]"
                )
            ],
        ),
        (
            "UntagUser",
            {"UserName": "u", "TagKeys.member.1": "k", "TagKeys.member.2": "("},
            [
                (
                    "Value '[k, (]' at 'tagKeys' failed to satisfy constraint: Member must satisfy constraint: "
                    "[Member must have length less than or equal to 128, "
                    "Member must have length greater than or equal to 1, "
                    f"{TAG_PATTERN}+]"
                )
            ],
        ),
        (
            "TagUser",
            {"UserName": "u", "Tags.member.1.Other": "k"},
            [
                "Value null at 'tags.1.member.key' failed to satisfy constraint: Member must not be null",
                "Value null at 'tags.1.member.value' failed to satisfy constraint: Member must not be null",
            ],
        ),
        (
            "TagUser",
            {"UserName": "u", "Tags.member.2.Key": "k", "Tags.member.2.Value": ""},
            ["Value at 'tags' failed to satisfy constraint: Member must satisfy constraint: [Member must not be null]"],
        ),
        (
            "AssumeRoleWithWebIdentity",
            {"RoleArn": ROLE, "RoleSessionName": "ss", "WebIdentityToken": "abc"},
            [
                (
                    "Value at 'webIdentityToken' failed to satisfy constraint: "
                    "Member must have length greater than or equal to 4"
                )
            ],
        ),
    ],
)
def test_violations_are_answered_in_awss_words(action: str, form: dict[str, str], sentences: list[str]) -> None:
    found = refusal(action, form)
    plural = "" if len(sentences) == 1 else "s"
    assert found.code == "ValidationError"
    assert found.message == f"{len(sentences)} validation error{plural} detected: {'; '.join(sentences)}"


@pytest.mark.parametrize(
    ("action", "parameter", "message"),
    [
        # Booleans are XML Schema's, in its one case.
        ("ListPolicies", {"OnlyAttached": "TRUE"}, "boolean must follow xsd1.1 definition"),
        ("ListPolicies", {"OnlyAttached": "yes"}, "boolean must follow xsd1.1 definition"),
        ("ListPolicies", {"OnlyAttached": ""}, "missing value for boolean type"),
        # Integers are Java's, and nothing else that Python takes for one.
        *(
            ("ListUsers", {"MaxItems": text}, "integer must follow xsd1.1 definition")
            for text in ("ten", "1.0", "1e2", " 1", "1_0", "\u0661", "2147483648", "9" * 5000, "0x10", "--1", "1\n")
        ),
        ("ListUsers", {"MaxItems": ""}, "missing value for integer type"),
        # Indices.
        ("TagUser", {"Tags.member.0.Key": "k"}, "0 is not a valid index"),
        ("TagUser", {"Tags.member.01.Key": "k"}, "Value found where not expected"),
        ("TagUser", {"Tags.member.-1.Key": "k"}, "Start of list found where not expected"),
        ("TagUser", {"Tags.member.x.Key": "k"}, "Start of list found where not expected"),
        ("TagUser", {"Tags.member..Key": "k"}, "Start of list found where not expected"),
        ("TagUser", {"Tags.member.\u0661.Key": "k"}, "Start of list found where not expected"),
        ("TagUser", {"Tags.member.999999999.Key": "k"}, "Index 999999999 is illegal"),
        ("TagUser", {f"Tags.member.{'9' * 50_000}.Key": "k"}, f"Index {'9' * 128} is illegal"),
        ("TagUser", {"Tags.member.12.Key": "k"}, "Excessively sparse input would skip 11 list elements"),
        (
            "TagUser",
            {"Tags.member.214748369.Key": "k"},
            "Excessively sparse input would skip 214,748,368 list elements",
        ),
        (
            "UntagUser",
            {"TagKeys.member.3": "k", "TagKeys.member.14": "k"},
            "Excessively sparse input would skip 11 list elements",
        ),
        # What begins like a member and goes astray is not dropped: without its policies a session could do more.
        ("AssumeRole", {"PolicyArns.1.arn": ROLE}, "Start of structure or map found where not expected."),
        ("AssumeRole", {"PolicyArns.arn": ROLE}, "Start of structure or map found where not expected."),
        ("AssumeRole", {"PolicyArns": ROLE}, "Value found where not expected"),
        ("AssumeRole", {"PolicyArns": "", "PolicyArns.member.1.arn": ROLE}, "Value found where not expected"),
        ("AssumeRole", {"PolicyArns.member.1": ROLE}, "Value found where not expected"),
        ("AssumeRole", {"PolicyArns.member": ROLE}, "Value found where not expected"),
        ("AssumeRole", {"Policy.member.1": "{}"}, "Start of structure or map found where not expected."),
        ("AssumeRole", {"Policy.": "{}"}, "Start of structure or map found where not expected."),
        ("AssumeRole", {"Policy": "{}", "Policy.x": "{}"}, "Start of structure or map found where not expected."),
    ],
)
def test_what_cannot_be_read_is_malformed_input(action: str, parameter: dict[str, str], message: str) -> None:
    found = refusal(action, parameter)
    assert (found.code, found.message) == ("MalformedInput", message)


def test_a_list_may_skip_what_its_constraints_then_refuse_and_no_more() -> None:
    found = refusal("UntagUser", {"UserName": "u", "TagKeys.member.11": "k"})
    assert found.code == "ValidationError"
    assert f"Value '[{'null, ' * 10}k]' at 'tagKeys'" in found.message


def test_elements_come_in_the_order_of_their_indices() -> None:
    form = {f"TagKeys.member.{index}": f"k{index}" for index in (10, 2, 1, 11, 3, 4, 9, 5, 8, 6, 7)}
    assert decode_query("UntagUser", {"UserName": "u", **form}).TagKeys == [f"k{index}" for index in range(1, 12)]


def test_unknown_parameters_are_ignored_and_a_wrong_case_is_unknown() -> None:
    form = {
        "Action": "GetUser",
        "Version": "x",
        "username": "a",
        "Extra.member.0": "",
        "": "",
        ".": "",
        "UserNames": "b",
    }
    assert decode_query("GetUser", form) == iam_shapes.GetUserRequest()


def test_an_empty_list_is_an_empty_list_and_an_empty_text_an_empty_text() -> None:
    assert decode_query("TagUser", {"UserName": "u", "Tags": ""}).Tags == []
    assert decode_query("UpdateRoleDescription", {"RoleName": "r", "Description": ""}).Description == ""


@pytest.mark.parametrize("action", OPERATIONS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_form_does_more_than_be_refused_with_a_reason(action: str, data: st.DataObject) -> None:
    rule = structure_rule(QUERY_OPERATIONS[action].request)
    heads = st.sampled_from([member.name for member in rule.members] or ["Tags"])
    tails = st.sampled_from(
        [
            "",
            "",
            "",
            ".",
            ".member",
            ".member.1",
            ".member.1",
            ".member.1.Key",
            ".member.2.Value",
            ".member.1.arn",
            ".x",
        ]
    )
    names = st.builds(str.__add__, heads, tails)
    texts = st.text(POOL, max_size=3) | st.sampled_from(["a" * 40, "/", "900", "true", "Active", ROLE, "9" * 30])
    form = data.draw(st.dictionaries(names, texts, max_size=8))
    assert outcome(action, form) in {("", ""), ("ValidationError", "explained"), ("MalformedInput", "explained")}


def test_every_kind_of_scalar_that_a_request_has_can_be_read() -> None:
    kinds: set[str] = set()

    def visit(rule: Rule) -> None:
        kinds.add(rule.kind)
        for part in (*(member.rule for member in rule.members), *filter(None, (rule.key, rule.element))):
            visit(part)

    for operation in QUERY_OPERATIONS.values():
        visit(structure_rule(operation.request))
    assert kinds == {"structure", "list", *query_codec._SCALARS}


@pytest.mark.parametrize(
    ("action", "form"),
    [
        ("TagUser", {"UserName": "u", "Tags.member.1." + "a." * (FORM_BYTES_MAX // 2): "k"}),
        ("TagUser", {"UserName": "u", "Tags." + "member.1." * (FORM_BYTES_MAX // 9): "k"}),
        ("TagUser", {f"Tags.member.{1 + 11 * n}.Key": "k" * 2000 for n in range(250)}),
        ("CreateRole", {"RoleName": "/a" * (FORM_BYTES_MAX // 4), "AssumeRolePolicyDocument": "\u0100" * 150_000}),
        ("CreatePolicy", {"PolicyName": "p", "Path": "/a" * (FORM_BYTES_MAX // 4), "PolicyDocument": "{}"}),
        ("CreateUser", {"UserName": "p", "Path": "/" * (FORM_BYTES_MAX // 2) + " "}),
        ("DeletePolicyVersion", {"PolicyArn": ROLE, "VersionId": "v1" + "0" * FORM_BYTES_MAX + " "}),
        ("ListUsers", {"MaxItems": "9" * FORM_BYTES_MAX}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_hostile_form_is_refused_quickly_and_in_memory_like_its_own(action: str, form: dict[str, str]) -> None:
    size = sum(len(name.encode()) + len(value.encode()) for name, value in form.items())
    # What is worked out once is not this form's.
    structure_rule(QUERY_OPERATIONS[action].request)
    tracemalloc.start()
    began_s = time.thread_time()
    refusal(action, form)
    took_ms = (time.thread_time() - began_s) * 1000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took_ms < REFUSAL_MS_MAX
    # A few sentences about the values, and the message that they make.
    assert peak < 10 * size + 200_000


# --- Secrets ----------------------------------------------------------------------------------------------------------


def test_no_refusal_and_no_record_repeats_a_token() -> None:
    form = {
        "RoleArn": ROLE,
        "RoleSessionName": "session",
        "WebIdentityToken": "canary" * 10,
        "PolicyArns.member.1.arn": "arn:aws:iam::000000000000:policy/p",
    }
    request = decode_query("AssumeRoleWithWebIdentity", form)
    assert msgspec.to_builtins(logged_parameters(request)) == {
        "roleArn": ROLE,
        "roleSessionName": "session",
        "policyArns": [{"arn": "arn:aws:iam::000000000000:policy/p"}],
    }
    assert "canary" not in repr(request)
    too_long = refusal("AssumeRoleWithWebIdentity", {**form, "WebIdentityToken": "canary" * 4000})
    assert "'webIdentityToken'" in too_long.message
    assert "canary" not in too_long.message
    code = {"SerialNumber": "arn:aws:iam::1:mfa/u", "TokenCode": "123456"}
    shown = logged_parameters(decode_query("GetSessionToken", code))
    assert msgspec.to_builtins(shown) == {"serialNumber": "arn:aws:iam::1:mfa/u"}
    assert "12345678" not in refusal("GetSessionToken", {**code, "TokenCode": "12345678"}).message
    context = {"ProvidedContexts.member.1.ProviderArn": ROLE, "ProvidedContexts.member.1.ContextAssertion": "canary"}
    shown = logged_parameters(decode_query("AssumeRole", {"RoleArn": ROLE, "RoleSessionName": "ss", **context}))
    assert msgspec.to_builtins(shown) == {
        "roleArn": ROLE,
        "roleSessionName": "ss",
    }


@pytest.mark.parametrize("action", OPERATIONS)
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_request_can_be_recorded(action: str, data: st.DataObject) -> None:
    rule = structure_rule(QUERY_OPERATIONS[action].request)
    parameters = data.draw(structures(rule))
    shown = logged_parameters(decode_query(action, form_of(action, parameters)))
    logged = msgspec.to_builtins(shown)
    labels = {member.label: member.name for member in rule.members}
    assert {labels[label] for label in logged} <= set(parameters)
    assert json.loads(msgspec.json.encode(shown)) == logged


def test_secrets_in_answers_are_marked() -> None:
    marked = {"SecretAccessKey", "SessionToken"}
    for struct in (sts_shapes.Credentials, iam_shapes.AccessKey):
        members = {member.name: member.rule.sensitive for member in structure_rule(struct).members}
        assert {name for name, is_sensitive in members.items() if is_sensitive} == marked & set(members)
