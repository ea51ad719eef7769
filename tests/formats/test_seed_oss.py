"""Seed-OSS, literally: the budget's turn, tools as functions, calls on lines, answers that say nothing."""

from __future__ import annotations

from typing import Any

import pytest

import isc
from golden_conversations import NOW, assistant, call, system, tool, user
from isc.encoding.encoders import embedded
from isc.formats.seed_oss import SeedOss
from spelled_ids import ids_of

ENCODER = embedded(SeedOss().specials)
RENDERER = isc.create_renderer(ENCODER, SeedOss())
NO_THINKING = isc.create_renderer(ENCODER, SeedOss(thinking_budget=0))


def told(
    renderer: isc.Renderer,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None = None,
    *,
    asked: bool = False,
) -> list[tuple[str, int, bool]]:
    """The runs of a conversation: text, owner, body."""
    runs: list[tuple[str, int, bool]] = []
    for segment in renderer.segments(messages, tools, asked):
        if runs and runs[-1][1:] == (segment.message, segment.body):
            runs[-1] = (runs[-1][0] + segment.text, segment.message, segment.body)
        else:
            runs.append((segment.text, segment.message, segment.body))
    return runs


def text(
    renderer: isc.Renderer,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None = None,
    *,
    asked: bool = False,
) -> str:
    return "".join(run[0] for run in told(renderer, messages, tools, asked=asked))


def test_a_turn_is_a_role_a_line_and_a_close() -> None:
    # {{ bos_token + message.role + "\n" + message.content + eos_token }}; "\n" + message.content | trim + eos_token
    messages = [system(" s "), user(" u "), assistant(" a ", reasoning=" r "), tool(" t ")]
    assert told(RENDERER, messages, asked=True) == [
        *(("<seed:bos>system\n", 0, False), (" s ", 0, True), ("<seed:eos>", 0, False)),
        *(("<seed:bos>user\n", 1, False), (" u ", 1, True), ("<seed:eos>", 1, False)),
        *(("<seed:bos>assistant\n", 2, False), ("<seed:think>r</seed:think>\na<seed:eos>", 2, True)),
        *(("<seed:bos>tool\n", 3, False), (" t ", 3, True), ("<seed:eos>", 3, False)),
        ("<seed:bos>assistant\n", -1, False),
    ]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (assistant(" \n"), "<seed:bos>assistant"),  # {%- if message.content ... | trim | length > 0 %} and nothing else
        (assistant("", reasoning="r"), "<seed:bos>assistant\n<seed:think>r</seed:think>"),
        (assistant("", reasoning=" "), "<seed:bos>assistant"),
    ],
)
def test_an_answer_that_says_nothing_is_not_closed(said: dict[str, Any], shown: str) -> None:
    assert text(RENDERER, [user("u"), said, user("v")]).endswith(f"u<seed:eos>{shown}<seed:bos>user\nv<seed:eos>")


def test_calls_stand_on_lines_and_values_are_python_s() -> None:
    # {{ "\n" + message.content | trim + "\n" }} {{ "\n" + toolcall_begin_token + "\n<function=" ... arg_value | string
    calls = (call("now", {"a": "x\ny", "b": [1, None, True, "z"]}), call("now", {}))
    first = (
        "<seed:tool_call>\n<function=now>\n<parameter=a>x\ny</parameter>\n"
        "<parameter=b>[1, None, True, 'z']</parameter>\n</function>\n</seed:tool_call>"
    )
    second = "<seed:tool_call>\n<function=now>\n</function>\n</seed:tool_call>"
    assert text(RENDERER, [user("u"), assistant("c", *calls)]).endswith(f"assistant\nc\n\n{first}\n{second}<seed:eos>")
    alone = text(RENDERER, [user("u"), assistant("", *calls, reasoning="r")])
    assert alone.endswith(f"assistant\n<seed:think>r</seed:think>\n{first}\n{second}<seed:eos>")


BUDGETS = {
    0: "budget is 0. Next, please skip the thinking process and directly start answering the user's questions.",
    1: "which is 1. That is, you need to complete your thinking within 1 tokens and start answering the user's "
    "questions. You will reflect on your thinking process every 128 tokens, stating how many tokens have been used "
    "and how many are left.",
}


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_budget_has_a_turn_of_its_own_that_is_nobody_s(budget: int) -> None:
    # {%- elif not thinking_budget == -1 %} {{ bos_token+"system" }} ... {{ eos_token }}
    renderer = isc.create_renderer(ENCODER, SeedOss(thinking_budget=budget))
    runs = told(renderer, [system("s"), user("u")])
    assert runs[3][1:] == (-1, False)
    assert runs[3][0].startswith("<seed:bos>system\nYou are an intelligent assistant ")
    assert runs[3][0].endswith(f"{BUDGETS[budget]}\n<seed:eos>")


@pytest.mark.parametrize(
    ("budget", "interval"),
    [(512, 128), (513, 256), (1024, 256), (1025, 512), (4096, 512), (4097, 1024), (16384, 1024), (10**6, 1024)],
)
def test_the_interval_is_that_of_the_next_gear(budget: int, interval: int) -> None:
    # {%- if ns.interval is none and thinking_budget <= k -%}
    renderer = isc.create_renderer(ENCODER, SeedOss(thinking_budget=budget))
    assert f"every {interval} tokens" in text(renderer, [user("u")])


def test_without_a_budget_nothing_is_told_and_with_none_the_thought_says_so() -> None:
    assert text(RENDERER, [user("u")], asked=True) == "<seed:bos>user\nu<seed:eos><seed:bos>assistant\n"
    # {{ think_begin_token + "\n" + budget_begin_token + "The current thinking budget is 0, ..." }}
    assert text(NO_THINKING, [user("u")], asked=True).endswith(
        "<seed:bos>assistant\n<seed:think>\n<seed:cot_budget_reflect>The current thinking budget is 0, so I will "
        "directly start answering the question.</seed:cot_budget_reflect>\n</seed:think>"
    )
    with pytest.raises(isc.OptionError, match="thinking_budget=-2"):
        SeedOss(thinking_budget=-2)


WHERE = {
    "name": "where",
    "description": " Finds. ",
    "parameters": {
        "properties": {
            "a": {"type": "string", "description": "What."},
            "b": {"type": "number"},
            "c": {"type": ["array", "null"], "description": None},
        },
        "required": ["a"],
    },
    "returns": {"properties": {"r": {"type": "array", "description": "All."}}},
}
FUNCTIONS = (
    '\n\nFunction:\ndef where(a: str,b: int,c: Any):\n    """\n    Finds.\n\n    Args:\n    - a (str) [必填]: What.\n'
    '    - b (int) [选填]: \n    - c (Any) [选填]: \n    Returns:\n    - r (list): All.\n    """'
    '\n\nFunction:\ndef now():\n    """\n    \n\n\n\n    """'
)
HOW = "\n工具调用请遵循如下格式:\n<seed:tool_call>\n<function=example_function_name>\n"
IDENTITY = "You are Doubao, a helpful AI assistant. You may call one or more functions to assist with the user query."


def test_tools_are_functions_or_json() -> None:
    # def {{ item.function.name }}( ... {%- if name in item.function.parameters.required %} [必填]{% else %} [选填]
    tools: list[dict[str, Any]] = [WHERE, {"name": "now"}]
    shown = text(RENDERER, [system("s"), user("u")], tools)
    assert shown.startswith(f"<seed:bos>system\ns{FUNCTIONS}{HOW}")
    assert "multiple lines</parameter>\n</function>\n</seed:tool_call>\n<seed:eos><seed:bos>user" in shown
    assert text(RENDERER, [user("u")], tools).startswith(f"<seed:bos>system\n{IDENTITY}{FUNCTIONS}{HOW}")
    as_json = isc.create_renderer(ENCODER, SeedOss(use_json_tooldef=True))
    # {{"Tool List:\n ..."}} {{ tools | tojson(ensure_ascii=False) }}, whether or not there are any
    assert f'parameters of these tools.\n[{"{"}"type": "function"' in text(as_json, [user("u")], [NOW])
    assert text(as_json, [system("s"), user("u")]).partition("<seed:eos>")[0].endswith("of these tools.\n[]")


TOOL = {"name": "now", "parameters": {"properties": {"a": {"type": "string"}, "n": {"type": "integer"}}}}
CALL = (
    "<seed:tool_call>\n<function=now>\n<parameter=a></seed:tool_call> 7\n</parameter>\n<parameter=n>-3</parameter>\n"
    "</function>\n</seed:tool_call>"
)


@pytest.mark.parametrize(
    ("sampled", "thought", "content", "statuses"),
    [
        ("Hi<seed:eos>", None, "Hi", []),
        ("<seed:think>r</seed:think>\nHi<seed:eos>", "r", "Hi", []),
        (
            "<seed:think>\nr\n<seed:cot_budget_reflect>7 left</seed:cot_budget_reflect>",
            "r\n<seed:cot_budget_reflect>7 left</seed:cot_budget_reflect>",
            "",
            [],
        ),
        (f"<seed:think>r</seed:think>\nso\n\n{CALL}\n{CALL}<seed:eos>", "r", "so", ["ok", "ok"]),
        ("<seed:tool_call>\n<function=now>\n<parameter=a>x", None, "", ["unclosed_block"]),
        ("<seed:tool_call>now()</seed:tool_call>", None, "", ["malformed_structure"]),
        ("<seed:tool_call>\n<function=find>\n</function>\n</seed:tool_call>", None, "", ["unknown_tool"]),
    ],
)
def test_a_sampled_turn_is_read_back(sampled: str, thought: str | None, content: str, statuses: list[str]) -> None:
    parsed = RENDERER.parse_response(ids_of(RENDERER, sampled), [TOOL])
    assert (parsed.reasoning_content, parsed.content) == (thought, content)
    assert [one.status for one in parsed.tool_calls] == statuses
    read = [one.arguments for one in parsed.tool_calls if one.status == "ok"]
    assert all(arguments == {"a": "</seed:tool_call> 7\n", "n": -3} for arguments in read)


@pytest.mark.parametrize(
    ("completion", "added"),
    [
        ("Hi<seed:eos>", ""),
        ("Hi", "<seed:eos>"),
        ("<seed:think>r", "</seed:think>"),
        ("<seed:think>r</seed:think>\nHi", "<seed:eos>"),
        (CALL, "<seed:eos>"),
    ],
)
def test_a_bridge_closes_what_is_open_and_goes_on(completion: str, added: str) -> None:
    prompt, sampled = RENDERER.render_ids([user("?")], None, True), ids_of(RENDERER, completion)
    bridged = RENDERER.bridge_to_next_turn(prompt, sampled, [user("!")])
    assert bridged is not None
    assert bridged.token_ids[: len(prompt) + len(sampled)] == prompt + sampled
    tail = ENCODER.decode_bytes(bridged.token_ids[len(prompt) + len(sampled) :]).decode()
    assert tail == f"{added}<seed:bos>user\n!<seed:eos><seed:bos>assistant\n"
