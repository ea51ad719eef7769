"""RenderedTokens: what cannot be constructed, and what every method says, against a count token by token."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import force_setattr

import isc
from isc import PlaceholderRange, RenderedTokens, Run

ROLES = ("system", "developer", "user", "assistant", "tool")
Column = tuple[int, int, bool]


@st.composite
def renders(draw: st.DrawFn, roles: Sequence[str] | None = None) -> RenderedTokens:
    """Any value that can exist: owners in any order, messages without tokens, the same role often."""
    table = draw(st.lists(st.sampled_from(ROLES), max_size=5)) if roles is None else list(roles)
    names = draw(st.tuples(*(st.sampled_from([None, "tool"]) for _ in table)))
    owners = [(-1, False), *((k, body) for k in range(len(table)) for body in (False, True))]
    token = st.tuples(st.integers(0, 300_000), st.sampled_from(owners))
    tokens = draw(st.lists(token, max_size=30))
    ids, indices, content = ([k for k, _ in tokens], [m for _, (m, _) in tokens], [b for _, (_, b) in tokens])
    return RenderedTokens.from_columns(ids, indices, content, table, names)


def _columns(rendered: RenderedTokens) -> list[Column]:
    return list(zip(rendered.token_ids, rendered.message_indices, rendered.is_content, strict=True))


def _spans(flags: Sequence[object]) -> list[tuple[int, int]]:
    """Where neighbours that are true and equal stand, token by token."""
    found: list[tuple[int, int]] = []
    for position, flag in enumerate(flags):
        if flag and position and flags[position - 1] == flag:
            found[-1] = (found[-1][0], position + 1)
        elif flag:
            found.append((position, position + 1))
    return found


EXAMPLE = RenderedTokens(
    (1, 2, 3, 4, 5, 6),
    (Run(1, -1, False), Run(1, 0, False), Run(2, 0, True), Run(2, 1, True)),
    ("user", "assistant"),
    (None, None),
)

INCONSISTENT: dict[str, tuple[Callable[[], RenderedTokens], str]] = {
    "too few tokens in runs": (lambda: RenderedTokens((1, 2), (Run(1, -1, False),)), "runs cover 1 tokens"),
    "too many tokens in runs": (lambda: RenderedTokens((1,), (Run(2, -1, False),)), "runs cover 2 tokens"),
    "no runs": (lambda: RenderedTokens((1,), ()), "runs cover 0 tokens, but there are 1 token_ids"),
    "an empty run": (lambda: RenderedTokens((), (Run(0, -1, False),)), "a run has at least one token"),
    "a negative run": (lambda: RenderedTokens((1,), (Run(2, -1, False), Run(-1, 0, False)), ("user",), (None,)), "run"),
    "an owner that does not exist": (lambda: RenderedTokens((1,), (Run(1, 0, False),)), "there is no message 0"),
    "an owner below nobody": (lambda: RenderedTokens((1,), (Run(1, -2, False),)), "there is no message -2"),
    "body of nobody": (lambda: RenderedTokens((1,), (Run(1, -1, True),)), "body belongs to a message"),
    "no names for roles": (lambda: RenderedTokens((), (), ("user",)), "0 message_tool_names for 1 message_roles"),
    "columns of other lengths": (lambda: RenderedTokens.from_columns([1, 2], [-1], [False], []), "differ in length"),
    "a column of an absent owner": (lambda: RenderedTokens.from_columns([1], [1], [True], ["user"]), "no message 1"),
}


@pytest.mark.parametrize("name", INCONSISTENT)
def test_an_inconsistent_value_cannot_be_constructed(name: str) -> None:
    construct, problem = INCONSISTENT[name]
    with pytest.raises(isc.AttributionError, match=problem):
        construct()


BAD_JSON = {
    "runs that do not add up": '{"token_ids":[1,2],"runs":[[1,-1,false]]}',
    "an owner that does not exist": '{"token_ids":[1],"runs":[[1,3,true]]}',
    "an empty run": '{"token_ids":[],"runs":[[0,-1,false]]}',
    "a run that is not one": '{"token_ids":[1],"runs":[[1]]}',
    "ids that are text": '{"token_ids":["1"],"runs":[[1,-1,false]]}',
    "no runs": '{"token_ids":[1]}',
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_an_inconsistent_value_cannot_be_decoded(name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(BAD_JSON[name], type=RenderedTokens)
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(msgspec.json.decode(BAD_JSON[name])), type=RenderedTokens)


def test_an_inconsistent_value_cannot_be_unpickled() -> None:
    forced = copy.copy(EXAMPLE)
    force_setattr(forced, "token_ids", (1,))
    with pytest.raises(isc.AttributionError, match="runs cover 6 tokens"):
        pickle.loads(pickle.dumps(forced))


def test_a_value_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        EXAMPLE.token_ids = (1,)  # type: ignore[misc]


@given(rendered=renders())
def test_columns_build_the_value_they_come_from(rendered: RenderedTokens) -> None:
    again = RenderedTokens.from_columns(
        rendered.token_ids,
        rendered.message_indices,
        rendered.is_content,
        rendered.message_roles,
        rendered.message_tool_names,
    )
    assert again == rendered


@given(rendered=renders())
def test_runs_cover_the_tokens_and_neighbours_differ(rendered: RenderedTokens) -> None:
    assert sum(run.length for run in rendered.runs) == len(rendered) == len(rendered.token_ids)
    assert all((a.message, a.body) != (b.message, b.body) for a, b in pairwise(rendered.runs))


def test_neighbouring_runs_of_one_attribution_are_merged() -> None:
    runs = (*EXAMPLE.runs[:3], Run(1, 1, True), Run(1, 1, True))
    split = RenderedTokens(EXAMPLE.token_ids, runs, ("user", "assistant"), (None, None))
    assert split == EXAMPLE
    assert split.runs == EXAMPLE.runs


@given(data=st.data(), rendered=renders())
def test_a_value_is_the_sum_of_its_parts(data: st.DataObject, rendered: RenderedTokens) -> None:
    columns = _columns(rendered)
    place = data.draw(st.integers(0, len(columns)))
    first, second = (_of(part, rendered) for part in (columns[:place], columns[place:]))
    assert first + second == rendered


def _of(columns: Sequence[Column], like: RenderedTokens) -> RenderedTokens:
    ids, indices, content = ([column[k] for column in columns] for k in range(3))
    return RenderedTokens.from_columns(
        ids, indices, list(map(bool, content)), like.message_roles, like.message_tool_names
    )


@given(first=renders(("user",)), second=renders(("user", "assistant")))
def test_a_sum_has_the_longer_message_table(first: RenderedTokens, second: RenderedTokens) -> None:
    first = RenderedTokens(first.token_ids, first.runs, ("user",), (None,))
    second = RenderedTokens(second.token_ids, second.runs, ("user", "assistant"), (None, None))
    for total in (first + second, second + first):
        assert total.message_roles == ("user", "assistant")
    assert (first + second).token_ids == first.token_ids + second.token_ids


@given(first=renders(ROLES), second=renders(ROLES), third=renders(ROLES))
def test_a_sum_does_not_depend_on_its_brackets(
    first: RenderedTokens, second: RenderedTokens, third: RenderedTokens
) -> None:
    parts = [RenderedTokens(part.token_ids, part.runs, ROLES, (None,) * 5) for part in (first, second, third)]
    assert (parts[0] + parts[1]) + parts[2] == parts[0] + (parts[1] + parts[2])


def test_renders_of_other_conversations_do_not_add_up() -> None:
    other = RenderedTokens((1,), (Run(1, 0, True),), ("tool",), (None,))
    with pytest.raises(isc.AttributionError, match="message tables do not agree"):
        EXAMPLE + other


def test_media_of_renders_that_are_added_move_with_their_tokens() -> None:
    media = isc.MultiModalData({"image": ("a",)}, {"image": (PlaceholderRange(1, 2),)}, {"image": ("a.png",)})
    shown = RenderedTokens((1, 2, 3), (Run(3, -1, False),), (), (), media)
    both = (shown + RenderedTokens((9,), (Run(1, -1, False),)) + shown).multi_modal_data
    assert both == isc.MultiModalData(
        {"image": ("a", "a")},
        {"image": (PlaceholderRange(1, 2), PlaceholderRange(5, 2))},
        {"image": ("a.png", "a.png")},
    )


@pytest.mark.parametrize(
    "places",
    [[PlaceholderRange(2, 2)], [PlaceholderRange(-1, 1)], [PlaceholderRange(0, 0)], [PlaceholderRange(0, 1)] * 2],
)
def test_placeholders_stand_among_the_tokens_one_after_the_other(places: list[PlaceholderRange]) -> None:
    media = isc.MultiModalData({"image": ("a",) * len(places)}, {"image": tuple(places)})
    with pytest.raises(isc.AttributionError, match="image PlaceholderRange"):
        RenderedTokens((1, 2, 3), (Run(3, -1, False),), (), (), media)


@given(rendered=renders())
def test_sampled_is_the_body_of_assistant_messages(rendered: RenderedTokens) -> None:
    expected = [body and rendered.message_roles[message] == "assistant" for _, message, body in _columns(rendered)]
    assert list(rendered.sampled_mask) == expected


@given(rendered=renders(), sampled_only=st.booleans())
def test_tokens_per_message_counts_each_messages_tokens(rendered: RenderedTokens, sampled_only: bool) -> None:
    counted = [m for m, s in zip(rendered.message_indices, rendered.sampled_mask, strict=True) if s or not sampled_only]
    expected = tuple(counted.count(message) for message in range(len(rendered.message_roles)))
    assert rendered.tokens_per_message(sampled_only=sampled_only) == expected


@given(rendered=renders(), sampled_only=st.booleans())
def test_tokens_by_role_adds_up_messages(rendered: RenderedTokens, sampled_only: bool) -> None:
    per_message = rendered.tokens_per_message(sampled_only=sampled_only)
    found = rendered.tokens_by_role(sampled_only=sampled_only)
    assert found.keys() == set(rendered.message_roles)
    for role, count in found.items():
        assert count == sum(n for n, r in zip(per_message, rendered.message_roles, strict=True) if r == role)


@given(rendered=renders())
def test_message_spans_are_where_each_messages_tokens_stand(rendered: RenderedTokens) -> None:
    found = rendered.message_token_spans()
    assert len(found) == len(rendered.message_roles)
    for message, spans in enumerate(found):
        assert list(spans) == _spans([owner == message for owner in rendered.message_indices])


@given(rendered=renders())
def test_role_spans_never_cross_a_message(rendered: RenderedTokens) -> None:
    expected: dict[str, tuple[tuple[int, int], ...]] = {}
    for role in set(rendered.message_roles):
        spans = _spans([m + 1 if m >= 0 and rendered.message_roles[m] == role else 0 for m in rendered.message_indices])
        expected |= {role: tuple(spans)} if spans else {}
    assert rendered.role_token_spans() == expected


@given(rendered=renders())
def test_content_spans_hold_body_only_and_never_cross_a_message(rendered: RenderedTokens) -> None:
    expected: dict[str, tuple[tuple[int, int], ...]] = {}
    for role in set(rendered.message_roles):
        own = [m + 1 if b and rendered.message_roles[m] == role else 0 for _, m, b in _columns(rendered)]
        expected |= {role: tuple(_spans(own))} if any(own) else {}
    assert rendered.content_token_spans_by_role() == expected


@given(rendered=renders(), roles=st.sets(st.sampled_from(ROLES)))
def test_the_content_mask_holds_the_body_of_these_roles(rendered: RenderedTokens, roles: set[str]) -> None:
    expected = [body and rendered.message_roles[message] in roles for _, message, body in _columns(rendered)]
    assert list(rendered.content_mask_for_roles(roles)) == expected


@given(rendered=renders())
def test_a_run_comes_with_the_span_it_covers(rendered: RenderedTokens) -> None:
    spans = list(rendered.spans())
    assert [run for run, _ in spans] == list(rendered.runs)
    assert [end - start for _, (start, end) in spans] == [run.length for run in rendered.runs]
    assert [k for _, span in spans for k in range(*span)] == list(range(len(rendered)))


def test_a_render_tells_its_text_and_one_that_knows_no_vocabulary_says_so(small: isc.Renderer) -> None:
    chat = [{"role": "user", "content": "é<|im_end|>🌅"}]
    rendered = small.render(chat)
    assert (
        rendered.text == "".join(segment.text for segment in small.segments(chat)) == small.decode(rendered.token_ids)
    )
    assert (rendered + rendered).text == rendered.text * 2
    read = msgspec.json.decode(msgspec.json.encode(rendered), type=isc.RenderedTokens)
    with pytest.raises(isc.OptionError, match=r"renderer\.decode\(rendered\.token_ids\)"):
        _ = read.text


def test_what_is_no_text_is_replaced_and_not_dropped(small: isc.Renderer) -> None:
    (ids,) = small.encoder.encode_batch(["🌅"])
    assert small.decode([*ids[:-1], 10**6, 10**6, *ids]) == "\ufffd\ufffd\ufffd🌅"
    assert small.decode([]) == ""
