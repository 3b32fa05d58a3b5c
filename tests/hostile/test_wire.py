"""What no client sends, on real sockets to a running service: nobody is answered who did not ask, and no other notices."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from fuzz.campaign import complaints
from hostile import asking, streams
from hostile.asking import FORM_HEADERS, Signed, WireError, answers_of, judge, signed, signed_form
from hostile.faulty_edges import FAULTY, serving
from hostile.reading import End, read
from hostile.shapes import SHAPES
from strongroom.kms.wire.http import HttpConnection
from testkit.installation import Installation
from testkit.raw import Raw, RawKms, ask_iam, assert_allowed, nothing_breaks, raw_request, signed_headers

STREAMS, LONG_STREAMS, CAMPAIGN_STREAMS = 5_000, 100_000, 250_000


@pytest.fixture
def port(installation: Installation) -> Iterator[int]:
    """Of a service that is the same process afterwards, made no key and no user, and said nothing of an exception."""
    made, said = _made(installation), complaints(installation)
    with nothing_breaks(installation):
        yield installation.port
    assert complaints(installation) == said
    assert _made(installation) == made


def _made(installation: Installation) -> set[str]:
    keys = assert_allowed(RawKms(installation).call("ListKeys", {"Limit": 1000}))["Keys"]
    users = ask_iam(installation, "ListUsers", PathPrefix="/hidden/")["Users"]
    return {key["KeyId"] for key in keys} | {user["UserName"] for user in users}


# ── the shapes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def answers_to_shape(port: int, name: str, protocol: str) -> list[str]:
    """How a shape is answered; its hidden request would make a key, or a user."""
    make_honest, make_hidden = PROTOCOLS[protocol]
    behind, hidden = make_honest(port, 1), make_hidden(port)
    stream = SHAPES[name][0].replace(b"{half}", b"%d" % (len(hidden) // 2)).replace(b"{whole}", b"%d" % len(hidden))
    stream = stream.replace(b"{hidden}", hidden).replace(b"{next}", behind.text)
    return await judge(port, stream, [behind])


def _hidden_key(port: int) -> bytes:
    with Raw(port) as raw:
        return raw.request("CreateKey", {"Description": "hidden"})


def _hidden_user(port: int) -> bytes:
    body = b"Action=CreateUser&Version=2010-05-08&Path=%2Fhidden%2F&UserName=hidden"
    return raw_request(signed_headers(f"127.0.0.1:{port}", body, FORM_HEADERS, service="iam"), body)


# Of each protocol: an honest request, and one that would leave something behind.
PROTOCOLS: Final[dict[str, tuple[Callable[[int, int], Signed], Callable[[int], bytes]]]] = {
    "JSON": (signed, _hidden_key),
    "Query": (signed_form, _hidden_user),
}


async def require_shape(port: int, name: str, protocol: str) -> None:
    told, due = await answers_to_shape(port, name, protocol), SHAPES[name][1]
    if told != due and told not in EITHER.get(tuple(due), ()):
        raise WireError(f"{name}: {told} instead of {due}")


# Where either of two refusals will do, both stand there.
EITHER: Final = {("400", "413"): (["400"], ["413"]), ("400", "405"): (["400"], ["405"])}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_of_smuggling_is_answered_as_one_request_or_none(port: int, name: str, protocol: str) -> None:
    asyncio.run(require_shape(port, name, protocol))


# ── pieces ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_requests_are_two_wherever_they_are_cut(port: int) -> None:
    async def scene() -> None:
        pair = [signed(port, 1), signed_form(port, 2)]
        stream = b"".join(one.text for one in pair)
        cuts = range(1, len(stream))
        limit = asyncio.Semaphore(streams.CONNECTIONS)

        async def cut(at: int) -> list[str]:
            async with limit:
                return await judge(port, stream, pair, [stream[:at], stream[at:]])

        assert await asyncio.gather(*map(cut, cuts)) == [["tag", "tag"]] * len(cuts)

    asyncio.run(scene())


def test_slow_bytes_of_many_hold_nobody_up(port: int) -> None:
    """Each sends one byte, then all the others do; between them an honest request is answered every time."""

    async def scene() -> None:
        slow = [signed(port, number) for number in range(20)]
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in slow]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        honest = signed(port, 99)
        for at in range(max(len(one.text) for one in slow)):
            for one, (_, to_service) in zip(slow, opened, strict=True):
                to_service.write(one.text[at : at + 1])
            if at % 10 == 0:
                writer.write(honest.text)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                assert honest.tag in await reader.readexactly(length)
        for one, (from_service, to_service) in zip(slow, opened, strict=True):
            to_service.write_eof()
            (told,) = answers_of(await from_service.read())
            assert told.tags == [one.tag]
            to_service.close()
        writer.close()

    asyncio.run(scene())


# ── whatever a seed decides ─────────────────────────────────────────────────────────────────────────────────────────────


def require_streams(port: int, seed: int, number: int) -> Counter[str]:
    found = asyncio.run(streams.ask(port, seed, number))
    print(f"seed {seed}: {number} streams, {dict(found)}")
    # Both honest requests and refusals are among them.
    assert found["tag"] * 10 > number
    assert found["400"] * 4 > number
    return found


def test_no_changed_stream_is_answered_but_for_what_it_asks(port: int) -> None:
    require_streams(port, 1, STREAMS)


@pytest.mark.long
def test_no_changed_stream_of_many_is_answered_but_for_what_it_asks(port: int) -> None:
    require_streams(port, 2, LONG_STREAMS)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(101, 105))
def test_no_changed_stream_of_a_million_is_answered_but_for_what_it_asks(port: int, seed: int) -> None:
    require_streams(port, seed, CAMPAIGN_STREAMS)


# ── the check itself ────────────────────────────────────────────────────────────────────────────────────────────────────


async def everything(connection: type[HttpConnection]) -> None:
    async with serving(connection) as port:
        for name in SHAPES:
            for protocol in PROTOCOLS:
                await require_shape(port, name, protocol)
        await streams.ask(port, 4, 1_000)


def test_an_edge_without_a_fault_passes() -> None:
    asyncio.run(everything(HttpConnection))


@pytest.mark.parametrize("connection", FAULTY)
def test_an_edge_with_a_fault_is_found(connection: type[HttpConnection], monkeypatch: pytest.MonkeyPatch) -> None:
    if "not closed" in FAULTY[connection]:
        monkeypatch.setattr(asking, "ANSWER_S_MAX", 3.0)
    with pytest.raises(WireError, match=FAULTY[connection]):
        asyncio.run(everything(connection))


def test_the_judge_reads_as_the_rfc_says() -> None:
    one = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    assert [len(asked) for asked, _ in map(read, (one, one * 3, b"", b"\r\n" + one))] == [1, 3, 0, 1]
    assert read(one * 2)[1] is End.WHOLE
    assert read(one[:-1]) == ([], End.INCOMPLETE)
    assert read(one.replace(b"\r\nC", b"\r\nConnection: close\r\nC") + one)[1] is End.CLOSED
    assert read(one + one.replace(b"\r\nC", b"\r\n C")) == (read(one)[0], End.BROKEN)
    assert read(one.replace(b"2", b"2\r\nTransfer-Encoding: chunked"))[1] is End.BROKEN
    assert read(one.replace(b"Host", b"Ghost"))[1] is read(one.replace(b"2", b"2\r\nhost: x"))[1] is End.BROKEN
