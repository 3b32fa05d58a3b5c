"""Classes 8 and 9: what can be read in two ways is not read, and what is too much is refused before it costs anything.

CouchDB's two JSON parsers took the first and the last of two equal names (CVE-2017-12635); Vault was filled up by nested
JSON before it asked who sent it (CVE-2025-6203).
"""

from __future__ import annotations

import ast
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import strongroom
from kms.test_operations_refused import BOMBS
from strongroom.kms.wire.model import Rule
from strongroom.kms.wire.shapes import OPERATIONS
from strongroom.kms.wire.validation import RequestRefused, decode_request
from testkit.installation import ACCOUNT, Installation
from testkit.raw import RawKms, assert_allowed, assert_refused, make_user, nothing_breaks, table_dump
from threats.test_forms_of_text import a_request, at

SOURCE = Path(strongroom.__path__[0])
RSS_MIB_MAX = 10
ROOT = f"arn:aws:iam::{ACCOUNT}:root"

Place = tuple[Any, ...]


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


# ── class 8 ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def objects_of(rule: Rule, place: Place = ()) -> Iterator[Place]:
    """Where objects stand in a filled request."""
    if rule.kind in {"structure", "map"}:
        yield place
    if rule.kind == "structure":
        for member in rule.members:
            yield from objects_of(member.rule, (*place, member.name))
    elif rule.element is not None:
        yield from objects_of(rule.element, (*place, 0 if rule.kind == "list" else None))


class Doubled(dict[str, Any]):
    """An object whose first member is written twice: the second time with this value."""

    again: Any = None


def written(value: Any, *, escaped: bool) -> str:
    """JSON by hand, because no encoder writes a name twice."""
    if isinstance(value, dict):
        parts = [f"{json.dumps(name)}:{written(found, escaped=escaped)}" for name, found in value.items()]
        if isinstance(value, Doubled):
            if not value:
                parts.append(f'"x":{json.dumps(value.again)}')
            name = next(iter(value), "x")
            parts.append(f"{in_escapes(name) if escaped else json.dumps(name)}:{json.dumps(value.again)}")
        return "{" + ",".join(parts) + "}"
    if isinstance(value, list):
        return "[" + ",".join(written(found, escaped=escaped) for found in value) + "]"
    return json.dumps(value)


def in_escapes(text: str) -> str:
    units = text.encode("utf-16-be").hex()
    return '"' + "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4)) + '"'


def doubled_at(value: Any, place: Place) -> Any:
    if not place:
        doubled = Doubled(value)
        # The same value again: what both readings agree about is refused too.
        doubled.again = next(iter(value.values()), 1)
        return doubled
    step, *rest = place
    if isinstance(value, list):
        return [doubled_at(found, tuple(rest)) if number == step else found for number, found in enumerate(value)]
    key = next(iter(value)) if step is None else step
    return {name: doubled_at(found, tuple(rest)) if name == key else found for name, found in value.items()}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_name_twice_in_any_object_of_any_request_is_refused(operation: str) -> None:
    rule, request = a_request(operation)
    decode_request(operation, json.dumps(request).encode())
    places = [*objects_of(rule)]
    for place in places:
        assert isinstance(at(request, place), dict)
        for escaped in (False, True):
            body = written(doubled_at(request, place), escaped=escaped).encode()
            with pytest.raises(RequestRefused) as refused:
                decode_request(operation, body)
            assert refused.value.code == "SerializationException", (place, body)
    # In members that nobody knows, 3 objects deep, too.
    for unknown in (b'{"Odd":{"a":1,"a":1}}', b'{"Odd":[{"b":{"c":[{"a":1,"\\u0061":2}]}}]}'):
        with pytest.raises(RequestRefused) as refused:
            decode_request(operation, unknown)
        assert refused.value.code == "SerializationException"


STATEMENT = f'"Effect":"Allow","Principal":{{"AWS":"{ROOT}"}},"Action":"kms:*","Resource":"*"'
TWICE = {
    "version": f'{{"Version":"2012-10-17","Version":"2012-10-17","Statement":[{{{STATEMENT}}}]}}',
    "statement": f'{{"Version":"2012-10-17","Statement":[],"Statement":[{{{STATEMENT}}}]}}',
    "effect": f'{{"Version":"2012-10-17","Statement":[{{"Effect":"Deny",{STATEMENT}}}]}}',
    "principal": f'{{"Version":"2012-10-17","Statement":[{{"Principal":"*",{STATEMENT}}}]}}',
    "kind of principal": (
        f'{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"kms:*","Resource":"*",'
        f'"Principal":{{"AWS":"{ROOT}","AWS":"*"}}}}]}}'
    ),
    "operator": (
        f'{{"Version":"2012-10-17","Statement":[{{{STATEMENT},'
        f'"Condition":{{"Null":{{"aws:SourceArn":"true"}},"Null":{{"aws:SourceArn":"true"}}}}}}]}}'
    ),
    "condition key": (
        f'{{"Version":"2012-10-17","Statement":[{{{STATEMENT},'
        f'"Condition":{{"Null":{{"aws:SourceArn":"true","aws:SourceArn":"true"}}}}}}]}}'
    ),
    "escaped": f'{{"Version":"2012-10-17","Statement":[{{"\\u0045ffect":"Deny",{STATEMENT}}}]}}',
}


@pytest.mark.parametrize("element", TWICE)
def test_a_policy_with_a_name_twice_is_malformed_wherever_it_is_given(
    installation: Installation, raw: RawKms, key_id: str, element: str
) -> None:
    text = TWICE[element]
    before = table_dump(installation)
    assert_refused(raw.call("CreateKey", {"Policy": text}), "MalformedPolicyDocumentException")
    assert_refused(raw.call("PutKeyPolicy", {"KeyId": key_id, "Policy": text}), "MalformedPolicyDocumentException")
    assert table_dump(installation) == before
    if "principal" not in element:
        with pytest.raises(AssertionError, match="error"):
            make_user(installation, f"twice-{uuid.uuid4().hex[:8]}", of_a_user(text))
    # Without the second one it is a policy.
    plain = f'{{"Version":"2012-10-17","Statement":[{{{STATEMENT}}}]}}'
    assert_allowed(raw.call("PutKeyPolicy", {"KeyId": key_id, "Policy": plain}))
    make_user(installation, f"once-{uuid.uuid4().hex[:8]}", of_a_user(plain))


def of_a_user(text: str) -> str:
    """The same as an identity policy, which names no principal."""
    return text.replace(f'"Principal":{{"AWS":"{ROOT}"}},', "")


def test_there_is_one_parser_for_what_is_stored_and_what_is_used() -> None:
    """`json.loads` takes the last of two equal names: in the service it is called in one place, which refuses them."""
    found = set()
    for path in [*(SOURCE / "kms").rglob("*.py"), *(SOURCE / "protocol").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Attribute(value=ast.Name(id="json"), attr="loads" | "load" | "JSONDecoder"):
                    found.add(path.relative_to(SOURCE).as_posix())
                case ast.ImportFrom(module="json"):
                    found.add(path.relative_to(SOURCE).as_posix())
    assert found == {"protocol/strict_json.py"}


# ── class 9 ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def memory_mib(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(name)


def begin_peak(pid: int) -> bool:
    """Have the kernel count the largest size anew; only root may ask that of a process that cannot be dumped."""
    if os.geteuid() != 0:
        return False
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return True


def test_no_bomb_costs_memory_even_for_a_moment(installation: Installation, raw: RawKms) -> None:
    """The same bombs as those whose time is measured: as bodies, as policies, and as forms."""
    pid = installation.pid_of("kms")
    grown: dict[str, float] = {}
    with nothing_breaks(installation):
        for name, bomb in BOMBS.items():
            for _ in range(2):
                before = memory_mib(pid, "VmRSS")
                is_peak = begin_peak(pid)
                for operation in ("Encrypt", "CreateKey", "TagResource"):
                    assert raw.call(operation, bomb).status in {200, 400}
                if bomb.isascii():
                    answer = raw.call("CreateKey", {"Policy": bomb.decode()[:100_000]})
                    assert answer.status == 400, answer
                form = b"Action=GetCallerIdentity&Version=2011-06-15&" + bomb[:100_000].replace(b"&", b"%26")
                assert (
                    raw.send(form, [(b"Content-Type", b"application/x-www-form-urlencoded")], service="sts").status
                    < 500
                )
                after = memory_mib(pid, "VmHWM" if is_peak else "VmRSS")
                grown[name] = max(after - before, grown.get(name, 0.0))
    # No bomb for CreateKey, which takes it: a request as large as they come.
    assert grown.pop("40,000 members") < 2 * RSS_MIB_MAX
    largest = max(grown, key=lambda name: grown[name])
    print(f"largest growth: {grown[largest]:.1f} MiB by {largest}")
    assert grown[largest] < RSS_MIB_MAX, (largest, grown[largest])


def test_the_growth_of_a_process_is_seen() -> None:
    """Or the test above would say nothing."""
    pid = os.getpid()
    before = memory_mib(pid, "VmRSS")
    begin_peak(pid)
    wasted = bytearray(os.urandom(1 << 20) * 24)
    del wasted
    deadline = time.monotonic() + 5
    while memory_mib(pid, "VmHWM") - before < 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert memory_mib(pid, "VmHWM") - before > 20
