"""What the HSM process loads: `cryptography`, `msgspec`, ours, and a short list of the standard library.

The list grows only by an ADR. Public names only: what begins with an underscore is the C half of one.
"""

from __future__ import annotations

import json
import subprocess
import sys

OURS_AND_THEIRS = {"strongroom", "cryptography", "msgspec"}
# Only where the installer put it there for `cryptography` on older interpreters.
THEIRS_SOMETIMES = {"typing_extensions"}
# Imported by name in src/strongroom/hsm and src/strongroom/boundary.
NAMED = {
    *("argparse", "collections", "contextlib", "ctypes", "enum", "gc", "hashlib", "hmac", "mmap", "pathlib"),
    *("resource", "selectors", "signal", "socket", "struct", "tomllib", "typing"),
}
# What those, `cryptography` and `msgspec` bring with them on CPython 3.11 to 3.14.
BROUGHT = {
    *("annotationlib", "array", "ast", "binascii", "bisect", "copy", "copyreg", "dataclasses", "datetime", "decimal"),
    *("dis", "errno", "fnmatch", "functools", "gettext", "glob", "importlib", "inspect", "ipaddress", "itertools"),
    *("keyword", "linecache", "locale", "math", "ntpath", "numbers", "opcode", "operator", "platform", "random", "re"),
    *("reprlib", "select", "shutil", "string", "textwrap", "threading", "token", "tokenize", "types", "urllib", "uuid"),
    *("warnings", "weakref", "zoneinfo"),
}
# Talks, runs programs, deserialises code or writes logs: none of it has business in the crypto world.
NEVER = {
    *("asyncio", "concurrent", "ftplib", "http", "logging", "marshal", "multiprocessing", "pickle", "pty", "requests"),
    *("shelve", "smtplib", "sqlite3", "ssl", "subprocess", "syslog", "telnetlib", "webbrowser", "xmlrpc"),
}

PROGRAM = """
import json, sys
before = set(sys.modules)
import strongroom.hsm.__main__
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def loaded() -> set[str]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=240
    )
    return set(json.loads(done.stdout))


def test_the_hsm_loads_only_what_is_on_the_list() -> None:
    public = {name.split(".")[0] for name in loaded() if not name.startswith("_")}
    assert public - OURS_AND_THEIRS - THEIRS_SOMETIMES - NAMED - BROUGHT == set()
    assert public & NEVER == set()
    assert public >= OURS_AND_THEIRS


def test_what_begins_with_an_underscore_is_the_standard_library_or_cryptography() -> None:
    private = {name.split(".")[0] for name in loaded() if name.startswith("_")}
    # The binding under `cryptography` registers these two.
    assert private - set(sys.stdlib_module_names) <= {"_cffi_backend", "_openssl"}


def test_of_ours_the_hsm_loads_itself_and_the_boundary() -> None:
    rooms = {".".join(name.split(".")[:2]) for name in loaded() if name.startswith("strongroom.")}
    assert rooms == {"strongroom.hsm", "strongroom.boundary"}


def test_every_name_of_the_short_list_is_used() -> None:
    # `site` may have loaded one of them before.
    assert NAMED - {name.split(".")[0] for name in loaded()} <= set(sys.modules)
