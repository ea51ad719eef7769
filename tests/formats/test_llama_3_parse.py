"""Turns of Llama read back: calls with a marker and without, a status for every attempt, what is no call; bridges."""

from __future__ import annotations

from typing import Any

import pytest

import isc
from golden_conversations import assistant, call, tool, user
from isc.formats.llama_3 import Llama3
from small_renders import parsed, renderer_of

SEARCH = {"name": "search", "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}}
CATS = '{"name": "search", "parameters": {"query": "cats"}}'
BUILT_IN = Llama3(builtin_tools=("brave_search",))

STATUSES: dict[str, tuple[str, str, str | None, Any]] = {
    "as rendered": (CATS, "ok", "search", {"query": "cats"}),
    "white space around": (f"\n\n {CATS}\n", "ok", "search", {"query": "cats"}),
    "a type": (f'{{"type": "function", {CATS[1:]}', "ok", "search", {"query": "cats"}),
    "other order": ('{"parameters": {}, "name": "search"}', "ok", "search", {}),
    "other white space": ('{\n "name":"search",\n "parameters":{}\n}', "ok", "search", {}),
    "a marker": (f"<|python_tag|>{CATS}", "ok", "search", {"query": "cats"}),
    "a marker, other order": ('<|python_tag|> {"parameters": {}, "name": "search"}', "ok", "search", {}),
    "unknown tool": ('{"name": "find", "parameters": {}}', "unknown_tool", "find", {}),
    "cut off": ('{"name": "search", "parameters": {"query": "ca', "invalid_json", None, None),
    "text after it": (CATS + " Done.", "invalid_json", None, None),
    "no object": ('{"name": "search", "parameters": "{}"}', "malformed_structure", "search", None),
    "no name": ('{"name": "", "parameters": {}}', "missing_name", None, {}),
    "no number": ('{"name": "search", "parameters": {"query": NaN}}', "invalid_json", None, None),
    "deep": (f'{{"name": "search", "parameters": {"[" * 5000}', "invalid_json", None, None),
    "a marker, cut off": ('<|python_tag|>{"name": "sea', "invalid_json", None, None),
    "the other key": ('{"name": "search", "arguments": {"query": "cats"}}', "ok", "search", {"query": "cats"}),
    "a marker, the other key": ('<|python_tag|>{"name": "a", "arguments": {}}', "unknown_tool", "a", {}),
    "a marker, other keys": ('<|python_tag|>{"name": "a", "params": {}}', "malformed_structure", "a", None),
    "a marker and nothing": ("<|python_tag|>", "malformed_structure", None, None),
    "a marker and code": ("<|python_tag|>print(1)", "malformed_structure", None, None),
    "built in": ('<|python_tag|>search.call(query="cats")', "ok", "search", {"query": "cats"}),
    "built in, nothing": ("<|python_tag|>search.call()", "ok", "search", {}),
    "built in, quotes": (
        '<|python_tag|>search.call(query="a "b", c", x="=")',
        "ok",
        "search",
        {"query": 'a "b", c', "x": "="},
    ),
    "built in, more arguments win": (
        '<|python_tag|>search.call(query="a", b="c")',
        "ok",
        "search",
        {"query": "a", "b": "c"},
    ),
    "built in, cut off": ('<|python_tag|>search.call(query="ca', "malformed_structure", None, None),
    "built in, no text": ("<|python_tag|>search.call(query=1)", "malformed_structure", "search", None),
    "built in, twice": ('<|python_tag|>search.call(q="1", q="2")', "malformed_structure", "search", None),
    "built in, unknown": ('<|python_tag|>find.call(q="1")', "unknown_tool", "find", {"q": "1"}),
}  # fmt: skip


@pytest.mark.parametrize("attempt", STATUSES)
@pytest.mark.parametrize("close", ["<|eot_id|>", "<|eom_id|>", ""])
def test_status_of_a_call(attempt: str, close: str) -> None:
    text, status, name, arguments = STATUSES[attempt]
    found = parsed(Llama3(), text + close, [SEARCH])
    assert found.content == ""
    assert [(c.status, c.name, c.arguments) for c in found.tool_calls] == [(status, name, arguments)]


@pytest.mark.parametrize(
    "text",
    [
        f"Calling: {CATS}",
        '{"name": "Ada", "age": 36}',
        '{"name": "Ada"',
        '[{"name": "search", "parameters": {}}]',
        '"search"',
        "search.call()",
        "7",
        "",
    ],
)
def test_what_is_no_call_is_content(text: str) -> None:
    assert parsed(Llama3(), f"\n{text} <|eot_id|>", [SEARCH]) == isc.ParsedResponse(text)


@pytest.mark.parametrize("separator", ["; ", ";", " ;\n"])
@pytest.mark.parametrize("before", ["", "<|python_tag|>", "Two:\n", "Two: {\n"])
def test_calls_with_semicolons_between_them_are_read(before: str, separator: str) -> None:
    other = CATS.replace("cats", "dogs; {}")
    found = parsed(Llama3(), f"{before}{CATS}{separator}{other}<|eot_id|>", [SEARCH])
    assert found.content == before.strip().removeprefix("<|python_tag|>")
    assert [(c.status, c.arguments, c.raw) for c in found.tool_calls] == [
        ("ok", {"query": "cats"}, CATS),
        ("ok", {"query": "dogs; {}"}, other),
    ]


def test_a_call_on_a_line_after_text_names_an_offered_tool() -> None:
    found = parsed(Llama3(), f"Sure.\n{CATS}<|eot_id|>", [SEARCH])
    assert (found.content, [(c.status, c.name) for c in found.tool_calls]) == ("Sure.", [("ok", "search")])
    for text in (f"Sure.\n{CATS} Done.", f"Sure.\n{CATS.replace('search', 'find')}", f"Sure.\n{CATS[:-1]}"):
        assert parsed(Llama3(), text, [SEARCH]) == isc.ParsedResponse(text)
    assert parsed(Llama3(), f"Sure.\n{CATS}") == isc.ParsedResponse(f"Sure.\n{CATS}")


def test_content_that_spells_a_call_is_read_as_one() -> None:
    """No marker tells them apart: the one turn that parsing does not give back."""
    renderer = renderer_of(Llama3())
    prompt = renderer.render([user("a")], None, True)
    said, called = (
        renderer.render([user("a"), answer]).token_ids[len(prompt) :]
        for answer in (assistant(CATS), assistant("", call("search", {"query": "cats"})))
    )
    assert said == called
    assert [c.name for c in renderer.parse_response(said).tool_calls] == ["search"]


def test_a_spelled_marker_is_text() -> None:
    renderer = renderer_of(BUILT_IN)
    prompt = renderer.render([user("a")], None, True)
    full = renderer.render([user("a"), assistant("<|python_tag|>brave_search.call()")])
    found = renderer.parse_response(full.token_ids[len(prompt) :])
    assert found == isc.ParsedResponse("<|python_tag|>brave_search.call()")


def test_text_before_a_marker_is_content_and_every_marker_begins_a_call() -> None:
    found = parsed(BUILT_IN, f'Look:\n<|python_tag|>{CATS}<|python_tag|>brave_search.call(query="x")<|eom_id|>')
    assert found.content == "Look:"
    assert [(c.status, c.name) for c in found.tool_calls] == [("ok", "search"), ("ok", "brave_search")]
    (first, second) = (c.token_span for c in found.tool_calls)
    assert first[1] == second[0]


def test_a_call_without_a_marker_spans_the_turn_but_for_its_close() -> None:
    renderer = renderer_of(Llama3())
    prompt = renderer.render([user("a")], None, True)
    completion = renderer.render([user("a"), assistant("", call("f", {}))]).token_ids[len(prompt) :]
    (found,) = renderer.parse_response(completion).tool_calls
    assert found.token_span == (0, len(completion) - 1)
    assert found.raw == '{"name": "f", "parameters": {}}'


@pytest.mark.parametrize(
    ("family", "name", "status"),
    [
        (BUILT_IN, "brave_search", "ok"),
        (BUILT_IN, "wolfram_alpha", "unknown_tool"),
        (Llama3(custom_tools=({"name": "wolfram_alpha"},)), "wolfram_alpha", "ok"),
        (Llama3(custom_tools=({"function": {"name": "now"}},)), "wolfram_alpha", "unknown_tool"),
    ],
)
def test_tools_that_an_option_offers_are_known(family: Llama3, name: str, status: str) -> None:
    tools = None if family.custom_tools else [SEARCH]
    (found,) = parsed(family, f'<|python_tag|>{name}.call(query="x")', tools).tool_calls
    assert found.status == status


@pytest.mark.parametrize("family", [Llama3(), BUILT_IN])
def test_a_bridge_adds_the_close_that_was_not_sampled(family: Llama3) -> None:
    renderer = renderer_of(family)
    prompt = renderer.render([user("a")], None, True)
    messages = [user("a"), assistant("", call("f", {})), tool("1")]
    fresh = renderer.render(messages, None, True)
    completion = renderer.render(messages[:2]).token_ids[len(prompt) :]
    for sampled in (completion, completion[:-1]):
        bridged = renderer.bridge_to_next_turn(prompt.token_ids, sampled, [tool("1")])
        assert bridged is not None
        assert bridged.token_ids == fresh.token_ids


def test_a_bridge_does_not_show_the_tools_again() -> None:
    renderer = renderer_of(Llama3())
    prompt = renderer.render([user("a")], [SEARCH], True)
    fresh = renderer.render([user("a"), assistant("b"), user("c")], [SEARCH], True)
    completion = renderer.render([user("a"), assistant("b")], [SEARCH]).token_ids[len(prompt) :]
    bridged = renderer.bridge_to_next_turn(prompt.token_ids, completion, [user("c")], [SEARCH])
    assert bridged is not None
    assert bridged.token_ids == fresh.token_ids
