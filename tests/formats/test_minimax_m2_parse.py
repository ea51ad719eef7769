"""Turns of MiniMax-M2 read back: reasoning, several calls in a block and their tokens, a status for every attempt."""

from __future__ import annotations

from typing import Any

import pytest

import isc
from golden_conversations import assistant, call, tool, user
from isc.formats.minimax_m2 import MiniMaxM2
from isc.testing import adversarial_encoder
from small_renders import parsed, renderer_of

FAMILY = MiniMaxM2()
HEAD = "]~b]ai\n"
OPEN = HEAD + "<think>\n"
SEARCH = {
    "name": "search",
    "parameters": {
        "type": "object",
        "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}, "filters": {"type": "object"}},
    },
}


def block(inside: str) -> str:
    return f"<minimax:tool_call>{inside}</minimax:tool_call>"


def invoke(*pairs: tuple[str, str], name: str = "search") -> str:
    inside = "".join(f'<parameter name="{key}">{value}</parameter>\n' for key, value in pairs)
    return f'<invoke name="{name}">\n{inside}</invoke>\n'


@pytest.mark.parametrize(
    ("prompt", "text", "expected"),
    [
        (OPEN, "r\n</think>\n\nb[e~[", isc.ParsedResponse("b", "r")),
        (OPEN, "\nr \n\n</think>\n\n\n b \n[e~[", isc.ParsedResponse("\n b \n", "\nr \n")),
        (OPEN, "r</think>b", isc.ParsedResponse("b", "r")),
        (OPEN, "r</think>\nb", isc.ParsedResponse("b", "r")),
        (OPEN, "\n</think>\n\nb", isc.ParsedResponse("b", "")),
        (OPEN, "half a\n", isc.ParsedResponse("", "half a\n", reasoning_complete=False)),
        (HEAD, "<think>\nr\n</think>\n\nb", isc.ParsedResponse("b", "r")),
        (HEAD, "b</think>c", isc.ParsedResponse("b</think>c")),
        (HEAD, "\nb\n[e~[ignored", isc.ParsedResponse("\nb\n")),
        ("", "", isc.ParsedResponse("")),
    ],
)
def test_reasoning_and_content(prompt: str, text: str, expected: isc.ParsedResponse) -> None:
    assert parsed(FAMILY, text, prompt=prompt) == expected


def test_a_call_ends_reasoning_that_was_not_closed() -> None:
    found = parsed(FAMILY, f"r\n{block(chr(10) + invoke())}[e~[", prompt=OPEN)
    assert (found.content, found.reasoning_content, found.reasoning_complete) == ("", "r", True)
    assert [c.status for c in found.tool_calls] == ["ok"]


ARGUMENTS: list[tuple[Any, str, str]] = [
    ("text", "string", "text"),
    (" \n two lines\n", "string", " \n two lines\n"),
    ("", "string", ""),
    ("5", "string", "5"),
    ("null", "string", "null"),
    (5, "integer", "5"),
    (-2.5, "number", "-2.5"),
    (True, "boolean", "true"),
    (None, "null", "null"),
    ({"a": [1, None, "é"]}, "object", '{"a": [1, null, "é"]}'),
    ([True, "x"], "array", '[true, "x"]'),
]


@pytest.mark.parametrize(("value", "declared", "spelled"), ARGUMENTS)
def test_an_argument_is_read_as_its_tool_declares(value: Any, declared: str, spelled: str) -> None:  # noqa: ANN401
    tools = [{"name": "f", "parameters": {"properties": {"k": {"type": declared}}}}]
    (found,) = parsed(FAMILY, block("\n" + invoke(("k", spelled), name="f")), tools).tool_calls
    assert (found.status, found.arguments) == ("ok", {"k": value})
    assert found.arguments is not None
    assert type(found.arguments["k"]) is type(value)


TAGS_IN_VALUES = [
    "</parameter>",
    "</parameter>\n",
    '</parameter><parameter name="l">',
    "</invoke>\n",
    "</parameter></invoke>\n",
    '</invoke>\n<invoke name="g">\n',
    "</minimax:tool_call>",
    '">',
    '<parameter name="k">',
]


@pytest.mark.parametrize("value", TAGS_IN_VALUES)
def test_a_tag_spelled_in_a_value_ends_nothing(value: str) -> None:
    renderer = renderer_of(FAMILY)
    prompt = renderer.render([user("a")], None, True)
    calls = (call("f", {"k": value, "l": value}), call("g", {}), call("h", {"k": value}))
    full = renderer.render([user("a"), assistant("b", *calls, reasoning="r")])
    found = renderer.parse_response(full.token_ids[len(prompt) :], prompt_ids=prompt.token_ids)
    assert [(c.status, c.name, c.arguments) for c in found.tool_calls] == [
        ("ok", "f", {"k": value, "l": value}),
        ("ok", "g", {}),
        ("ok", "h", {"k": value}),
    ]


def test_the_reading_with_more_parameters_is_taken() -> None:
    value = 'x</parameter>\n<parameter name="l">y'
    (found,) = parsed(FAMILY, block("\n" + invoke(("k", value)))).tool_calls
    assert found.arguments == {"k": "x", "l": "y"}


CATS = ("query", "cats")
STATUSES: dict[str, tuple[str, list[tuple[str, str | None, Any]]]] = {
    "as rendered": (block("\n" + invoke(CATS)), [("ok", "search", {"query": "cats"})]),
    "no line breaks": (
        block(invoke(CATS, ("limit", "3")).replace("\n", "") + invoke().replace("\n", "")),
        [("ok", "search", {"query": "cats", "limit": 3}), ("ok", "search", {})],
    ),
    "other line breaks": (block("\n\n  " + invoke(CATS) + "\n\n"), [("ok", "search", {"query": "cats"})]),
    "one good, one broken, one good": (
        block("\n" + invoke(CATS) + '<invoke name="search">\nlook\n</invoke>\n' + invoke()),
        [("ok", "search", {"query": "cats"}), ("malformed_structure", "search", None), ("ok", "search", {})],
    ),
    "two blocks": (
        block("\n" + invoke(CATS)) + "\n" + block("\n" + invoke()),
        [("ok", "search", {"query": "cats"}), ("ok", "search", {})],
    ),
    "unclosed": (
        "<minimax:tool_call>\n" + invoke(CATS) + invoke(),
        [("unclosed_block", "search", {"query": "cats"}), ("unclosed_block", "search", {})],
    ),
    "unclosed, then another block": (
        "<minimax:tool_call>\n" + invoke(CATS) + block("\n" + invoke()),
        [("unclosed_block", "search", {"query": "cats"}), ("ok", "search", {})],
    ),
    "cut in a value": (
        '<minimax:tool_call>\n<invoke name="search">\n<parameter name="query">ca',
        [("unclosed_block", "search", None)],
    ),
    "cut in the name": ('<minimax:tool_call>\n<invoke name="sea', [("unclosed_block", None, None)]),
    "cut before the name": ("<minimax:tool_call>\n<inv", [("unclosed_block", None, None)]),
    "nothing": (block(""), [("malformed_structure", None, None)]),
    "an empty line": (block("\n"), [("malformed_structure", None, None)]),
    "a JSON call": (block('\n{"name": "search", "arguments": {}}\n'), [("malformed_structure", None, None)]),
    "no name": (block("\n" + invoke(CATS, name="")), [("missing_name", None, {"query": "cats"})]),
    "text before it": (block("\nSo: " + invoke(CATS)), [("malformed_structure", "search", None)]),
    "text after it": (block("\n" + invoke(CATS) + "Done."), [("malformed_structure", "search", None)]),
    "left open": (
        block('\n<invoke name="search">\n<parameter name="query">cats</parameter>\n'),
        [("malformed_structure", "search", None)],
    ),
    "a parameter left open": (
        block('\n<invoke name="search">\n<parameter name="query">cats</invoke>\n'),
        [("malformed_structure", "search", {"query": "cats"})],
    ),
    "a parameter twice": (block("\n" + invoke(CATS, CATS)), [("malformed_structure", "search", None)]),
    "no integer": (block("\n" + invoke(("limit", "ten"))), [("invalid_json", "search", {"limit": "ten"})]),
    "deep object": (
        block("\n" + invoke(("filters", "[" * 5000))),
        [("invalid_json", "search", {"filters": "[" * 5000})],
    ),
    "unknown tool": (block("\n" + invoke(name="find")), [("unknown_tool", "find", {})]),
}


@pytest.mark.parametrize("attempt", STATUSES)
def test_status_of_calls(attempt: str) -> None:
    text, expected = STATUSES[attempt]
    found = parsed(FAMILY, f"Looking.\n{text}[e~[", [SEARCH], HEAD)
    assert found.content == "Looking."
    assert [(c.status, c.name, c.arguments) for c in found.tool_calls] == expected


@pytest.mark.parametrize("encoder", ["embedded", "adversarial"])
def test_a_call_s_span_is_the_tokens_that_its_tags_touch(encoder: str) -> None:
    renderer = renderer_of(FAMILY)
    if encoder == "adversarial":
        renderer = isc.create_renderer(adversarial_encoder(FAMILY.specials), FAMILY)
    prompt = renderer.render([user("a")], None, True)
    calls = (call("f", {"k": "<invoke é"}), call("g", {}))
    completion = renderer.render([user("a"), assistant("b", *calls, reasoning="r")]).token_ids[len(prompt) :]
    found = renderer.parse_response(completion, prompt_ids=prompt.token_ids).tool_calls
    raws = [invoke(("k", "<invoke é"), name="f").rstrip("\n"), invoke(name="g").rstrip("\n")]
    assert [c.raw for c in found] == raws
    for one in found:
        start, end = one.token_span
        text = renderer.encoder.decode_bytes(completion[start:end]).decode()
        assert one.raw in text
        assert one.raw not in renderer.encoder.decode_bytes(completion[start + 1 : end]).decode()
        assert one.raw not in renderer.encoder.decode_bytes(completion[start : end - 1]).decode()


def test_an_attempt_without_tags_spans_its_block() -> None:
    renderer = renderer_of(FAMILY)
    opener, closer = (renderer.encoder.specials[f"<{slash}minimax:tool_call>"] for slash in ("", "/"))
    (found,) = renderer.parse_response((opener, closer)).tool_calls
    assert found.token_span == (0, 2)


def test_a_tool_result_extends_a_turn_and_a_new_query_does_not() -> None:
    renderer = renderer_of(FAMILY)
    prompt = renderer.render([user("a")], None, True)
    full = renderer.render([user("a"), assistant("", call("now", {}), reasoning="r")])
    completion = full.token_ids[len(prompt) : -1]
    bridged = renderer.bridge_to_next_turn(prompt.token_ids, completion, [tool("noon"), tool("one")])
    assert bridged == renderer.bridge_to_next_turn(prompt.token_ids, completion[:-1], [tool("noon"), tool("one")])
    assert bridged is not None
    tail = renderer.encoder.decode_bytes(bridged.token_ids[len(prompt) + len(completion) :]).decode()
    assert tail == "\n]~b]tool\n<response>noon</response>\n<response>one</response>[e~[\n" + OPEN
    assert renderer.bridge_to_next_turn(prompt.token_ids, completion, [user("b")]) is None
