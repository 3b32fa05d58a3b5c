"""Generate `src/strongroom/kms/wire/shapes.py` from the `kms` model of the installed botocore.

    python scripts/generate_shapes.py            writes the file
    python scripts/generate_shapes.py --check    exits with 1 when the file is not what would be written

Steps: 1. read the model, 2. order its shapes so that each comes after those it is made of, 3. write one line or class
per shape, 4. write the two tables (operations, errors), 5. let `ruff format` lay the text out.
"""

import gzip
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import botocore

MODEL: Final = Path(botocore.__file__).parent / "data/kms/2014-11-01/service-2.json.gz"
TARGET: Final = Path(__file__).resolve().parent.parent / "src/strongroom/kms/wire/shapes.py"

PRIMITIVES: Final = {"string": "str", "blob": "bytes", "integer": "int", "boolean": "bool", "timestamp": "float"}

# AWS's model does not call grant tokens sensitive, but they are bearer tokens and our messages reach the audit.
WITHHELD: Final = frozenset({"GrantTokenType"})

HEADER: Final = '''"""The requests and responses of AWS KMS as frozen `msgspec.Struct`s. Generated: never edit this file.

By `scripts/generate_shapes.py`, from the `kms` model (API version {api_version}) of botocore {botocore_version}.

* A structure has the name of AWS's shape, and its members AWS's names. Every other shape is an alias named
  `<AWS's shape>Shape`, because many members are called like their shape. (So is one structure, which has both names.)
* A member that the model requires is required; any other is `None` when it is absent or null, and `None` is not sent.
* Blobs are `bytes` (base64 on the wire; lengths count decoded bytes), timestamps are seconds since 1970.
* A pattern must match the whole text, in ASCII, as Java's `matches` does: `(?a)^(?:` … `)\\\\Z`.
* `repr` of a structure names its members and shows no value. `extra={{"sensitive": True}}` marks what no message may repeat.
* Exceptions are names with a status (`ERRORS`): on the wire they carry a message and nothing else.
"""

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta

from strongroom.kms.wire.model import OperationShape, Shape

API_VERSION: Final = "{api_version}"
'''

ModelShape = dict[str, Any]


def read_model() -> dict[str, Any]:
    with gzip.open(MODEL) as stream:
        model: dict[str, Any] = json.load(stream)
    return model


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


def constraints_of(name: str, shape: ModelShape) -> list[str]:
    """Return the arguments of `Meta` that say what the model says about `shape`."""
    lower, upper = ("ge", "le") if shape["type"] == "integer" else ("min_length", "max_length")
    found = []
    if "min" in shape:
        found.append(f"{lower}={shape['min']}")
    if "max" in shape:
        found.append(f"{upper}={shape['max']}")
    if "pattern" in shape:
        found.append(f"pattern={'(?a)^(?:' + shape['pattern'] + ')' + chr(92) + 'Z'!r}")
    if shape.get("sensitive") or name in WITHHELD:
        found.append('extra={"sensitive": True}')
    return found


def alias(name: str, shapes: dict[str, ModelShape]) -> str:
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
    constraints = constraints_of(name, shape)
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
        response = operation.get("output", {}).get("shape")
        exceptions = [error["shape"] for error in operation.get("errors", ())]
        rows.append(
            f"{name!r}: OperationShape(name={name!r}, request={operation['input']['shape']}, response={response}, "
            f"exceptions={tuple(exceptions)!r}),"
        )
    return "OPERATIONS: Final[dict[str, OperationShape]] = {\n" + "\n".join(rows) + "\n}"


def errors(model: dict[str, Any]) -> str:
    """Return the table of exceptions; KMS's API reference lists 500 for the model's faults and 400 for the others."""
    rows = [
        f"{name!r}: {500 if shape.get('fault') else 400},"
        for name, shape in model["shapes"].items()
        if shape.get("exception")
    ]
    return "ERRORS: Final[dict[str, int]] = {\n" + "\n".join(rows) + "\n}"


def render(model: dict[str, Any]) -> str:
    """Return the whole file, laid out by `ruff format`."""
    shapes = model["shapes"]
    parts = [HEADER.format(api_version=model["metadata"]["apiVersion"], botocore_version=version("botocore"))]
    for name in in_order(shapes):
        is_structure = shapes[name]["type"] == "structure"
        parts.append(structure(name, shapes) if is_structure else alias(name, shapes))
    parts += [operations(model), errors(model)]
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TARGET), "-"]
    formatted = subprocess.run(command, input="\n".join(parts), capture_output=True, text=True, check=True)  # noqa: S603 - our own text
    return formatted.stdout


def main() -> int:
    text = render(read_model())
    if "--check" in sys.argv[1:]:
        return 0 if TARGET.read_text(encoding="utf-8") == text else 1
    TARGET.write_text(text, encoding="utf-8")
    print(f"wrote {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
