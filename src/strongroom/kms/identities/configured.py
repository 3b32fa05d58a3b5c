"""Files beside the configuration: a TOML file in the home, and a folder of JSON documents that it names.

The supervisor read them, for the service may not. What nothing names is refused like what is not there: a document that
somebody believes to be in force must be in force.
"""

from __future__ import annotations

from collections.abc import Mapping


class ConfiguredError(Exception):
    """A file cannot be used as it is; the text names it and says why."""


class Documents:
    """The documents of one folder."""

    def __init__(self, folder: str, texts: Mapping[str, str]) -> None:
        self._folder = folder
        self._texts = texts
        self._unused = set(texts)

    def place(self, file: str) -> str:
        return f"{self._folder}/{file}"

    def text(self, file: str) -> str:
        """A document.

        Raises:
            ConfiguredError: there is none of this name.
        """
        if file not in self._texts:
            raise ConfiguredError(f"{self.place(file)} does not exist")
        self._unused.discard(file)
        return self._texts[file]

    def require_all_used(self) -> None:
        if self._unused:
            raise ConfiguredError(f"{self.place(min(self._unused))} is in the folder, but nothing names it")
