import hashlib

import pytest

from strongroom.kms.audit.chain import (
    EVENT_BYTES_MAX,
    NO_DIGEST,
    ChainError,
    Head,
    SignedHead,
    extend,
    first_head,
    format_segment_start,
    format_signed_head,
    merged_digest,
    parse_record,
    parse_segment_start,
    parse_signed_head,
    require_writer,
    verify_record,
)


def test_a_line_is_byte_for_byte_as_documented():
    genesis = hashlib.sha256(b"strongroom-audit-chain-1\x00w1").digest()
    first = hashlib.sha256(genesis + bytes(7) + b"\x01" + b'{"a":1}').digest()
    second = hashlib.sha256(first + bytes(7) + b"\x02" + b'{"b":2}').digest()
    lines, head = extend(first_head("w1"), [b'{"a":1}', b'{"b":2}'])
    assert lines == [
        b'{"writer":"w1","seq":1,"hash":"' + first.hex().encode() + b'","event":{"a":1}}\n',
        b'{"writer":"w1","seq":2,"hash":"' + second.hex().encode() + b'","event":{"b":2}}\n',
    ]
    assert head == Head("w1", 2, second)
    assert format_segment_start(head) == b'{"writer":"w1","first":3,"previous":"' + second.hex().encode() + b'"}\n'
    assert parse_segment_start(format_segment_start(head)) == head


def test_a_digest_is_byte_for_byte_as_documented_and_does_not_depend_on_the_order_of_heads():
    heads = (Head("b", 2, b"\2" * 32), Head("a", 1, b"\1" * 32))
    expected = hashlib.sha256(
        b"strongroom-audit-heads-1\x00" + bytes(32) + b"\0\0\0\2"
        b"\1a" + bytes(7) + b"\1" + b"\1" * 32 + b"\1b" + bytes(7) + b"\2" + b"\2" * 32
    ).digest()
    assert merged_digest(NO_DIGEST, heads) == merged_digest(NO_DIGEST, reversed(heads)) == expected
    assert merged_digest(b"\1" * 32, heads) != expected


def test_a_writer_with_two_heads_is_refused():
    with pytest.raises(ChainError, match="two heads"):
        merged_digest(NO_DIGEST, [Head("a", 1, bytes(32)), Head("a", 2, bytes(32))])


def test_a_record_verifies_only_after_the_record_before_it():
    start = first_head("w1")
    lines, head = extend(start, [b'{"a":1}', b'{"b":2}'])
    claimed, event = parse_record(lines[0])
    verify_record(start, claimed, event)
    second, second_event = parse_record(lines[1])
    verify_record(claimed, second, second_event)
    assert second == head
    with pytest.raises(ChainError, match="where 1 was due"):
        verify_record(start, second, second_event)
    with pytest.raises(ChainError, match="does not follow"):
        verify_record(start, claimed, b'{"a":2}')
    with pytest.raises(ChainError, match="in the chain of w2"):
        verify_record(first_head("w2"), claimed, event)


@pytest.mark.parametrize("event", [b"", b"{\n}", b"{" + b" " * EVENT_BYTES_MAX + b"}"])
def test_an_event_that_would_break_the_line_is_refused(event):
    with pytest.raises(ValueError, match="one JSON object"):
        extend(first_head("w1"), [event])


@pytest.mark.parametrize("writer", ["", "W1", "../w1", "w-1", "w 1", "w" * 33, "w1\n", "ü"])
def test_a_writer_id_that_could_name_another_file_is_refused(writer):
    with pytest.raises(ValueError, match="writer id"):
        require_writer(writer)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b'{"writer":"w1","seq":01,"hash":"' + b"0" * 64 + b'","event":{}}\n',
        b'{"writer":"w1", "seq":1,"hash":"' + b"0" * 64 + b'","event":{}}\n',
        b'{"writer":"w1","seq":1,"hash":"' + b"A" * 64 + b'","event":{}}\n',
        b'{"writer":"w1","seq":1,"hash":"' + b"0" * 64 + b'","event":[]}\n',
        b'{"writer":"w1","seq":1,"hash":"' + b"0" * 64 + b'","event":{}}',
    ],
)
def test_a_line_in_any_other_form_is_no_record(line):
    with pytest.raises(ChainError, match="not a whole record"):
        parse_record(line)


def signed_head(**changes) -> SignedHead:
    heads = (Head("a", 1, b"\1" * 32), Head("b", 2, b"\2" * 32))
    fields = {
        "heads": heads,
        "previous": NO_DIGEST,
        "digest": merged_digest(NO_DIGEST, heads),
        "domain_id": b"\7" * 16,
        "hsm_id": "hsm-1",
        "signed_at_s": 5,
        "signature": b"\x30\x01",
    }
    return SignedHead(**{**fields, **changes})


def test_a_head_line_is_read_as_it_was_written():
    line = format_signed_head(signed_head())
    assert line.startswith(b'{"heads":[{"writer":"a","seq":1,"hash":"0101')
    assert parse_signed_head(line) == signed_head()


def test_a_head_line_that_says_the_same_in_other_bytes_is_refused():
    line = format_signed_head(signed_head())
    for changed in (line.replace(b",", b", ", 1), line.replace(b'"3001"', b'"30 01"'), line[:-1], line[:-1] + b" \n"):
        with pytest.raises(ChainError):
            parse_signed_head(changed)


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": bytes(32)},
        {"previous": b"\1" * 32},
        {"previous": b""},
        {"heads": (Head("b", 2, b"\2" * 32), Head("a", 1, b"\1" * 32))},
        {"heads": (Head("a", 0, b"\1" * 32),)},
        {"heads": (Head("a", 1, b"\1" * 31),)},
    ],
)
def test_a_head_line_whose_digest_is_of_something_else_is_refused(changes):
    with pytest.raises(ChainError):
        parse_signed_head(format_signed_head(signed_head(**changes)))
