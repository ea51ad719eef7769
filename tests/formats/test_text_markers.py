"""Markers that are text: which tokens they touch, whatever the tokens are cut into; calls of pairs between tags."""

from __future__ import annotations

import random

import pytest

from isc import testing
from isc.encoding.base import Encoder
from isc.encoding.encoders import VocabularyEncoder, embedded, from_tokenizer_json
from isc.encoding.fold import unfold
from isc.formats.reading.grammars import read_parts
from isc.formats.reading.tagged_calls import TaggedCalls
from isc.formats.reading.text_markers import cut_markers
from isc.types import Sampled, Segment, Span
from tokenizer_files import metaspace_bpe, text_of

MARKERS = ("<b>", "</b>", "\uff5c\uff5c")


def sampled(*tokens: bytes) -> Sampled:
    """One text segment of these tokens."""
    text = b"".join(tokens).decode("utf-8", "replace")
    return Sampled((Segment(text),), (0, len(tokens)), token_bytes=tokens.__getitem__)


def found(cut: Sampled) -> list[tuple[str, Span]]:
    return [(s.text, cut.span(k, k + 1)) for k, s in enumerate(cut.segments) if s.kind == "special"]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ((b"<b>",), [("<b>", (0, 1))]),
        ((b"a", b"<", b"b", b">", b"c"), [("<b>", (1, 4))]),
        ((b"a<", b"b", b">c"), [("<b>", (0, 3))]),
        ((b"x", b"a<b></b>c", b"y"), [("<b>", (1, 2)), ("</b>", (1, 2))]),
        ((b"<b", b"><", b"/b>"), [("<b>", (0, 2)), ("</b>", (1, 3))]),
        ((b"", b"<b", b"", b">", b""), [("<b>", (1, 4))]),
        (("漢".encode(), b"<b>"), [("<b>", (1, 2))]),
        (("漢".encode()[:1], "漢".encode()[1:] + b"<", b"b>"), [("<b>", (1, 3))]),
        ((b"\xe6", b"\xe6", b"<b>", b"\xff"), [("<b>", (2, 3))]),
        ((b"\xe6\xbc", b"<b", b">\xe6"), [("<b>", (1, 3))]),
        (("\ufffd".encode(), b"<b>"), [("<b>", (1, 2))]),
        ((b"a\xef", b"\xbd", b"\x9c\xef\xbd", b"\x9c", b"b"), [("\uff5c\uff5c", (0, 4))]),
        ((b"\xe6", b"\xef\xbd", b"\x9c\xef\xbd\x9c"), [("\uff5c\uff5c", (1, 3))]),
        ((b"a<b", b"c"), []),
    ],
)
def test_a_marker_has_every_token_that_it_touches(tokens: tuple[bytes, ...], expected: list[tuple[str, Span]]) -> None:
    cut = cut_markers(sampled(*tokens), MARKERS)
    assert found(cut) == expected
    assert "".join(s.text for s in cut.segments) == sampled(*tokens).segments[0].text


def test_without_the_bytes_of_tokens_a_marker_has_all_of_its_text() -> None:
    cut = cut_markers(Sampled((Segment("a<b>"), Segment("<b>", "special")), (0, 3, 4)), MARKERS)
    assert found(cut) == [("<b>", (0, 3)), ("<b>", (3, 4))]


def test_tokens_that_say_less_alone_than_together_leave_spans_inside_the_ids() -> None:
    cut = cut_markers(Sampled((Segment("a<b>"),), (0, 2), token_bytes=lambda _: b"a"), MARKERS)
    assert found(cut) == [("<b>", (1, 2))]


def test_what_holds_no_marker_asks_for_no_bytes() -> None:
    def refuse(position: int) -> bytes:
        raise AssertionError(position)

    cut = cut_markers(Sampled((Segment("a"), Segment("<b>", "special")), (0, 3, 4), token_bytes=refuse), MARKERS)
    assert (cut.segments, cut.span(0, 2)) == ((Segment("a"), Segment("<b>", "special")), (0, 4))


def metaspace() -> VocabularyEncoder:
    return from_tokenizer_json(text_of(metaspace_bpe("never")))


@pytest.mark.parametrize("encoder", [embedded(("<s>",)), testing.adversarial_encoder(("<s>",)), metaspace()])
def test_spans_hold_what_they_are_of_on_any_vocabulary(encoder: Encoder) -> None:
    """The tokens of a piece spell it, and a marker's are no more than that takes at either end."""
    pieces = ["<b>", "</b>", "\uff5c\uff5c", "漢", "\u0338", "a", " ", "\n", "<", "🏳", "b>", "<0x41>", "é"]
    specials = list(encoder.specials.values())
    for seed in range(300):
        source = random.Random(seed)
        text = "".join(source.choice(pieces) for _ in range(source.randint(1, 8)))
        ids = [int(k) for k in next(iter(encoder.encode_batch([text])))]
        for _ in range(source.randint(0, 2)):
            ids.insert(source.randint(0, len(ids)), source.choice([-3, 10**9, *specials, *ids[:1]]))
        cut = cut_markers(unfold(ids, encoder), MARKERS)
        for index, segment in enumerate(cut.segments):
            first, after = cut.span(index, index + 1)
            data = encoder.decode_bytes(ids[first:after])
            assert segment.text.encode() in data or "\ufffd" in segment.text, (seed, ids)
            if segment.kind == "special" and after - first > 1 and "\ufffd" not in segment.text:
                for fewer in (ids[first + 1 : after], ids[first : after - 1]):
                    assert len(encoder.decode_bytes(fewer)) < len(data), (seed, "a token without a byte at an end")


CALLS: dict[str, tuple[str, list[tuple[str, str | None, object]], str]] = {
    "as rendered": ("say<c>f<k>a</k><v>1</v><k>b</k><v>x</v></c>", [("ok", "f", {"a": 1, "b": "x"})], "say"),
    "white space between": ("<c>f\n<k>a</k>\n<v> 1x </v>\n</c>\n", [("ok", "f", {"a": " 1x "})], "\n"),
    "no pairs": ("<c>f</c><c> g </c>", [("ok", "f", {}), ("ok", "g", {})], ""),
    "tags in a value": (
        "<c>f<k>a</k><v></v></c>x<k></v><k>b</v></c><c>g</c>",
        [("ok", "f", {"a": "</v></c>x<k></v><k>b"}), ("ok", "g", {})],
        "",
    ),
    "an opener in a value": ("<c>f<k>a</k><v><c>g</v></c>", [("ok", "f", {"a": "<c>g"})], ""),
    "text after a call": ("<c>f<k>a</k><v>x</v></c>then", [("ok", "f", {"a": "x"})], "then"),
    "text between calls": (
        "<c>f<k>a</k><v>x</v></c>then<c>g<k>a</k><v>y</v></c>",
        [("ok", "f", {"a": "x"}), ("ok", "g", {"a": "y"})],
        "then",
    ),
    "cut after a pair": ("<c>f<k>a</k><v>x</v>", [("unclosed_block", "f", {"a": "x"})], ""),
    "cut in a value": ("<c>f<k>a</k><v>x", [("unclosed_block", "f", None)], ""),
    "an opener in an unclosed call": ("<c>f<c>g</c>", [("unclosed_block", "f", {}), ("ok", "g", {})], ""),
    "a value left open": ("<c>f<k>a</k><v>x</c>", [("malformed_structure", "f", {"a": "x"})], ""),
    "a key alone": ("<c>f<k>a</k></c>", [("malformed_structure", "f", None)], ""),
    "text between pairs": ("<c>f<k>a</k>-<v>x</v></c>", [("malformed_structure", "f", None)], ""),
    "a key twice": ("<c>f<k>a</k><v>x</v><k>a</k><v>x</v></c>", [("malformed_structure", "f", None)], ""),
    "no name": ("<c> </c>", [("missing_name", None, {})], ""),
    "a closer alone": ("a</c><k>", [], "a</c><k>"),
}


GRAMMAR = TaggedCalls("<c>", "</c>", "", "<k>", "</k><v>", "</v>")


@pytest.mark.parametrize("attempt", CALLS)
def test_calls_of_pairs(attempt: str) -> None:
    text, expected, content = CALLS[attempt]
    parts = read_parts(sampled(*(character.encode() for character in text)), None, GRAMMAR)
    assert [(call.status, call.name, call.arguments) for call in parts.calls] == expected
    assert "".join(parts.pieces) == content
    for call in parts.calls:
        start, end = call.token_span
        assert text[start:end] == "<c>" + call.raw + ("" if call.status == "unclosed_block" else "</c>")


def test_thousands_of_calls_left_open_are_kept() -> None:
    assert len(read_parts(sampled(b"<c>f<k>a</k><v>" * 5_000), None, GRAMMAR).calls) == 5_000
