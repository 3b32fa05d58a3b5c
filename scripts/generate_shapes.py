"""Generate the shapes in `src/strongroom/kms/wire` from the `kms`, `iam` and `sts` models of the installed botocore.

    python scripts/generate_shapes.py            writes the files
    python scripts/generate_shapes.py --check    exits with 1 when a file is not what would be written

Steps: 1. read the model, and of a service that we have in part what our operations need, 2. order its shapes so that each
comes after those it is made of, 3. write one line or class per shape, 4. write the two tables (operations, errors),
5. let `ruff format` lay the text out.
"""

import gzip
import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import botocore

from strongroom.kms.wire.model import anchored_pattern

MODELS: Final = Path(botocore.__file__).parent / "data"
TARGETS: Final = Path(__file__).resolve().parent.parent / "src/strongroom/kms/wire"

PRIMITIVES: Final = {"string": "str", "blob": "bytes", "integer": "int", "boolean": "bool", "timestamp": "float"}

# What the models may say of a member without changing how it travels; `locationName` or `flattened` would.
HARMLESS_TRAITS: Final = frozenset({
    "shape", "documentation", "box", "deprecated", "deprecatedMessage", "deprecatedSince", "idempotencyToken",
})  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A model, and what we take of it."""

    service: str
    api_version: str
    title: str
    module: str
    # What AWS's model does not call sensitive although it is a secret, a token, or a code that is good once: our messages
    # reach the audit.
    withheld: frozenset[str]
    # None: the whole model.
    operations: tuple[str, ...] | None = None

    @property
    def model(self) -> Path:
        return MODELS / self.service / self.api_version / "service-2.json.gz"

    @property
    def target(self) -> Path:
        return TARGETS / self.module


def _each(verbs: str, *nouns: str) -> tuple[str, ...]:
    """Return `VerbNoun` for every verb and noun."""
    return tuple(f"{verb}{noun}" for noun in nouns for verb in verbs.split())


STS_OPERATIONS: Final = (
    "GetCallerIdentity", "AssumeRole", "AssumeRoleWithWebIdentity", "GetSessionToken", "GetFederationToken",
    "GetAccessKeyInfo",
)  # fmt: skip

IAM_OPERATIONS: Final = (
    *_each("Create Get Update Delete", "User", "Group", "Role"),
    "ListUsers", "ListGroups", "ListRoles", "ListGroupsForUser", "AddUserToGroup", "RemoveUserFromGroup",
    "UpdateRoleDescription", "UpdateAssumeRolePolicy",
    *_each("Tag Untag", "User", "Role", "Policy"),
    "ListUserTags", "ListRoleTags", "ListPolicyTags",
    *_each("Put Get Delete", "UserPolicy", "GroupPolicy", "RolePolicy"),
    "ListUserPolicies", "ListGroupPolicies", "ListRolePolicies",
    *_each("Attach Detach", "UserPolicy", "GroupPolicy", "RolePolicy"),
    "ListAttachedUserPolicies", "ListAttachedGroupPolicies", "ListAttachedRolePolicies",
    *_each("Create Get Delete", "Policy", "PolicyVersion"),
    "ListPolicies", "ListPolicyVersions", "SetDefaultPolicyVersion", "ListEntitiesForPolicy",
    *_each("Put Delete", "UserPermissionsBoundary", "RolePermissionsBoundary"),
    "CreateAccessKey", "ListAccessKeys", "UpdateAccessKey", "DeleteAccessKey", "GetAccessKeyLastUsed",
    # What clients ask for on their way: there is none of it.
    "ListInstanceProfilesForRole", "ListMFADevices", "ListSigningCertificates", "ListSSHPublicKeys",
    "ListServiceSpecificCredentials", "ListVirtualMFADevices", "GetLoginProfile", "DeleteLoginProfile",
    "GetAccountSummary", "ListAccountAliases", "GetAccountAuthorizationDetails",
)  # fmt: skip

SOURCES: Final = (
    Source("kms", "2014-11-01", "AWS KMS", "shapes.py", frozenset({"GrantTokenType"})),
    Source("iam", "2010-05-08", "AWS IAM", "iam_shapes.py", frozenset(), IAM_OPERATIONS),
    Source(
        "sts",
        "2011-06-15",
        "AWS STS",
        "sts_shapes.py",
        frozenset({"tokenType", "tokenCodeType", "contextAssertionType"}),
        STS_OPERATIONS,
    ),
)

HEADER: Final = '''"""The requests and responses of {title} as frozen `msgspec.Struct`s. Generated: never edit this file.

By `scripts/generate_shapes.py`, from the `{service}` model (API version {api_version}) of botocore {botocore_version}.

* A structure has the name of AWS's shape, and its members AWS's names. Every other shape is an alias named
  `<AWS's shape>Shape`, because many members are called like their shape. (So is one structure, which has both names.)
* A member that the model requires is required; any other is `None` when it is absent or null, and `None` is not sent.
* Blobs are `bytes` (base64 on the wire; lengths count decoded bytes), timestamps are seconds since 1970.
* A pattern must match the whole text, in ASCII, as Java's `matches` does: `(?a)^(?:` … `)\\\\Z`.
* `repr` of a structure names its members and shows no value. `extra={{"sensitive": True}}` marks what no message may repeat.
* Exceptions are codes with a status (`ERRORS`): on the wire they carry a message and nothing else.
"""

from typing import {typing}

from msgspec import Meta

from strongroom.kms.wire.model import OperationShape, Shape

API_VERSION: Final = "{api_version}"
'''

# Query services name an XML namespace.
NAMESPACE_LINE: Final = "NAMESPACE: Final = {!r}\n"

ModelShape = dict[str, Any]


def read_model(source: Source) -> dict[str, Any]:
    """Return the model, with what our operations need and nothing else of it."""
    with gzip.open(source.model) as stream:
        model: dict[str, Any] = json.load(stream)
    if source.operations is not None:
        model["operations"] = {name: model["operations"][name] for name in sorted(source.operations)}
        needed = reachable(model)
        model["shapes"] = {name: shape for name, shape in model["shapes"].items() if name in needed}
    traits = {
        trait
        for shape in model["shapes"].values()
        for part in (
            *shape.get("members", {}).values(),
            *(shape[key] for key in ("member", "key", "value") if key in shape),
        )
        for trait in part
    } | {"flattened" for shape in model["shapes"].values() if shape.get("flattened")}
    if not traits <= HARMLESS_TRAITS:
        sys.exit(f"{source.service}: members travel in ways that we do not know: {sorted(traits - HARMLESS_TRAITS)}")
    return model


def reachable(model: dict[str, Any]) -> set[str]:
    """Return the names of the shapes that the operations are made of, and of their exceptions."""
    found: set[str] = set()
    waiting = [
        part["shape"]
        for operation in model["operations"].values()
        for part in (operation.get("input"), operation.get("output"), *operation.get("errors", ()))
        if part is not None
    ]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += parts_of(model["shapes"][name])
    return found


def name_of(name: str, shapes: dict[str, ModelShape]) -> str:
    """Return the Python name by which members refer to AWS's shape `name`."""
    return name if shapes[name]["type"] == "structure" and not is_member_name(name, shapes) else f"{name}Shape"


def is_member_name(name: str, shapes: dict[str, ModelShape]) -> bool:
    """Say whether some structure has a member called `name`, which hides a class of that name in its annotations."""
    return any(name in shape.get("members", ()) for shape in shapes.values())


def parts_of(shape: ModelShape) -> list[str]:
    """Return the names of the shapes that `shape` is made of."""
    match shape["type"]:
        case "structure":
            return [member["shape"] for member in shape["members"].values()]
        case "list":
            return [shape["member"]["shape"]]
        case "map":
            return [shape["key"]["shape"], shape["value"]["shape"]]
        case _:
            return []


def in_order(shapes: dict[str, ModelShape]) -> list[str]:
    """Return the names of all shapes but the exceptions, each after the shapes it is made of."""
    ordered: dict[str, None] = {}

    def place(name: str) -> None:
        if name not in ordered:
            for part in parts_of(shapes[name]):
                place(part)
            ordered[name] = None

    composed = {"structure", "list", "map"}
    for name in sorted(shapes, key=lambda name: (shapes[name]["type"] in composed, name)):
        if not shapes[name].get("exception"):
            place(name)
    return list(ordered)


def constraints_of(name: str, shape: ModelShape, withheld: frozenset[str]) -> list[str]:
    """Return the arguments of `Meta` that say what the model says about `shape`."""
    lower, upper = ("ge", "le") if shape["type"] == "integer" else ("min_length", "max_length")
    found = []
    if "min" in shape:
        found.append(f"{lower}={shape['min']}")
    if "max" in shape:
        found.append(f"{upper}={shape['max']}")
    if "pattern" in shape:
        found.append(f"pattern={anchored_pattern(shape['pattern'])!r}")
    if shape.get("sensitive") or name in withheld:
        found.append('extra={"sensitive": True}')
    return found


def alias(name: str, shapes: dict[str, ModelShape], withheld: frozenset[str]) -> str:
    """Return the line for a shape that is not a structure."""
    shape = shapes[name]
    match shape["type"]:
        case "string" if "enum" in shape:
            base = f"Literal[{', '.join(map(repr, shape['enum']))}]"
        case "list":
            base = f"list[{name_of(shape['member']['shape'], shapes)}]"
        case "map":
            base = f"dict[{name_of(shape['key']['shape'], shapes)}, {name_of(shape['value']['shape'], shapes)}]"
        case kind:
            base = PRIMITIVES[kind]
    constraints = constraints_of(name, shape, withheld)
    if constraints:
        base = f"Annotated[{base}, Meta({', '.join(constraints)})]"
    return f"{name_of(name, shapes)}: TypeAlias = {base}"


def structure(name: str, shapes: dict[str, ModelShape]) -> str:
    """Return the class for a structure."""
    shape = shapes[name]
    lines = [f"class {name}(Shape, frozen=True, kw_only=True):"]
    for member, target in shape["members"].items():
        annotation = name_of(target["shape"], shapes)
        optional = "" if member in shape.get("required", ()) else " | None = None"
        lines.append(f"    {member}: {annotation}{optional}")
    if not shape["members"]:
        lines.append("    pass")
    if name_of(name, shapes) != name:
        lines.append(f"{name_of(name, shapes)}: TypeAlias = {name}")
    return "\n".join(lines)


def operations(model: dict[str, Any]) -> str:
    """Return the table of operations."""
    rows = []
    for name, operation in model["operations"].items():
        request = operation["input"]["shape"] if "input" in operation else without_input(name)
        response = operation.get("output", {}).get("shape")
        exceptions = [code_of(error["shape"], model["shapes"]) for error in operation.get("errors", ())]
        rows.append(
            f"{name!r}: OperationShape(name={name!r}, request={request}, response={response}, "
            f"exceptions={tuple(exceptions)!r}),"
        )
    return "OPERATIONS: Final[dict[str, OperationShape]] = {\n" + "\n".join(rows) + "\n}"


def without_input(operation: str) -> str:
    """Return what we call the request of an operation that takes nothing; the model has no name for it."""
    return f"{operation}Request"


def code_of(name: str, shapes: dict[str, ModelShape]) -> str:
    """Return the code that an exception has on the wire: in Query services often not the name of its shape."""
    code: str = shapes[name].get("error", {}).get("code", name)
    return code


def status_of(shape: ModelShape) -> int:
    """Return an exception's HTTP status; KMS's API reference lists 500 for its model's faults and 400 for the others."""
    status: int = shape.get("error", {}).get("httpStatusCode", 500 if shape.get("fault") else 400)
    return status


def errors(model: dict[str, Any]) -> str:
    """Return the table of exceptions."""
    rows = [
        f"{code_of(name, model['shapes'])!r}: {status_of(shape)},"
        for name, shape in model["shapes"].items()
        if shape.get("exception")
    ]
    return "ERRORS: Final[dict[str, int]] = {\n" + "\n".join(rows) + "\n}"


def render(source: Source) -> str:
    """Return the whole file, laid out by `ruff format`."""
    model = read_model(source)
    shapes, metadata = model["shapes"], model["metadata"]
    has_choices = any("enum" in shape for shape in shapes.values())
    header = HEADER.format(
        title=source.title,
        service=source.service,
        api_version=metadata["apiVersion"],
        botocore_version=version("botocore"),
        typing="Annotated, Final, Literal, TypeAlias" if has_choices else "Annotated, Final, TypeAlias",
    )
    parts = [header]
    if metadata["protocol"] == "query":
        parts.append(NAMESPACE_LINE.format(metadata["xmlNamespace"]))
    for name in in_order(shapes):
        is_structure = shapes[name]["type"] == "structure"
        parts.append(structure(name, shapes) if is_structure else alias(name, shapes, source.withheld))
    parts += [
        f"class {without_input(name)}(Shape, frozen=True, kw_only=True):\n    pass"
        for name, operation in model["operations"].items()
        if "input" not in operation
    ]
    parts += [operations(model), errors(model)]
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(source.target), "-"]
    formatted = subprocess.run(command, input="\n".join(parts), capture_output=True, text=True, check=True)  # noqa: S603 - our own text
    return formatted.stdout


def main() -> int:
    texts = {source.target: render(source) for source in SOURCES}
    if "--check" in sys.argv[1:]:
        return int(any(target.read_text(encoding="utf-8") != text for target, text in texts.items()))
    for target, text in texts.items():
        target.write_text(text, encoding="utf-8")
        print(f"wrote {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
