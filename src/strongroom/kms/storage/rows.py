"""Record to row and back, and the MAC that every row carries.

Invariants:
- A row's MAC is HMAC-SHA-256 under the store key over msgpack([table, field, field, ...]), the fields in declared order
  and as they are stored: a row changed, moved to another table or given another identity is refused. NULLs at the end
  are left out, so that a row from before a column existed keeps its MAC; the array's length still tells them apart.
- The MAC is checked before anything is decoded. Whatever the file holds, a reader gets a verified record or
  `RowForgedError`.
- Before unlock only settings pass. They hold what the HSM sealed, which opens or does not. After unlock a setting
  without a MAC passes only under a name that was used before it: stripping the MAC off another one gains nothing.
"""

from __future__ import annotations

import hmac
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar, cast, get_args, get_origin

import msgspec

from strongroom.boundary.secret import StoreKey
from strongroom.kms.repositories import TABLES, R, Record, RowForgedError, SettingRecord

_T = TypeVar("_T")

NO_MAC: Final = b""

# Texts that many rows share, or a key with its materials: records that are kept in memory hold one copy of each.
_REPEATED: Final = frozenset({"key_id", "account", "region", "spec", "usage", "origin", "key_policy"})


class Column(msgspec.Struct, frozen=True):
    """One field of a record and how it is stored: as str, int, float or bytes."""

    name: str
    to_column: Callable[[Any], Any]
    from_column: Callable[[Any], Any]


def _same(value: _T) -> _T:
    return value


def _to_real(value: float) -> float:
    """SQLite returns a REAL, also where an int or a negative zero went in: the MAC must see what comes back."""
    return float(value) + 0.0


def _to_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _or_null(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


def _column_of(name: str, type_: Any) -> Column:
    if type(None) in get_args(type_):
        (present,) = (alternative for alternative in get_args(type_) if alternative is not type(None))
        column = _column_of(name, present)
        return Column(name, _or_null(column.to_column), _or_null(column.from_column))
    if type_ is float:
        return Column(name, _to_real, _same)
    if type_ is bool:
        return Column(name, int, bool)
    if get_origin(type_) in {dict, tuple}:
        return Column(name, _to_json, msgspec.json.Decoder(type_).decode)
    if isinstance(type_, type) and issubclass(type_, StrEnum):
        return Column(name, str, {member.value: member for member in type_}.__getitem__)
    if type_ is str and name in _REPEATED:
        return Column(name, _same, sys.intern)
    assert type_ in {str, int, bytes}, f"no column for a field of type {type_}"
    return Column(name, _same, _same)


class RowFormat(Generic[R]):
    """How one kind of record lies in its table, worked out once from the record's own declaration."""

    def __init__(self, kind: type[R]) -> None:
        fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
        columns = [_column_of(name, type_) for name, type_ in fields.items()]
        self.kind = kind
        self.table = TABLES[kind].name
        self.key = TABLES[kind].key
        self.names = tuple(fields)
        self._to_columns = tuple((column.name, column.to_column) for column in columns)
        self._from_columns = tuple(
            (column.name, column.from_column) for column in columns if column.from_column != _same
        )
        self._identity = msgspec.json.Decoder(tuple.__class_getitem__(tuple(fields[name] for name in self.key)))

    def to_columns(self, record: R) -> list[Any]:
        return [convert(getattr(record, name)) for name, convert in self._to_columns]

    def from_columns(self, columns: Sequence[Any]) -> R:
        fields = dict(zip(self.names, columns, strict=True))
        for name, convert in self._from_columns:
            fields[name] = convert(fields[name])
        return self.kind(**fields)

    def format_name(self, columns: Sequence[Any]) -> str:
        """What a row says that it is, for people: its identifying columns, whatever they hold."""
        identity = (columns[self.names.index(name)] for name in self.key)
        return " ".join(value.hex() if isinstance(value, bytes) else str(value) for value in identity)

    def format_identity(self, identity: tuple[object, ...]) -> str:
        return msgspec.json.encode(identity).decode()

    def parse_identity(self, text: str) -> tuple[object, ...]:
        return cast("tuple[object, ...]", self._identity.decode(text))


FORMATS: Final[dict[type[msgspec.Struct], RowFormat[Any]]] = {kind: RowFormat(kind) for kind in TABLES}
KINDS_BY_TABLE: Final = {table.name: cast("type[Record]", kind) for kind, table in TABLES.items()}


class RowCodec:
    """Writes records as authenticated rows and verifies rows on their way back."""

    def __init__(self) -> None:
        self._store_key: StoreKey | None = None
        self._settings_used_locked: set[str] = set()
        self._encode: Final = msgspec.msgpack.Encoder().encode

    def unlock(self, store_key: StoreKey) -> None:
        self._store_key = store_key

    def tag(self, purpose: str, message: bytes) -> bytes:
        """As `Store.tag`. The derivation's message begins unlike a row's, which is an array: no row's MAC is such a key."""
        assert self._store_key is not None, f"{purpose} before unlock"
        key = hmac.digest(self._store_key.expose(), b"derived key\0" + purpose.encode(), "sha256")
        return hmac.digest(key, message, "sha256")

    def require_open(self, kind: type[msgspec.Struct]) -> None:
        assert self._store_key is not None or kind is SettingRecord, f"{kind.__name__} before unlock"

    def to_row(self, record: Record) -> list[Any]:
        """All columns in declared order, then the MAC."""
        self.require_open(type(record))
        row_format = FORMATS[type(record)]
        row = row_format.to_columns(record)
        if self._store_key is None:
            self._note_setting(record)
            row.append(NO_MAC)
        else:
            row.append(self._mac(self._store_key, row_format.table, row))
        return row

    def to_record(self, kind: type[R], row: Sequence[Any]) -> R:
        """The record in a row of all columns and the MAC. The MAC is checked before anything is decoded.

        Raises:
            RowForgedError: the row is not as we wrote it.
        """
        row_format: RowFormat[R] = FORMATS[kind]
        *columns, mac = row
        verified = False
        if self._store_key is not None and mac != NO_MAC:
            self._verify(self._store_key, row_format.table, columns, mac)
            verified = True
        try:
            record = row_format.from_columns(columns)
        except (ValueError, TypeError, LookupError) as error:
            raise RowForgedError(f"a row of {row_format.table} does not decode") from error
        if not verified:
            self._require_unverified(record)
        return record

    def _verify(self, store_key: StoreKey, table: str, columns: Sequence[Any], mac: Any) -> None:
        try:
            holds = hmac.compare_digest(mac, self._mac(store_key, table, columns))
        except (ValueError, TypeError, OverflowError) as error:  # No such row was ever written.
            raise RowForgedError(f"a row of {table} does not encode") from error
        if not holds:
            raise RowForgedError(f"the MAC of a row of {table} does not hold")

    def _require_unverified(self, record: Record) -> None:
        """Let a record pass that has no MAC, or one that cannot be checked yet."""
        if self._store_key is None:
            self._note_setting(record)
        elif not isinstance(record, SettingRecord) or record.name not in self._settings_used_locked:
            raise RowForgedError(f"a row of {TABLES[type(record)].name} carries no MAC")

    def _note_setting(self, record: Record) -> None:
        assert isinstance(record, SettingRecord), "only settings pass before unlock"
        self._settings_used_locked.add(record.name)

    def _mac(self, store_key: StoreKey, table: str, columns: Sequence[Any]) -> bytes:
        end = len(columns)
        while end and columns[end - 1] is None:
            end -= 1
        return hmac.digest(store_key.expose(), self._encode([table, *columns[:end]]), "sha256")
