"""Texts of policies that stand for more than themselves: wildcards, and variables that a request fills in.

    *   any run of characters            ${*} ${?} ${$}   the character itself
    ?   any one character                ${key}           the value of a condition key
                                         ${key, 'text'}   the same, or the text where the request has no such key

What a variable expands to is literal: a user who is called `*` is no wildcard. Variables exist since version 2012-10-17
of the language; in older documents their text means itself.

Sources: IAM user guide, "IAM policy elements: Variables and tags" and "IAM JSON policy elements: Resource".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final, Protocol

import msgspec

_UPPER: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
# `${` … `}`; a default stands behind a comma and a space, in single quotes.
_VARIABLE: Final = re.compile(r"\$\{([^{}]*)\}")
_VARIABLE_BODY: Final = re.compile(r"([A-Za-z0-9._-]+:[^',]+?)(?:, '([^']*)')?")
_SPECIAL: Final = frozenset("*?$")
_STARS: Final = re.compile(r"\*+")


class Context(Protocol):
    """What a request says of itself, by condition key."""

    def values_of(self, key: str) -> tuple[str, ...] | None:
        """The values of a key in its folded form, at least one; None where the request has no such key."""


class UnresolvedVariableError(Exception):
    """A variable whose key the request has not, or has several values for."""


def fold(text: str) -> str:
    """Without case, for the names that have none. ASCII only: a Kelvin sign is no k."""
    return text.lower() if text.isascii() else text.translate(_UPPER)


class Literal(msgspec.Struct, frozen=True):
    """Text that means itself, wildcards included."""

    text: str


class Variable(msgspec.Struct, frozen=True):
    """A place that the request fills in; `key` is folded."""

    key: str
    default: str | None


Piece = str | Literal | Variable
# What is left when variables are filled in: text in which wildcards count, and text in which they do not.
Resolved = Sequence[str | Literal]


class Template(msgspec.Struct, frozen=True):
    """A text of a policy, cut into pieces."""

    text: str
    pieces: tuple[Piece, ...]

    @property
    def keys(self) -> frozenset[str]:
        """The condition keys that it asks the request for."""
        return frozenset(piece.key for piece in self.pieces if isinstance(piece, Variable))

    def resolve(self, context: Context) -> Resolved:
        """The pieces as this request fills them in.

        Raises:
            UnresolvedVariableError: one of them cannot be filled in.
        """
        return [_filled(piece, context) if isinstance(piece, Variable) else piece for piece in self.pieces]


def _filled(variable: Variable, context: Context) -> Literal:
    values = context.values_of(variable.key)
    if values is not None and len(values) == 1:
        return Literal(values[0])
    if values is None and variable.default is not None:
        return Literal(variable.default)
    raise UnresolvedVariableError(variable.key)


def parse_template(text: str, *, variables: bool) -> Template:
    """Cut a text into pieces; without `variables` it is one.

    Raises:
        ValueError: a `${` that begins no variable; the text says which.
    """
    if not variables or "${" not in text:
        return Template(text, (text,))
    pieces: list[Piece] = []
    end = 0
    for match in _VARIABLE.finditer(text):
        _add(pieces, text[end : match.start()])
        pieces.append(_piece(match[1], match[0]))
        end = match.end()
    _add(pieces, text[end:])
    return Template(text, tuple(pieces))


def _add(pieces: list[Piece], text: str) -> None:
    if "${" in text:
        raise ValueError(f"{text[text.index('${') :][:64]!r} begins no policy variable")
    if text:
        pieces.append(text)


def _piece(body: str, whole: str) -> Piece:
    if body in _SPECIAL:
        return Literal(body)
    found = _VARIABLE_BODY.fullmatch(body)
    if found is None:
        raise ValueError(f"{whole[:64]!r} is no policy variable")
    return Variable(fold(found[1]), found[2])


def plain_text(pieces: Resolved) -> str:
    """The text of pieces whose wildcards mean themselves."""
    return "".join(piece if isinstance(piece, str) else piece.text for piece in pieces)


class Part(msgspec.Struct, frozen=True):
    """What stands between two stars: the texts between its `?`, each with its place."""

    length: int
    texts: tuple[tuple[int, str], ...]

    def fits(self, value: str, at: int) -> bool:
        """Whether it stands at a place of a value that is long enough for it."""
        for place, text in self.texts:  # noqa: SIM110 -- a generator costs more than what it looks at.
            if not value.startswith(text, at + place):
                return False
        return True

    def find(self, value: str, start: int, end: int) -> int:
        """The first place between two others where it fits; -1 if there is none."""
        if not self.texts:
            return start if start + self.length <= end else -1
        place, text = self.texts[0]
        # Where that text may end at the latest.
        end += place + len(text) - self.length
        at = value.find(text, start + place, end)
        while at >= 0 and not self.fits(value, at - place):
            at = value.find(text, at + 1, end)
        return at - place if at >= 0 else -1


class Glob(msgspec.Struct, frozen=True):
    """A text with wildcards: what stands before, between and behind its stars; `last` is None where there is none.

    Not an expression of `re`: compiling one of 32 KiB of stars would hold the service for a fifth of a second.
    """

    first: Part
    middle: tuple[Part, ...] = ()
    last: Part | None = None

    def matches(self, text: str) -> bool:
        """The first place where a part fits is the best one, so no part is ever tried again."""
        first, last = self.first, self.last
        if last is None:
            return first.length == len(text) and first.fits(text, 0)
        at, end = first.length, len(text) - last.length
        if at > end or not first.fits(text, 0) or not last.fits(text, end):
            return False
        for part in self.middle:
            found = part.find(text, at, end)
            if found < 0:
                return False
            at = found + part.length
        return True

    @property
    def plain(self) -> str | None:
        """The text before the star, or the whole text, if it has no `?`."""
        if not self.first.texts:
            return "" if self.first.length == 0 else None
        ((place, text), *others) = self.first.texts
        return text if place == 0 and not others and len(text) == self.first.length else None


def parse_glob(pieces: Resolved) -> Glob:
    """The wildcards of pieces whose variables are filled in."""
    parts: list[list[str | Literal]] = [[]]
    for piece in pieces:
        if isinstance(piece, Literal):
            parts[-1].append(piece)
            continue
        head, *rest = _STARS.sub("*", piece).split("*")
        parts[-1].append(head)
        parts += [[part] for part in rest]
    first, *others = map(_part, parts)
    if not others:
        return Glob(first)
    return Glob(first, tuple(part for part in others[:-1] if part.length), others[-1])


def _part(pieces: Resolved) -> Part:
    """Neighbouring texts become one, wherever they come from."""
    if len(pieces) == 1 and isinstance(pieces[0], str) and "?" not in pieces[0]:
        return Part(len(pieces[0]), ((0, pieces[0]),) if pieces[0] else ())
    texts: list[tuple[int, str]] = []
    length = 0
    for piece in pieces:
        for number, text in enumerate([piece.text] if isinstance(piece, Literal) else piece.split("?")):
            length += number > 0
            if not text:
                continue
            if texts and texts[-1][0] + len(texts[-1][1]) == length:
                place, before = texts.pop()
                texts.append((place, before + text))
            else:
                texts.append((length, text))
            length += len(text)
    return Part(length, tuple(texts))


class Patterns(msgspec.Struct, frozen=True):
    """A list of texts with wildcards, sorted by what it takes to compare them; `texts` is the list as written, each once."""

    texts: tuple[str, ...]
    exact: frozenset[str]
    prefixes: tuple[str, ...]
    globs: tuple[Glob, ...]
    templates: tuple[Template, ...]

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(key for template in self.templates for key in template.keys)

    def matches(self, value: str, context: Context, *, strict: bool = False) -> bool:
        """Whether one of them stands for the value. One whose variables cannot be filled in stands for nothing.

        Raises:
            UnresolvedVariableError: with `strict`, instead; also where another of them stands for the value.
        """
        if strict:
            for template in self.templates:
                template.resolve(context)
        if value in self.exact or value.startswith(self.prefixes) or any(glob.matches(value) for glob in self.globs):
            return True
        return any(glob.matches(value) for glob in self._filled_in(context))

    def _filled_in(self, context: Context) -> Iterator[Glob]:
        for template in self.templates:
            with suppress(UnresolvedVariableError):
                yield parse_glob(template.resolve(context))


def parse_patterns(texts: Iterable[str], *, variables: bool = False, folds: bool = False) -> Patterns:
    """A list of patterns; `folds` compares without case, with values that are folded already.

    Raises:
        ValueError: see `parse_template`.
    """
    written = tuple(dict.fromkeys(texts))
    exact, prefixes, globs, templates = [], [], [], []
    for text in written:
        template = parse_template(fold(text) if folds else text, variables=variables)
        if template.keys:
            templates.append(template)
            continue
        glob = parse_glob(template.resolve(_NOTHING))
        if glob.plain is not None and glob.last is None:
            exact.append(glob.plain)
        elif glob.plain is not None and glob.last is not None and not glob.middle and glob.last.length == 0:
            prefixes.append(glob.plain)
        else:
            globs.append(glob)
    return Patterns(written, frozenset(exact), tuple(prefixes), tuple(globs), tuple(templates))


class _Nothing:
    """The context of a text without variables."""

    def values_of(self, key: str) -> None:
        """No key has a value here."""


_NOTHING: Final = _Nothing()
