"""A module with one thing wrong: every such change that could matter, made in its syntax tree.

| what | is replaced by |
|---|---|
| a comparison | its negation, its neighbour (`<` by `<=`) |
| `and`, `or` | the other; one operand less |
| `not x` | `x` |
| the test of an `if`, of a conditional expression, of a comprehension | `True`, `False` |
| arithmetic, `all`, `any`, `lower`, `startswith`, … | their opposites |
| a number, a text, `True` | one more, a longer one, `False` |
| a member of an enumeration of these rooms | the next one |
| a returned value | `None` |
| a statement that acts: a call, `raise`, `continue`, `del`, an assignment to what is there already | nothing |
| two neighbouring arguments | each other |
| a named argument, an element of a set, list, tuple or table, a bound of a slice | nothing |

Left alone, because no test could or should notice: annotations (under `from __future__ import annotations` nobody reads
them) and aliases of types, docstrings, `__all__`, `__slots__`, decorators, what only type checkers run, the text of an
assertion, and the cause that `raise … from` names.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

Change = Callable[[], None]

_COMPARISONS: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_PAIRS: Final = (
    ("all", "any"),
    ("min", "max"),
    ("sorted", "list"),
    ("lower", "upper"),
    ("startswith", "endswith"),
    ("partition", "rpartition"),
    ("lt", "le"),
    ("gt", "ge"),
    ("eq", "ne"),
)
_OPPOSITES: Final = {one: other for pair in _PAIRS for one, other in (pair, pair[::-1])}
_NOT_RUN: Final = frozenset({"__all__", "__slots__"})
_TYPE_NAME: Final = re.compile(r"[A-Z][A-Za-z]*[a-z][A-Za-z]*")
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True)
class Mutant:
    """One change. `apply` makes it in the tree that the mutants were found in, and there is no way back."""

    module: str
    place: str
    line: int
    # The lines of the statement that it is in, or of its head: a test that ran none of them cannot notice.
    lines: frozenset[int]
    before: str
    after: str
    number: int
    is_in_function: bool
    apply: Change

    @property
    def name(self) -> str:
        """What the list of equivalent mutants calls it: without line numbers, which move."""
        again = f" #{self.number}" if self.number > 1 else ""
        return f"{self.place}: {self.before} → {self.after}{again}"

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.name}"


@dataclass(frozen=True)
class _Site:
    """A node that may be changed: `replace` puts another one in its place, or with None takes it away."""

    node: ast.AST
    replace: Callable[[ast.AST | None], None]
    parent: ast.AST
    field: str


def members_of_enumerations(sources: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """The enumerations that some modules define, with their members in order."""
    found = {}
    for source in sources.values():
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and any("Enum" in ast.unparse(base) for base in node.bases):
                targets = [statement.targets[0] for statement in node.body if isinstance(statement, ast.Assign)]
                found[node.name] = tuple(target.id for target in targets if isinstance(target, ast.Name))
    return found


def mutants_of(module: str, tree: ast.Module, enumerations: dict[str, tuple[str, ...]]) -> list[Mutant]:
    """Every mutant of a module, in the order of its text."""
    return _Finder(module, enumerations).found_in(tree)


class _Finder:
    def __init__(self, module: str, enumerations: dict[str, tuple[str, ...]]) -> None:
        self._module = module
        self._enumerations = enumerations
        self._found: list[Mutant] = []
        self._seen: Counter[tuple[str, str, str]] = Counter()
        # Of the node that is being looked at: names of classes and functions around it, its statement, its function.
        self._names: list[str] = []
        self._function: ast.AST | None = None
        self._lines: frozenset[int] = frozenset()

    def found_in(self, tree: ast.Module) -> list[Mutant]:
        self._walk(tree)
        return self._found

    # ── the walk ────────────────────────────────────────────────────────────────────────────────────────────────

    def _walk(self, node: ast.AST) -> None:
        for name, value in ast.iter_fields(node):
            if not isinstance(value, ast.AST | list) or self._is_left_alone(node, name):
                continue
            if isinstance(value, ast.AST):
                self._visit(_Site(value, _setting(node, name), node, name))
                continue
            for at, item in enumerate(value):
                if isinstance(item, ast.AST):
                    self._visit(_Site(item, _setting_item(node, value, at, item), node, name))

    def _visit(self, site: _Site) -> None:
        node = site.node
        outside = self._function, self._lines
        if isinstance(node, ast.stmt):
            if _is_silent(node, site):
                return
            self._lines = _lines_of(node)
        self._mutate(site)
        named = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if named:
            self._names.append(node.name)
        if isinstance(node, _FUNCTIONS):
            # A function's defaults are evaluated where it is defined.
            self._walk_field(node, "args")
            self._function = node
            self._walk_field(node, "body")
        else:
            self._walk(node)
        if named:
            self._names.pop()
        self._function, self._lines = outside

    def _walk_field(self, node: ast.AST, name: str) -> None:
        value = getattr(node, name)
        if isinstance(value, list):
            for at, item in enumerate(value):
                self._visit(_Site(item, _setting_item(node, value, at, item), node, name))
        else:
            self._visit(_Site(value, _setting(node, name), node, name))

    def _is_left_alone(self, node: ast.AST, field: str) -> bool:
        return (
            field in {"annotation", "returns", "decorator_list", "format_spec", "cause", "type_comment", "op", "ops"}
            or (isinstance(node, ast.Assert) and field == "msg")
            or (isinstance(node, ast.ExceptHandler) and field == "type")
            or (isinstance(node, ast.ClassDef) and field == "bases")
        )

    def _add(self, site: _Site, after: ast.AST | None, said: str | None = None) -> None:
        node = site.node
        before = _one_line(ast.unparse(node))
        text = said or ("nothing" if after is None else _one_line(ast.unparse(after)))
        if before == text:
            return
        place = ".".join(self._names) or "(module)"
        self._seen[place, before, text] += 1
        if after is not None:
            ast.copy_location(after, node)
            ast.fix_missing_locations(after)
        line = getattr(node, "lineno", min(self._lines, default=1))
        lines = (
            self._lines | set(range(line, getattr(node, "end_lineno", line) + 1)) if _has_lines(node) else self._lines
        )
        self._found.append(
            Mutant(
                self._module,
                place,
                line,
                frozenset(lines),
                before,
                text,
                self._seen[place, before, text],
                self._function is not None,
                lambda: site.replace(after),
            )
        )

    # ── what becomes of a node ──────────────────────────────────────────────────────────────────────────────────

    def _mutate(self, site: _Site) -> None:
        method = getattr(self, f"_{type(site.node).__name__.lower()}", None)
        if method is not None:
            method(site, site.node)
        if site.field == "test" and isinstance(site.parent, ast.If | ast.IfExp | ast.While):
            self._decide(site)
        if isinstance(site.parent, ast.comprehension) and site.field == "ifs":
            self._decide(site)
        if isinstance(site.parent, ast.Set | ast.List | ast.Tuple) and site.field == "elts":
            self._element(site)
        if isinstance(site.parent, ast.MatchOr):
            self._add(site, None)
        if isinstance(site.parent, ast.Slice):
            self._add(site, None)

    def _decide(self, site: _Site) -> None:
        for answer in (True, False):
            if not (answer and isinstance(site.parent, ast.While)):
                self._add(site, ast.Constant(answer))

    def _element(self, site: _Site) -> None:
        if isinstance(site.parent, ast.Tuple) and not (
            isinstance(site.parent.ctx, ast.Load) and _is_a_list(site.parent)
        ):
            return
        self._add(site, None)

    def _compare(self, site: _Site, node: ast.Compare) -> None:
        for at, operator in enumerate(node.ops):
            for other in _COMPARISONS[type(operator)]:
                changed = deepcopy(node)
                changed.ops[at] = other()
                self._add(site, changed)

    def _boolop(self, site: _Site, node: ast.BoolOp) -> None:
        changed = deepcopy(node)
        changed.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        self._add(site, changed)
        for at in range(len(node.values)):
            fewer = deepcopy(node)
            del fewer.values[at]
            self._add(site, fewer if len(fewer.values) > 1 else fewer.values[0])

    def _unaryop(self, site: _Site, node: ast.UnaryOp) -> None:
        self._add(site, deepcopy(node.operand))

    def _binop(self, site: _Site, node: ast.BinOp) -> None:
        other = _ARITHMETIC.get(type(node.op))
        if other is not None:
            changed = deepcopy(node)
            changed.op = other()
            self._add(site, changed)

    def _augassign(self, site: _Site, node: ast.AugAssign) -> None:
        other = _ARITHMETIC.get(type(node.op))
        if other is not None:
            changed = deepcopy(node)
            changed.op = other()
            self._add(site, changed)
        self._remove(site)

    def _constant(self, site: _Site, node: ast.Constant) -> None:
        match node.value:
            case bool():
                self._add(site, ast.Constant(not node.value))
            case int() | float():
                self._add(site, ast.Constant(node.value + 1))
            case str():
                self._add(site, ast.Constant("XX" + node.value), said=None if _is_whole(site) else f"XX{node.value}")
            case bytes():
                self._add(site, ast.Constant(b"XX" + node.value))

    def _name(self, site: _Site, node: ast.Name) -> None:
        if node.id in _OPPOSITES and isinstance(node.ctx, ast.Load):
            self._add(site, ast.Name(_OPPOSITES[node.id], ast.Load()))

    def _attribute(self, site: _Site, node: ast.Attribute) -> None:
        other = _OPPOSITES.get(node.attr)
        if isinstance(node.value, ast.Name) and node.value.id in self._enumerations:
            members = self._enumerations[node.value.id]
            if node.attr in members:
                other = members[(members.index(node.attr) + 1) % len(members)]
        if other is not None and isinstance(node.ctx, ast.Load):
            changed = deepcopy(node)
            changed.attr = other
            self._add(site, changed)

    def _call(self, site: _Site, node: ast.Call) -> None:
        for at in range(len(node.args) - 1):
            if not any(isinstance(argument, ast.Starred) for argument in node.args[at : at + 2]):
                changed = deepcopy(node)
                changed.args[at : at + 2] = changed.args[at + 1], changed.args[at]
                self._add(site, changed)
        for at, keyword in enumerate(node.keywords):
            if keyword.arg is not None:
                changed = deepcopy(node)
                del changed.keywords[at]
                self._add(site, changed)

    def _classdef(self, _site: _Site, node: ast.ClassDef) -> None:
        for at, keyword in enumerate(node.keywords):
            site = _Site(keyword, _setting_item(node, node.keywords, at, keyword), node, "keywords")
            self._add(site, None)

    def _dict(self, _site: _Site, node: ast.Dict) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            pair = ast.Dict([key], [value])
            ast.copy_location(pair, value)
            self._add(_Site(pair, _taking_out(node, value), node, "values"), None)

    # ── statements ──────────────────────────────────────────────────────────────────────────────────────────────

    def _remove(self, site: _Site) -> None:
        if self._function is not None:
            self._add(site, ast.Pass(), said="nothing")

    def _expr(self, site: _Site, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Yield | ast.YieldFrom):
            self._remove(site)

    def _raise(self, site: _Site, _node: ast.Raise) -> None:
        self._remove(site)

    def _continue(self, site: _Site, _node: ast.Continue) -> None:
        self._remove(site)

    def _delete(self, site: _Site, _node: ast.Delete) -> None:
        self._remove(site)

    def _return(self, site: _Site, node: ast.Return) -> None:
        if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self._add(site, ast.Return(ast.Constant(None)))
        if not isinstance(site.parent, _FUNCTIONS):
            self._remove(site)

    def _assign(self, site: _Site, node: ast.Assign) -> None:
        function = self._function
        if function is None:
            return
        (target, *_) = node.targets
        if isinstance(target, ast.Attribute | ast.Subscript) or (
            isinstance(target, ast.Name) and _is_there_before(target.id, node, function)
        ):
            self._remove(site)


def _setting(parent: ast.AST, field: str) -> Callable[[ast.AST | None], None]:
    return lambda node: setattr(parent, field, node)


def _setting_item(_parent: ast.AST, items: list[Any], at: int, item: ast.AST) -> Callable[[ast.AST | None], None]:
    def put(node: ast.AST | None) -> None:
        assert items[at] is item, "a tree takes one mutant"
        items[at : at + 1] = [] if node is None else [node]

    return put


def _taking_out(table: ast.Dict, value: ast.AST) -> Callable[[ast.AST | None], None]:
    def take_out(_: ast.AST | None) -> None:
        at = next(at for at, other in enumerate(table.values) if other is value)
        del table.keys[at], table.values[at]

    return take_out


def _is_silent(node: ast.stmt, site: _Site) -> bool:
    """A statement of which there is nothing to notice."""
    match node:
        case ast.Expr(ast.Constant(str())):
            return True
        case ast.If(ast.Name("TYPE_CHECKING")) | ast.Import() | ast.ImportFrom():
            return True
        case ast.Assign([ast.Name(name)], value):
            is_alias = isinstance(site.parent, ast.Module) and _TYPE_NAME.fullmatch(name) is not None
            return name in _NOT_RUN or (is_alias and isinstance(value, ast.Subscript | ast.BinOp))
    return False


def _is_there_before(name: str, node: ast.Assign, function: ast.AST) -> bool:
    """Whether a name has a value before it is given this one: then it can be left out without a crash."""
    if name in {argument.arg for argument in ast.walk(function) if isinstance(argument, ast.arg)}:
        return True
    given = [
        other
        for other in ast.walk(function)
        if isinstance(other, ast.Name) and other.id == name and isinstance(other.ctx, ast.Store)
    ]
    return any(other.lineno < node.lineno for other in given)


def _lines_of(statement: ast.stmt) -> frozenset[int]:
    """The lines of a statement, or of the head of one that has a body."""
    body = getattr(statement, "body", None)
    last = statement.end_lineno or statement.lineno
    if isinstance(body, list) and body:
        last = max(statement.lineno, min(last, body[0].lineno - 1))
    return frozenset(range(statement.lineno, last + 1))


def _has_lines(node: ast.AST) -> bool:
    """Whether all lines of a node belong to it, and not to statements inside it."""
    return not isinstance(node, ast.stmt) and hasattr(node, "lineno")


def _is_whole(site: _Site) -> bool:
    """Whether a text is one of its own, not part of a formatted one, whose parts have no quotation marks."""
    return not isinstance(site.parent, ast.JoinedStr)


def _is_a_list(node: ast.Tuple) -> bool:
    """Whether a tuple stands for several things of one kind, not for one thing with several parts."""
    return len({type(element) for element in node.elts}) == 1


def _one_line(text: str) -> str:
    return " ".join(text.split())
