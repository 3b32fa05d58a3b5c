"""Values for the members of a request, from the rules of the API model: right ones, and ones with one thing wrong."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Final

from strongroom.kms.wire.model import Member, Rule

# NUL, the two normal forms of one letter, full width, four bytes, right to left, what other languages would expand or
# unquote, and the halves of names that mean something elsewhere.
ODD_TEXTS: Final = (
    *("x", " ", "\0", "a\0b", "\u00e9", "e\u0301", "\uff21\uff37\uff33", "\U0001f511", "\u202etxet", "\ufeff", "\x7f"),
    *("' OR 1=1 --", '"; DROP TABLE kms_key; --', "%00", "%s%n", "../../etc/passwd", "${aws:username}", "{{7*7}}", "*"),
    *("null", "{}", "[]", "\\", "\\u0000", '"', "\r\n", "AES_256", "SYMMETRIC_DEFAULT", "default", "alias/", "\ud7ff"),
    *("arn:aws:kms", "aws:", "<script>", "\u2028", "\uffff", "\U0010ffff"),
)
# Each of these is wrong for most members, and right for a few.
ODD_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 1.5, -0.0, 1e300, "", "x", [], {}, [None], [[]], {"a": None}),
    *({"": ""}, [{}], {"KeyId": "x"}, "eA==", ["x"] * 60, "a" * 20_000, [[[[[[]]]]]], {"a": {"a": {"a": {}}}}),
)
# Texts that a pattern of AWS's model takes. One that is missing here is noticed when the model first uses it.
_SPECIMENS: Final[Mapping[str, Sequence[str]]] = {
    "^[a-zA-Z0-9:/_-]+$": ("alias/a", "x", "alias/aws/s3", "alias/a:b", "a" * 256, "/", "alias/"),
    "^[a-zA-Z0-9-_.]+$": ("x", "a-b_c.d"),
    r"[\u0009\u000A\u000D\u0020-\u00FF]+": ("{}", " ", "\t\r\n", "\u00ff" * 300, "[1]", "null"),
    r"[\u0020-\u00FF]*": ("x", " ", "\u00ff", "AA==", "a" * 1024, "bm90IGEgbWFya2Vy"),
    r"[\w]+": ("default", "AWS_RAM", "x", "Default", "a" * 128),
    r"^[\w+=,.@:/-]+$": ("x", "arn:aws:iam::000000000000:root", "a" * 256),
    r"^([A-Za-z0-9\-]+)\.([A-Za-z0-9\-]+)(\.[A-Za-z0-9\-]+)+$": ("ec2.amazonaws.com", "a.b.c"),
}
_IN_NO_PATTERN: Final = "\u2603"
_WRONG_TYPES: Final[Mapping[str, Sequence[Any]]] = {
    "string": (1, True, 1.5, [], ["x"], {}, {"a": "b"}),
    "blob": (1, True, [], {}, "no base64!", "A", "\U0001f511"),
    "integer": ("1", True, 1.5, [], {}, 2**31, -(2**31) - 1, 10**30),
    "boolean": ("true", 1, 0, [], {}),
    "list": ("x", 1, True, {}),
    "map": ("x", 1, True, []),
    "structure": ("x", 1, True, []),
}
# What is longer than this is long enough.
_TEXT_CHARS_MAX: Final = 10_000


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Values:
    """Draws from a `Random` that belongs to whoever asks; the same draws give the same values."""

    def __init__(self, random: Random) -> None:
        self.random = random

    # ── right ───────────────────────────────────────────────────────────────────────────────────────────────────

    def valid(self, rule: Rule) -> Any:
        """A value that has no fault by its rule; what the operation thinks of it is another matter."""
        match rule.kind:
            case "string":
                return self.random.choice(rule.choices) if rule.choices else self.text(rule)
            case "blob":
                return b64(self.random.randbytes(self._size(rule)))
            case "integer":
                low, high = rule.minimum or 0, rule.maximum or 1000
                return self.random.choice((low, high, self.random.randint(low, high)))
            case "boolean":
                return self.random.random() < 0.5
            case "list":
                assert rule.element is not None
                return [self.valid(rule.element) for _ in range(self.random.randint(rule.minimum or 0, 2))]
            case "map":
                assert rule.element is not None
                return {self.odd_text(): self.valid(rule.element) for _ in range(self.random.randint(0, 3))}
            case "structure":
                return {m.name: self.valid(m.rule) for m in rule.members if m.required or self.random.random() < 0.5}
        raise AssertionError(f"no request has a {rule.kind}")

    def _size(self, rule: Rule) -> int:
        low, high = rule.minimum or 0, rule.maximum or 64
        return self.random.choice((low, min(high, 4096), self.random.randint(low, min(high, 64))))

    def text(self, rule: Rule) -> str:
        """Odd where it may be, at the edges of its length now and then."""
        low, high = rule.minimum or 0, rule.maximum or 300
        texts = ODD_TEXTS if rule.pattern is None else _SPECIMENS[rule.published_pattern]
        if rule.pattern is None and self.random.random() < 0.15:
            return "a" * self.random.choice((low, high))
        found = self.random.choice(texts)
        return found if low <= len(found) <= high else "a" * max(low, 1)

    def odd_text(self) -> str:
        return self.random.choice(ODD_TEXTS)

    # ── wrong ───────────────────────────────────────────────────────────────────────────────────────────────────

    def break_one(self, rule: Rule, members: dict[str, Any]) -> dict[str, Any]:
        """The same request with one member that no reading of its rule allows."""
        member = self.random.choice(rule.members)
        broken = dict(members)
        if member.required and self.random.random() < 0.2:
            broken.pop(member.name, None)
        elif member.required and self.random.random() < 0.2:
            broken[member.name] = None
        else:
            broken[member.name] = self._broken(member.rule)
        return broken

    def _broken(self, rule: Rule) -> Any:
        ways: list[Callable[[], Any]] = [lambda: self.random.choice(_WRONG_TYPES[rule.kind])]
        if rule.choices:
            wrong = ("", "NO_SUCH_VALUE", rule.choices[0].lower(), rule.choices[0] + " ", rule.choices[0] + "\0")
            ways.append(lambda: self.random.choice(wrong))
        if rule.pattern is not None:
            ways.append(lambda: self.text(rule)[: (rule.maximum or 2) - 1] + _IN_NO_PATTERN)
        if rule.minimum is not None and (rule.minimum > 0 or rule.kind == "integer"):
            ways.append(lambda: self._too_little(rule))
        if rule.maximum is not None:
            ways.append(lambda: self._too_much(rule))
        if rule.element is not None or rule.members:
            ways.append(lambda: self._broken_inside(rule))
        return self.random.choice(ways)()

    def _too_little(self, rule: Rule) -> Any:
        assert rule.minimum is not None
        if rule.kind == "integer":
            return self.random.choice((rule.minimum - 1, -(2**31)))
        assert rule.minimum == 1, "every lower limit of a length is one"
        return [] if rule.kind == "list" else ""

    def _too_much(self, rule: Rule) -> Any:
        assert rule.maximum is not None
        match rule.kind:
            case "integer":
                return self.random.choice((rule.maximum + 1, 2**31 - 1))
            case "blob":
                return b64(bytes(rule.maximum + 1))
            case "list":
                assert rule.element is not None
                return [self.valid(rule.element) for _ in range(rule.maximum + 1)]
        return "a" * (rule.maximum + self.random.choice((1, min(rule.maximum, _TEXT_CHARS_MAX))))

    def _broken_inside(self, rule: Rule) -> Any:
        if rule.kind == "structure":
            return self.break_one(rule, {member.name: self.valid(member.rule) for member in rule.members})
        assert rule.element is not None
        wrong = None if self.random.random() < 0.3 else self._broken_element(rule.element)
        if rule.kind == "map":
            return {"a": wrong}
        return [self.valid(rule.element), wrong][self.random.randint(0, 1) :]

    def _broken_element(self, rule: Rule) -> Any:
        if rule.kind == "structure":
            return self.break_one(rule, {member.name: self.valid(member.rule) for member in rule.members})
        return self._broken(rule)

    # ── whatever ────────────────────────────────────────────────────────────────────────────────────────────────

    def spoil(self, members: dict[str, Any], known: Sequence[Member]) -> dict[str, Any]:
        """The same request with up to three members of any value; some of them exist."""
        spoilt = dict(members)
        for _ in range(self.random.randint(1, 3)):
            names = [member.name for member in known] + ["", "keyid", "__type", self.odd_text()]
            spoilt[self.random.choice(names)] = self.random.choice(ODD_VALUES)
        return spoilt
