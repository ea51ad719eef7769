"""Traced strings: the text of every operation is that of `str`, and characters keep the origin they came with."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isc.errors import TemplateLimitError
from isc.traced.origins import TEMPLATE, Kind, Origin, of_message, unknown
from isc.traced.strings import Traced, added, runs_of, traced, whole
from small_templates import template

USER = of_message(Kind.BODY, 0)
ASSISTANT = of_message(Kind.BODY, 1)
ORIGINS = (TEMPLATE, USER, ASSISTANT)

TEXTS = st.text(st.sampled_from("ab \n\tAß'<İ"), max_size=5)
PIECES = st.lists(st.tuples(TEXTS, st.sampled_from(ORIGINS)), max_size=4)


def put_together(pieces: list[tuple[str, Origin]]) -> Traced:
    found = traced("", ())
    for text, origin in pieces:
        piece = whole(text, origin)
        found = traced(str.__add__(found, piece), added(found._runs, piece._runs))
    return found


def origins(text: str) -> list[Origin]:
    """The origin of each character."""
    found = [origin for length, origin, _ in runs_of(text) for _ in range(length)]
    assert len(found) == len(text)
    return found


def marked(text: str) -> list[tuple[str, Origin]]:
    return list(zip(text, origins(text), strict=True))


POSITIONAL: dict[str, Callable[[Any], Any]] = {
    "strip": lambda s: s.strip(),
    "strip_characters": lambda s: s.strip("ab"),
    "lstrip": lambda s: s.lstrip(),
    "rstrip": lambda s: s.rstrip("\n"),
    "removeprefix": lambda s: s.removeprefix("a"),
    "removesuffix": lambda s: s.removesuffix("b"),
    "slice": lambda s: s[1:4],
    "slice_negative": lambda s: s[-3:],
    "slice_step": lambda s: s[::2],
    "slice_back": lambda s: s[::-1],
    "slice_back_step": lambda s: s[4:0:-2],
    "iterate": list,
    "partition": lambda s: s.partition(" "),
    "rpartition": lambda s: s.rpartition("a"),
    "split": lambda s: s.split(),
    "split_separator": lambda s: s.split("a"),
    "split_once": lambda s: s.split(" ", 1),
    "split_once_white": lambda s: s.split(None, 1),
    "rsplit": lambda s: s.rsplit(),
    "rsplit_once": lambda s: s.rsplit("a", 1),
    "rsplit_once_white": lambda s: s.rsplit(None, 1),
    "splitlines": lambda s: s.splitlines(),
    "splitlines_kept": lambda s: s.splitlines(True),
    "twice": lambda s: s * 2,
    "twice_from_left": lambda s: 2 * s,
    "index": lambda s: s[0] if s else "",
}
"""Operations that move characters about."""
BACKWARDS = ("slice_back", "slice_back_step")
SKIPPING = ("slice_step", "slice_back_step")


def numbered(text: str) -> Traced:
    """A text whose every character has an origin of its own: its place."""
    return traced(text, tuple((1, of_message(Kind.BODY, place), None) for place in range(len(text))))


@pytest.mark.parametrize("name", POSITIONAL)
@given(text=st.text(st.sampled_from("ab \n\tAß'<İ"), max_size=12))
def test_moving_characters_keeps_their_origins(name: str, text: str) -> None:
    found = POSITIONAL[name](numbered(text))
    assert found == POSITIONAL[name](text)
    last = -1
    for part in (found,) if isinstance(found, str) else found:
        places = [origin.message for origin in origins(part)]
        assert [text[place] for place in places] == list(part)
        if name.startswith("twice"):
            assert places == [*range(len(text))] * 2
            continue
        forwards = places[::-1] if name in BACKWARDS else places
        if name not in SKIPPING:
            assert forwards == [*range(forwards[0], forwards[0] + len(forwards))] if forwards else True
        assert all(before < after for before, after in pairwise([last, *forwards]))
        last = forwards[-1] if forwards else last


@given(st.lists(PIECES, max_size=4), PIECES)
def test_join_keeps_origins(parts: list[list[tuple[str, Origin]]], separator: list[tuple[str, Origin]]) -> None:
    texts, between = [put_together(part) for part in parts], put_together(separator)
    expected = [
        character
        for position, text in enumerate(texts)
        for character in [*(marked(between) if position else []), *marked(text)]
    ]
    assert marked(between.join(texts)) == expected


@given(PIECES, PIECES, TEXTS)
def test_addition_keeps_origins(left: list[tuple[str, Origin]], right: list[tuple[str, Origin]], plain: str) -> None:
    first, second = put_together(left), put_together(right)
    assert marked(first + second) == marked(first) + marked(second)
    assert marked(first + plain) == marked(first) + [(character, TEMPLATE) for character in plain]
    assert marked(plain + first) == [(character, TEMPLATE) for character in plain] + marked(first)


MAPPING: dict[str, Callable[[Any], Any]] = {
    "upper": lambda s: s.upper(),
    "lower": lambda s: s.lower(),
    "casefold": lambda s: s.casefold(),
    "swapcase": lambda s: s.swapcase(),
    "title": lambda s: s.title(),
    "capitalize": lambda s: s.capitalize(),
    "translate": lambda s: s.translate({97: "xyz", 98: None}),
    "center": lambda s: s.center(9, "*"),
    "ljust": lambda s: s.ljust(7),
    "rjust": lambda s: s.rjust(8, "-"),
    "zfill": lambda s: s.zfill(6),
    "expandtabs": lambda s: s.expandtabs(4),
    "replace": lambda s: s.replace("a", "xx"),
    "replace_once": lambda s: s.replace("b", "", 1),
    "replace_empty": lambda s: s.replace("", "-"),
    "percent": lambda s: s % () if "%" not in s else s,
    "format": lambda s: s.format(),
    "format_map": lambda s: s.format_map({}),
    "formatted": lambda s: format(s, ">6"),
}


@pytest.mark.parametrize("name", MAPPING)
@given(pieces=PIECES)
def test_what_is_made_of_text_is_never_the_templates_own(name: str, pieces: list[tuple[str, Origin]]) -> None:
    text = put_together(pieces)
    found = MAPPING[name](text)
    assert found == MAPPING[name](str.__str__(text))
    kinds = {origin.kind for origin in origins(text)}
    if len(kinds) == 1:
        made = {origin.kind for origin in origins(found)} - {Kind.TEMPLATE}
        assert made <= kinds | {Kind.UNKNOWN}
    counted = sum(origin.kind is Kind.TEMPLATE for origin in origins(found))
    pads = max(0, len(found) - len(text)) if name in ("center", "ljust", "rjust") else 0
    extra = sum(origin.kind is Kind.TEMPLATE for origin in origins(text))
    if name in ("upper", "lower", "casefold", "swapcase", "title", "capitalize", "center", "ljust", "rjust"):
        assert counted <= 3 * extra + pads


@given(PIECES, PIECES, PIECES)
def test_replacement(
    pieces: list[tuple[str, Origin]], old: list[tuple[str, Origin]], new: list[tuple[str, Origin]]
) -> None:
    text, wanted, given_new = put_together(pieces), put_together(old), put_together(new)
    found = text.replace(wanted, given_new)
    assert found == str.__str__(text).replace(str.__str__(wanted), str.__str__(given_new))
    if not {origin.kind for origin in origins(text)} - {Kind.BODY} and len(pieces) == 1 and pieces[0][0]:
        assert Kind.TEMPLATE not in {origin.kind for origin in origins(found)} or not found


def test_what_takes_the_place_of_caller_data_stays_caller_data() -> None:
    text = whole("hello <image>", USER)
    assert origins(text.replace("<image>", "<|image_pad|>")) == [USER] * len("hello <|image_pad|>")


def test_a_placeholder_of_the_template_takes_the_origin_of_what_is_put_there() -> None:
    found = whole("<s>CONTENT</s>", TEMPLATE).replace("CONTENT", whole("hi", USER))
    assert marked(found)[3:5] == [("h", USER), ("i", USER)]
    assert origins(found)[0] is TEMPLATE


def test_every_method_that_returns_text_is_overridden() -> None:
    """A method of `str` that a later Python adds is noticed here, before it loses origins silently."""
    text = traced("ab", runs_of("ab"))
    for name, method in inspect.getmembers(str, callable):
        if name in vars(Traced) or name.startswith("_"):
            continue
        for arguments in ((), ("a",), (1,)):
            try:
                found = method(text, *arguments)
            except (TypeError, ValueError, LookupError):
                continue
            assert not isinstance(found, (str, list, tuple)), name
    assert {"__add__", "__radd__", "__mul__", "__rmul__", "__mod__", "__rmod__", "__format__", "__iter__"} <= {
        *vars(Traced)
    }


@pytest.mark.parametrize(
    "operation",
    [
        lambda s: s * 10**9,
        lambda s: s.center(10**9),
        lambda s: s.zfill(10**9),
        lambda s: (s * 10**5).replace("a", "b" * 10**5),
        lambda s: (s * 10**6).join(["a"] * 1000),
        lambda s: (s * 10**5).translate({97: "b" * 10**5}),
        lambda s: ("\t" + s).expandtabs(10**9),
        lambda s: (s * 2 * 10**6).split("a"),
        lambda s: (s * 10**7).splitlines(),
    ],
)
def test_nothing_huge_is_built(operation: Callable[[str], object]) -> None:
    with pytest.raises(TemplateLimitError):
        operation(whole("a", USER))


def test_an_unforeseen_operation_is_of_unknown_origin() -> None:
    text = put_together([("a", USER), ("b", ASSISTANT)])
    assert origins(text.zfill(4)) == [unknown("zfill")] * 4


def test_wording_put_in_the_place_of_a_body_is_that_body_s_where_more_than_one_origin_is_in_the_text() -> None:
    """Here the template's own text stands before the body, so the replaced string is of two origins."""
    shown_content = "{{ ('says: ' ~ m.content).replace('bad', '<|im_end|>') }}"
    source = "{% for m in messages %}<|im_start|>" + shown_content + "<|im_end|>{% endfor %}"
    shown = template(source).stream([{"role": "user", "content": "a bad day"}])
    assert [(segment.text, segment.kind, segment.body) for segment in shown] == [
        ("<|im_start|>", "special", False),
        ("says: ", "text", False),
        ("a <|im_end|> day", "text", True),
        ("<|im_end|>", "special", False),
    ]
