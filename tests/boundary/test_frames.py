"""The outermost form: lengths, types, splits."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.boundary.frames import FRAME_BYTES_MAX, FrameError, FrameReader, FrameType, format_frame

frame_lists = st.lists(st.tuples(st.sampled_from(FrameType), st.binary(max_size=40)), max_size=6)


@given(frame_lists)
def test_what_was_formatted_is_read_back_in_order(frames: list[tuple[FrameType, bytes]]) -> None:
    assert FrameReader().feed(b"".join(format_frame(*frame) for frame in frames)) == frames


@given(frame_lists, st.lists(st.integers(0, 300), max_size=8))
def test_any_split_of_the_stream_gives_the_same_frames(frames: list[tuple[FrameType, bytes]], cuts: list[int]) -> None:
    stream = b"".join(format_frame(*frame) for frame in frames)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    reader = FrameReader()
    read = [frame for start, end in itertools.pairwise(places) for frame in reader.feed(stream[start:end])]
    assert read == frames


def test_a_stream_may_be_split_at_every_byte() -> None:
    frames = [(FrameType.HELLO, b"first"), (FrameType.OPEN, b""), (FrameType.COMMANDS, bytes(range(256)))]
    stream = b"".join(format_frame(*frame) for frame in frames)
    for cut in range(len(stream) + 1):
        reader = FrameReader()
        assert reader.feed(stream[:cut]) + reader.feed(stream[cut:]) == frames
    reader = FrameReader()
    assert [frame for at in range(len(stream)) for frame in reader.feed(stream[at : at + 1])] == frames


def test_the_longest_frame_passes_and_one_byte_more_does_not() -> None:
    longest = bytes(FRAME_BYTES_MAX - 1)
    framed = format_frame(FrameType.COMMANDS, longest)
    assert len(framed) == 4 + FRAME_BYTES_MAX
    assert FrameReader().feed(framed) == [(FrameType.COMMANDS, longest)]
    with pytest.raises(FrameError):
        format_frame(FrameType.COMMANDS, longest + b"x")


@pytest.mark.parametrize("length", [0, FRAME_BYTES_MAX + 1, 1 << 31, (1 << 32) - 1])
def test_a_length_outside_the_table_is_refused_before_the_body_comes(length: int) -> None:
    with pytest.raises(FrameError):
        FrameReader().feed(length.to_bytes(4, "big"))


def test_every_unknown_frame_type_is_refused() -> None:
    for number in range(256):
        data = (3).to_bytes(4, "big") + bytes((number,)) + b"ab"
        if number in set(FrameType):
            assert FrameReader().feed(data) == [(FrameType(number), b"ab")]
        else:
            with pytest.raises(FrameError):
                FrameReader().feed(data)


def test_peers_send_odd_types_and_the_hsm_even_ones() -> None:
    answers = {"CHALLENGE", "GRANT", "OPENED", "ANSWERS", "STATUS_REPORT", "CONTROL_ANSWER", "REFUSED"}
    assert {frame_type.name for frame_type in FrameType if frame_type % 2 == 0} == answers


def test_ten_thousand_random_streams_give_frames_or_a_frame_error_and_nothing_else() -> None:
    random_source = random.Random(20)
    read = refused = 0
    for _ in range(10_000):
        noise = random_source.randbytes(random_source.randrange(1, 40))
        if random_source.random() < 0.5:  # Half of them with a plausible length.
            noise = random_source.randrange(0, 8).to_bytes(4, "big") + bytes((random_source.randrange(16),)) + noise
        reader = FrameReader()
        try:
            read += len(reader.feed(noise))
        except FrameError:
            refused += 1
    assert read > 100
    assert refused > 1000
