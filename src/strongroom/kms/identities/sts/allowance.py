"""How much strangers may fail in a second: what nobody signed must not take a worker's time from those who sign.

Beyond it, callers without a signature are told to come again, which their SDKs do by themselves.

Invariants:
- Each source has an allowance of its own, so that one that floods locks itself out and nobody else. A source is the address
  that a connection comes from; of IPv6 the network of 64 bits, of which whoever has one address has all.
- All sources together have one, too. A source for which a provider vouched before is not bound by it: however many strangers
  there are, the pods that are known are served.
- What is remembered is bounded: of a second, as many sources as may fail in it; of the known ones, those seen last.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import Final

# Ours: a tenth of a worker's time at the costliest, which is one ES256 verification (110 us of CPU).
FAILURES_PER_S_MAX: Final = 1_000
# Ours: so that a source cannot even use a second up for the strangers beside it; a proxy in front of many is one source.
FAILURES_PER_SOURCE_MAX: Final = 250
# Nodes of a large cluster; 200 bytes each.
KNOWN_MAX: Final = 4_096
# Taking a form of 64 KiB of escapes apart takes 3.4 ms: so many bytes count as one failure more.
_FORM_BYTES_PER_FAILURE: Final = 2_048
_NETWORK_BITS: Final = 64


class Allowance:
    """Of one worker."""

    __slots__ = ("_failures", "_failures_max", "_failures_of", "_known", "_of_one_max", "_second")

    def __init__(self, failures_max: int = FAILURES_PER_S_MAX, of_one_max: int = FAILURES_PER_SOURCE_MAX) -> None:
        self._failures_max: Final = failures_max
        self._of_one_max: Final = of_one_max
        # Of the second that is now: of all, and by source.
        self._second = 0
        self._failures = 0
        self._failures_of: dict[str, int] = {}
        self._known: Final[OrderedDict[str, None]] = OrderedDict()

    def is_spent(self, address: str, now_s: float) -> bool:
        if int(now_s) != self._second:
            return False
        source = _source_of(address)
        if self._failures_of.get(source, 0) >= self._of_one_max:
            return True
        return self._failures >= self._failures_max and source not in self._known

    def spend(self, address: str, now_s: float, form_bytes: int) -> None:
        """Note a failure, of a form of so many bytes."""
        second, source = int(now_s), _source_of(address)
        if second != self._second:
            self._second, self._failures, self._failures_of = second, 0, {}
        cost = 1 + form_bytes // _FORM_BYTES_PER_FAILURE
        self._failures_of[source] = self._failures_of.get(source, 0) + cost
        if source not in self._known:
            self._failures += cost

    def note_known(self, address: str) -> None:
        """A provider vouched for somebody who came from there."""
        source = _source_of(address)
        self._known[source] = None
        self._known.move_to_end(source)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)


def _source_of(address: str) -> str:
    """The address, or the part of it that its owner cannot choose."""
    try:
        parsed = ip_address(address)
    except ValueError:  # A socket without one.
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    mapped = parsed.ipv4_mapped
    return f"{int(parsed) >> _NETWORK_BITS:x}" if mapped is None else str(mapped)
