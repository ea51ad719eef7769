"""Parts in a render: what runs may say, masks and spans by part, what a render without them says."""

from __future__ import annotations

import msgspec
import pytest

from isc.errors import AttributionError, OptionError
from isc.rendered import RenderedTokens, Run

RUNS = (
    Run(1, -1, False),
    Run(2, 0, True, "content"),
    Run(1, 1, False),
    Run(2, 1, True, "reasoning"),
    Run(1, 1, True, "tool_call"),
    Run(1, 1, True, "tool_name"),
    Run(3, 1, True, "tool_arguments"),
    Run(1, 1, True, "close"),
    Run(2, 2, True, "tool_result"),
)
RENDERED = RenderedTokens(tuple(range(14)), RUNS, ("user", "assistant", "tool"), (None, None, "now"))


def test_masks_are_of_roles_and_parts() -> None:
    def places(*chosen: object) -> list[int]:
        return [place for place, wanted in enumerate(RENDERED.mask_for(*chosen)) if wanted]  # type: ignore[arg-type]

    assert places() == [1, 2, *range(4, 14)]
    assert places(["assistant"]) == list(range(4, 12))
    assert places(None, ["content", "tool_result"]) == [1, 2, 12, 13]
    assert places(["assistant", "user"], {"content", "reasoning", "close"}) == [1, 2, 4, 5, 11]
    assert places(["user"], ["reasoning"]) == []
    assert RENDERED.mask_for(roles=["tool"]) == RENDERED.content_mask_for_roles(["tool"])


def test_who_selects_a_call_gets_its_name_and_arguments() -> None:
    assert [k for k, wanted in enumerate(RENDERED.mask_for(parts=["tool_call"])) if wanted] == [6, 7, 8, 9, 10]
    assert [k for k, wanted in enumerate(RENDERED.mask_for(parts=["tool_name"])) if wanted] == [7]


def test_spans_are_of_the_innermost_part_and_never_cross_a_message() -> None:
    assert RENDERED.part_spans() == {
        "content": ((1, 3),),
        "reasoning": ((4, 6),),
        "tool_call": ((6, 7),),
        "tool_name": ((7, 8),),
        "tool_arguments": ((8, 11),),
        "close": ((11, 12),),
        "tool_result": ((12, 14),),
    }
    assert RENDERED.part_spans(0) == {"content": ((1, 3),)}
    two = RenderedTokens(
        (1, 2), (Run(1, 0, True, "content"), Run(1, 1, True, "content")), ("user", "user"), (None, None)
    )
    assert two.part_spans() == {"content": ((0, 1), (1, 2))}


def test_a_render_without_parts_says_how_to_ask_for_them() -> None:
    plain = RenderedTokens((1,), (Run(1, 0, True),), ("user",), (None,))
    assert not plain.has_parts
    for asked in (plain.part_spans, lambda: plain.mask_for(parts=["content"])):
        with pytest.raises(OptionError, match="parts=True"):
            asked()
    assert RENDERED.has_parts
    assert RenderedTokens((1,), (Run(1, -1, False),)).part_spans() == {}


@pytest.mark.parametrize("parts", [["cntent"], "content", [None], [["content"]]])
def test_what_is_no_part_is_refused(parts: list[str]) -> None:
    with pytest.raises(OptionError, match="part"):
        RENDERED.mask_for(parts=parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        (Run(1, 0, False, "content"), "content is a part of a body, and this is none"),
        (Run(1, -1, True, "content"), "-1 is none"),
        (Run(1, 0, True, "text"), "a part is one of reasoning, content"),  # type: ignore[arg-type]
        (Run(1, 0, True, 7), "a part is one of reasoning, content"),  # type: ignore[arg-type]
    ],
)
def test_a_run_that_cannot_be_is_refused(run: Run, problem: str) -> None:
    with pytest.raises(AttributionError, match=problem):
        RenderedTokens((1,), (run,), ("user",), (None,))


def test_neighbours_of_one_part_are_one_run_and_of_two_parts_are_two() -> None:
    runs = (Run(1, 0, True, "content"), Run(1, 0, True, "content"), Run(1, 0, True, "close"), Run(1, 0, True))
    merged = RenderedTokens((1, 2, 3, 4), runs, ("assistant",), (None,)).runs
    assert merged == (Run(2, 0, True, "content"), Run(1, 0, True, "close"), Run(1, 0, True))
    left, right = (RenderedTokens((k,), (Run(1, 0, True, "content"),), ("assistant",), (None,)) for k in (1, 2))
    assert (left + right).runs == (Run(2, 0, True, "content"),)


def test_parts_round_trip_and_runs_of_before_parts_decode() -> None:
    assert msgspec.json.decode(msgspec.json.encode(RENDERED), type=RenderedTokens) == RENDERED
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(RENDERED), type=RenderedTokens) == RENDERED
    assert msgspec.json.decode(b"[2,0,true]", type=Run) == Run(2, 0, True)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'[2,0,true,"text"]', type=Run)
