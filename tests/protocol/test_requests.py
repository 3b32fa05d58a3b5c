"""Header names are worked out once per list, whoever sends it."""

from __future__ import annotations

import tracemalloc

from strongroom.protocol import requests
from strongroom.protocol.requests import header_names, http_request


def test_the_same_list_of_names_is_the_same_object_and_another_order_or_spelling_is_another():
    first = header_names((b"Host", b"X-Amz-Date"))
    assert header_names((b"Host", b"X-Amz-Date")) is first
    assert header_names((b"X-Amz-Date", b"Host")) is not first
    assert header_names((b"host", b"X-Amz-Date")) is not first


def test_a_name_is_found_without_case_and_the_last_of_several_counts():
    request = http_request("POST", b"/", [(b"Host", b"a"), (b"X-AMZ-Target", b"b"), (b"host", b"c")], b"")
    assert (request.value_of(b"host"), request.value_of(b"x-amz-target"), request.value_of(b"date")) == (
        b"c",
        b"b",
        None,
    )
    assert not request.names.are_unique
    assert request.headers == [(b"Host", b"a"), (b"X-AMZ-Target", b"b"), (b"host", b"c")]


def test_strangers_cannot_make_us_remember_without_bound():
    for number in range(3 * requests._LISTS_KEPT_MAX):
        header_names((b"Host", b"X-%d" % number))
        header_names((b"Host", b"X-%d" % number * 1000))
    assert len(requests._known) <= requests._LISTS_KEPT_MAX
    assert all(names.size_bytes <= requests._LIST_BYTES_KEPT_MAX for names in requests._known.values())


def test_what_is_remembered_is_bounded_in_memory_and_not_only_in_bytes_of_names():
    """Names of two letters are small, and what they are kept in is not."""
    requests._known.clear()
    names = [bytes((first, second)) for first in b"abcdefghijklmnopqrstuvwxyz" for second in b"0123456789-_"]
    tracemalloc.start()
    try:
        for number in range(requests._LISTS_KEPT_MAX):
            header_names((b"x-%d" % number, *names))
            header_names(tuple(b"%d-%d-%b" % (number, place, b"n" * 22) for place in range(64)))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        requests._known.clear()
    assert held < 13 << 20, "the figure of the comment beside the limits"
