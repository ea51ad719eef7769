"""Which turn a history goes on from: a table of what agents make of one, and of what is another history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import growing
import isc
from gateway_sessions import CALL, QWEN, SEARCH, last, user, with_turn
from isc.gateway import Difference, New, Node, Origin, Session, Tail, Turn, digests, match, step
from isc.gateway.meaning import same_arguments
from isc.testing import agents

SAID = f"<think>\nCats.\n</think>\n\nI look.\n\n{CALL}<|im_end|>"
ASKED = [user("Find cats")]


def session() -> Session:
    return with_turn(Session("a"), ASKED, SAID)


def sent(content: Any = "I look.", *, arguments: str = '{"q": "cats", "limit": 3}', **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """The answer as an agent sends it back, with the id that it was shown."""
    identity = last(session()).call_ids[0]
    call = {"id": identity, "type": "function", "function": {"name": "search", "arguments": arguments}}
    return {"role": "assistant", "content": content, "tool_calls": [call], **more}


SAME: dict[str, dict[str, Any]] = {
    "reasoning dropped": sent(),
    "reasoning kept": sent(reasoning_content="Cats."),
    "under another name": sent(reasoning=" Cats.\n"),
    "in the content": sent("<think>\nCats.\n</think>\n\nI look."),
    "as a part": sent([{"type": "thinking", "thinking": "Cats."}, {"type": "text", "text": "I look."}]),
    "order of keys": sent(arguments='{"limit":3,"q":"cats"}'),
    "a float": sent(arguments='{"q": "cats", "limit": 3.0}'),
    "an exponent": sent(arguments='{"q": "c\\u0061ts", "limit": 30e-1}'),
    "white space": sent("\n I look. \n\n"),
    "parts": sent([{"type": "text", "text": "I "}, {"type": "text", "text": "look."}]),
    "unknown keys": sent(refusal=None, annotations=[], audio=None, function_call=None),
}

OTHER: dict[str, dict[str, Any]] = {
    "another word": sent("I looked."),
    "no content": sent(None),
    "another argument": sent(arguments='{"q": "cats", "limit": 4}'),
    "a text for a number": sent(arguments='{"q": "cats", "limit": "3"}'),
    "true for a number": sent(arguments='{"q": "cats", "limit": true}'),
    "one argument less": sent(arguments='{"q": "cats"}'),
    "other reasoning": sent(reasoning_content="Dogs."),
    "another role": {"role": "user", "content": "I look."},
    "no call": {"role": "assistant", "content": "I look."},
}


@pytest.mark.parametrize("how", SAME)
def test_the_same_in_other_bytes_is_the_same(how: str) -> None:
    assert match(session(), [*ASKED, SAME[how]], SEARCH) == Node(0, 2)


@pytest.mark.parametrize("how", OTHER)
def test_what_says_something_else_is_another(how: str) -> None:
    found = match(session(), [*ASKED, OTHER[how]], SEARCH)
    assert isinstance(found, New)
    assert found.reason == "other_conversation"


def test_other_tools_are_another_conversation() -> None:
    assert match(session(), [*ASKED, sent()], None) != Node(0, 2)
    origin = step(session(), QWEN, [*ASKED, sent(), user("?")]).origin
    assert origin.difference == Difference("tools", "search", None)


def test_the_order_of_tools_does_not_matter() -> None:
    now = [{"type": "function", "function": {"name": "now", "parameters": {}}}]
    tree = with_turn(Session("a"), ASKED, "Yes<|im_end|>", tools=SEARCH + now)
    history = [*ASKED, {"role": "assistant", "content": "Yes"}]
    assert match(tree, history, now + SEARCH) == Node(0, 2)


def test_ids_may_be_renamed_if_they_are_renamed_everywhere() -> None:
    call = sent()["tool_calls"][0]
    renamed = {**sent(), "tool_calls": [{**call, "id": "mine"}]}
    tree = with_turn(session(), [*ASKED, renamed, _result("mine")], "Found.<|im_end|>")
    again = [*ASKED, sent(), _result(call["id"]), {"role": "assistant", "content": "Found."}]
    assert match(tree, again, SEARCH) == Node(1, 4)
    crossed = [*ASKED, sent(), _result("other"), {"role": "assistant", "content": "Found."}]
    assert match(tree, crossed, SEARCH) == Node(0, 2)


def _result(identity: str, content: str = "[]") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identity, "content": content}


def test_siblings_that_differ_in_what_was_dropped_are_told_apart_or_refused() -> None:
    dogs = SAID.replace("Cats.", "Dogs.")
    tree = with_turn(session(), ASKED, dogs)
    call = {"id": "mine", "type": "function", "function": {"name": "search", "arguments": {"q": "cats", "limit": 3}}}
    bare = {"role": "assistant", "content": "I look.", "tool_calls": [call]}
    found = match(tree, [*ASKED, bare], SEARCH)
    assert isinstance(found, New)
    assert found.reason == "ambiguous"
    assert match(tree, [*ASKED, {**bare, "reasoning_content": "Dogs."}], SEARCH) == Node(1, 2)
    for turn in (0, 1):  # by the ids that each was shown with
        shown = [{**call, "id": tree.turns[turn].call_ids[0]}]
        assert match(tree, [*ASKED, {**bare, "tool_calls": shown}], SEARCH) == Node(turn, 2)


def test_of_turns_with_the_same_ids_the_last_is_taken() -> None:
    tree = with_turn(session(), ASKED, SAID)
    history = [*ASKED, {**sent(), "tool_calls": [{**sent()["tool_calls"][0], "id": "mine"}]}]
    assert match(tree, history, SEARCH) == Node(1, 2)


def test_the_longest_path_wins() -> None:
    tree = with_turn(session(), [*ASKED, sent(), _result(sent()["tool_calls"][0]["id"])], "Found.<|im_end|>")
    history = [*ASKED, sent(), _result(sent()["tool_calls"][0]["id"]), {"role": "assistant", "content": "Found."}]
    assert match(tree, [*history, user("More")], SEARCH) == Node(1, 4)
    assert match(tree, history[:3], SEARCH) == Node(0, 2)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ('{"a": 12345678901234567890}', '{"a": 1.2345678901234567e19}', True),  # as a reader of floats writes it
        ('{"a": 9007199254740993}', '{"a": 9007199254740992}', True),  # such a reader cannot tell them
        ('{"a": 0.1}', '{"a": 1e-1}', True),
        ('{"a": -0.0}', '{"a": 0}', True),
        ('{"a": [1, {"b": null}]}', '{"a":[1.0,{"b":null}]}', True),
        ('{"a": null}', "{}", False),
        ('{"a": true}', '{"a": 1}', False),
        ('{"a": "x "}', '{"a": "x"}', False),
        ("{oops", " {oops\n", True),
        ("{oops", "{}", False),
        ("[1]", "[1.0]", False),  # no object: a text
        ('{"a": 1e999}', '{"a": 1e998}', False),
    ],
)
def test_spellings_of_arguments(first: str, second: str, same: bool) -> None:
    one, other = (isc.AssistantMessage("", tool_calls=(isc.ToolCall("f", text),)) for text in (first, second))
    assert (list(digests([one])) == list(digests([other]))) is same


def test_arguments_nested_without_end_are_compared_as_text() -> None:
    deep = '{"a":' * 50_000 + "1" + "}" * 50_000
    assert same_arguments(deep) == same_arguments(deep + " ")


def test_matching_reads_messages_once() -> None:
    """Four times the history takes about four times as long, not sixteen."""

    def matching(turns: int) -> Callable[[], object]:
        tree = _long(turns)
        history = agents.history(tree, turns - 1)
        assert match(tree, history) == Node(turns - 1, 2 * turns)
        return lambda: match(tree, history)

    assert growing.ratio(matching(500), matching(2000)) <= growing.RATIO


def _long(turns: int) -> Session:
    """A session of one conversation, without a render: matching looks at messages alone."""
    messages = [
        m for k in range(turns) for m in (isc.UserMessage(f"question {k}"), isc.AssistantMessage(f"answer {k}"))
    ]
    ends = list(digests(messages))
    tail, origin = Tail((1,), (), (), ()), Origin("extended")
    return Session.of(
        "long",
        tuple(
            Turn(
                *(k, f"turn-{k}", k - 1 if k else None, None, (messages[2 * k],), tail, (2,), (None,)),
                *(isc.AssistantMessage(f"answer {k}"), (), tuple(ends[2 * k : 2 * k + 2]), origin),
            )
            for k in range(turns)
        ),
    )
