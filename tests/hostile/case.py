"""What is fuzzed: a parser with real values to begin from, and what must hold whatever it is given.

A check takes bytes and returns; what it lets out is a finding. It catches the refusals that the parser's docstring names and
no others, and then looks: what was formatted must parse again, what was accepted must be accepted by everybody, what nobody
sealed must not open.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

# Of CPU, for one input within a case's length. Ours: a few milliseconds as a rule, also where every line is counted; what
# is worse than linear takes seconds.
INPUT_S_MAX: Final = 0.5
# By how much one input may raise the most that this process ever held.
INPUT_BYTES_MAX: Final = 64 << 20


class FindingError(AssertionError):
    """Something that no input may do."""


@dataclass(frozen=True)
class Case:
    """A parser to fuzz: where to begin, what must hold, and how long an input may be."""

    seeds: Sequence[bytes]
    check: Callable[[bytes], None]
    bytes_max: int = 4096


def require(holds: object, what: object) -> None:
    if not holds:
        raise FindingError(what)


def without_known_findings(case: Case) -> Case:
    """For a case with a fault: it must be found, and not stand among the seeds from the start."""
    return replace(case, seeds=[seed for seed in case.seeds if _passes(case, seed)])


def _passes(case: Case, seed: bytes) -> bool:
    try:
        case.check(seed)
    except Exception:  # noqa: BLE001 -- whatever it is, it would be a finding.
        return False
    return True


class Watch:
    """Runs a case's check, and measures what it costs."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self._check = case.check
        # What is made once and kept is nobody's fault.
        for seed in case.seeds:
            case.check(seed)
        self._held_bytes = _most_held_bytes()

    def __call__(self, data: bytes) -> None:
        began_s = time.thread_time()
        self._check(data)
        took_s = time.thread_time() - began_s
        require(took_s <= INPUT_S_MAX, f"{len(data)} bytes took {took_s:.2f} s")
        held_bytes = _most_held_bytes()
        require(
            held_bytes - self._held_bytes <= INPUT_BYTES_MAX, f"{len(data)} bytes took {held_bytes - self._held_bytes}"
        )
        self._held_bytes = held_bytes


def _most_held_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def mutated(random: Random, seeds: Sequence[bytes], bytes_max: int) -> bytes:
    """A seed after one to four blind changes: for machines where coverage cannot guide, and for bytes on a socket."""
    data = bytearray(random.choice(seeds))
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(data) + 1)
        match random.randrange(7):
            case 0:
                data[at : at + 1] = bytes([random.randrange(256)])
            case 1:
                data[at : at + 1] = bytes([data[at] ^ 1 << random.randrange(8)]) if at < len(data) else b""
            case 2:
                del data[at : at + random.choice((1, 1, 2, 4, 16, 64))]
            case 3:
                data[at:at] = random.randbytes(random.choice((1, 1, 2, 4, 16)))
            case 4:  # A piece again, elsewhere.
                start = random.randrange(len(data) + 1)
                data[at:at] = data[start : start + random.choice((1, 4, 16, 64, 256))]
            case 5:  # The rest of another one.
                other = random.choice(seeds)
                data[at:] = other[random.randrange(len(other) + 1) :]
            case _:
                data[at:at] = random.choice(_ODD)
    return bytes(data[:bytes_max])


_ODD: Final = (
    *(b"\0", b"\n", b"\r", b"\r\n", b"\r\n\r\n", b" ", b"\t", b":", b",", b";", b"=", b"%", b"%00", b"+", b"&", b"/"),
    *(
        b"\xff",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x94\x91",
        b"\xef\xbb\xbf",
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
    ),
    *(
        b"0",
        b"-1",
        b"9" * 30,
        b"1e999",
        b"NaN",
        b"null",
        b"true",
        b"[",
        b"]",
        b"{",
        b"}",
        b'"',
        b"\\ud800",
        b"\\",
        b"${a:b}",
    ),
)
