"""Documents on the command line: as they are, or by the name of the file that holds one."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_FILE: Final = "file://"


class DocumentError(Exception):
    """A document that cannot be read; the text says why."""


def read_document(value: str) -> str:
    """The text itself, or what the file holds that it names, with `file://` or without.

    Raises:
        DocumentError: there is no such file.
    """
    if value.lstrip().startswith("{"):
        return value
    try:
        return Path(value.removeprefix(_FILE)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"the document {value!r} cannot be read: {error}") from None
