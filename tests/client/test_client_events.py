"""Server-sent events are cut out of a body however it arrives."""

from __future__ import annotations

import time
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isc.client.bodies import UnreadableError
from isc.client.events import EventReader

LINE = st.binary(max_size=8).map(lambda text: text.replace(b"\n", b"").replace(b"\r", b""))
EVENT = st.lists(LINE, min_size=1, max_size=3).filter(lambda lines: b"\n".join(lines).strip() != b"[DONE]")
NOISE = st.sampled_from([b": a comment", b"event: message", b"id: 7", b"retry", b"database: 7", b":"])
END = st.sampled_from([b"\n", b"\r\n", b"\r"])


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A body and the data of its events, which are lists of lines in it."""
    events, body = draw(st.lists(EVENT, max_size=4)), b""
    for lines in events:
        for line in lines:
            for noise in draw(st.lists(NOISE, max_size=1)):
                body += noise + draw(END)
            space = b" " if line.startswith(b" ") else draw(st.sampled_from([b"", b" "]))
            body += b"data:" + space + line + draw(END)
        body += b"\n" * draw(st.integers(1, 2))  # after CR this may be the rest of its end: two are enough
        body += b"\n"
    return body, [b"\n".join(lines) for lines in events]


@given(body=bodies(), places=st.lists(st.integers(0, 200), max_size=20), rest=st.sampled_from([b"", b"data: 7\n"]))
def test_events_are_the_same_however_a_body_arrives(
    body: tuple[bytes, list[bytes]], places: list[int], rest: bytes
) -> None:
    """And an event without its blank line is none."""
    whole = body[0] + rest
    ends = sorted({place % (len(whole) + 1) for place in places} | {0, len(whole)})
    reader = EventReader(bound=1000)
    read = [data for start, end in pairwise(ends) for data in reader.feed(whole[start:end])]
    assert read == body[1]
    assert reader.has_read == bool(body[1])


def test_nothing_comes_after_the_end() -> None:
    reader = EventReader(bound=40)
    assert [*reader.feed(b"data: 1\n\ndata: [DONE]\n\ndata: 2\n\n"), *reader.feed(b"x" * 100)] == [b"1"]
    assert reader.is_done


@pytest.mark.parametrize("piece", [b"data: 12345", b"x" * 50, b"data:\n" * 20])
def test_what_is_kept_of_an_event_is_bounded(piece: bytes) -> None:
    reader = EventReader(bound=64)
    with pytest.raises(UnreadableError, match="more than 64 bytes"):
        assert [data for _ in range(30) for data in reader.feed(piece)] == []


def test_comments_and_other_fields_are_not_kept() -> None:
    reader = EventReader(bound=1 << 20)
    tracemalloc.start()
    for _ in range(2000):
        assert list(reader.feed(b": " + b"x" * 10_000 + b"\nid: 7\n\n")) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 18


def test_an_event_that_comes_byte_by_byte_costs_what_its_bytes_cost() -> None:
    """Were it copied at every byte, these would be 45 GB."""
    reader, start = EventReader(bound=1 << 20), time.process_time()
    for _ in range(300_000):
        assert list(reader.feed(b"x")) == []
    assert time.process_time() - start < 10
