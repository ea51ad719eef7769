"""Twins of the encoders that models ship as Python instead of a template, written from their FORMAT.md, in strings.

They know nothing of isc: a conversation goes through the steps of FORMAT.md as OpenAI dicts and comes out as text. What
holds them to FORMAT.md are its worked examples and the pairs shipped with the models (`test_format_encoders.py`).
`add_generation_prompt=False` leaves the prompt out that the encoders always end with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

Message: TypeAlias = dict[str, Any]
Encoder: TypeAlias = Callable[..., str]
"""From messages, tools, whether a generation prompt is asked for and the format's options to a text."""

BOS, EOS, USER, ASSISTANT = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"
V4_TOOLS = """## Tools

You have access to a set of tools to help answer the user's question. You can invoke tools by writing a \
"<｜DSML｜tool_calls>" block like the following:

<｜DSML｜tool_calls>
<｜DSML｜invoke name="$TOOL_NAME">
<｜DSML｜parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</｜DSML｜parameter>
...
</｜DSML｜invoke>
<｜DSML｜invoke name="$TOOL_NAME2">
...
</｜DSML｜invoke>
</｜DSML｜tool_calls>

String parameters should be specified as is and set `string="true"`. For all other types (numbers, booleans, arrays, \
objects), pass the value in JSON format and set `string="false"`.

If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning inside <think>...</think> \
BEFORE any tool calls or final response.

Otherwise, output directly after </think> with tool calls or final response.

### Available Tool Schemas

SCHEMAS

You MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.
"""
V3_2_TOOLS = """## Tools

You have access to a set of tools you can use to answer the user's question.
You can invoke functions by writing a "<｜DSML｜function_calls>" block like the following as part of your reply to \
the user:
<｜DSML｜function_calls>
<｜DSML｜invoke name="$FUNCTION_NAME">
<｜DSML｜parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</｜DSML｜parameter>
...
</｜DSML｜invoke>
<｜DSML｜invoke name="$FUNCTION_NAME2">
...
</｜DSML｜invoke>
</｜DSML｜function_calls>

String and scalar parameters should be specified as is without any escaping or quotes, while lists and objects should \
use JSON format. The "string" attribute should be set to "true" for string type parameters and "false" for other types \
(numbers, booleans, arrays, objects).

If the thinking_mode is enabled, then after function results you should strongly consider outputting a thinking block. \
Here is an example:

<｜DSML｜function_calls>
...
</｜DSML｜function_calls>

<function_results>
...
</function_results>

<think>...thinking about results</think>

Here are the functions available in JSONSchema format:
<functions>
SCHEMAS
</functions>
"""
V4_EFFORT = (
    "Reasoning Effort: Absolute maximum with no shortcuts permitted.\nYou MUST be very thorough in your thinking and "
    "comprehensively decompose the problem to resolve the root cause, rigorously stress-testing your logic against all "
    "potential paths, edge cases, and adversarial scenarios.\nExplicitly write out your entire deliberation process, "
    "documenting every intermediate step, considered alternative, and rejected hypothesis to ensure absolutely no "
    "assumption is left unchecked.\n\n"
)
FLASH_EFFORT = (
    "Reasoning Effort: Beyond maximum — exhaustive, relentless, and uncompromising.\nYou MUST reason with the utmost "
    "depth and rigor, leaving absolutely nothing to chance: exhaustively decompose the problem into its most "
    "fundamental components, trace every causal chain to its root, and resolve the underlying cause rather than any "
    "surface symptom.\nDo not stop reasoning until you have independently verified the solution from multiple angles "
    "and are certain that no assumption remains unchecked and no error remains undiscovered.\n\n"
)
EFFORTS = {"v4": {"high": "", "max": V4_EFFORT}, "flash-0731": {"low": "", "high": V4_EFFORT, "max": FLASH_EFFORT}}
FORMAT_HEAD = "## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n"


def as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def with_tools(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None) -> list[Message]:
    """Tools on the first message, which a server makes a system message without content where a user speaks first."""
    copied = [dict(message) for message in messages]
    if tools:
        if copied[0]["role"] not in ("system", "developer"):
            copied.insert(0, {"role": "system", "content": ""})
        copied[0]["tools"] = list(tools)
    return copied


def holdings(message: Message, template: str) -> str:
    """The tools and the response format of a message."""
    text = ""
    if message.get("tools"):
        text += "\n\n" + template.replace("SCHEMAS", "\n".join(as_json(tool["function"]) for tool in message["tools"]))
    if message.get("response_format"):
        text += "\n\n" + FORMAT_HEAD + as_json(message["response_format"])
    return text


def dsml(calls: Sequence[Mapping[str, Any]], block: str) -> str:
    """A block of calls."""
    written = []
    for call in calls:
        arguments = call["function"]["arguments"]
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except ValueError:
                arguments = {"arguments": arguments}
        pairs = [
            f'<｜DSML｜parameter name="{key}" string="{"true" if isinstance(value, str) else "false"}">'
            f"{value if isinstance(value, str) else as_json(value)}</｜DSML｜parameter>"
            for key, value in arguments.items()
        ]
        name = call["function"]["name"]
        written.append(f'<｜DSML｜invoke name="{name}">\n' + "\n".join(pairs) + "\n</｜DSML｜invoke>")
    return f"\n\n<｜DSML｜{block}>\n" + "\n".join(written) + f"\n</｜DSML｜{block}>"


def last_index(messages: Sequence[Message]) -> int:
    places = [index for index, message in enumerate(messages) if message["role"] in ("user", "developer")]
    return places[-1] if places else -1


def dropped(messages: Sequence[Message]) -> list[Message]:
    """Reasoning and developers before the last user taken out."""
    last, kept = last_index(messages), []
    for index, message in enumerate(messages):
        if index < last and message["role"] == "developer":
            continue
        bare = index < last and message["role"] == "assistant"
        kept.append({key: item for key, item in message.items() if not (bare and key == "reasoning_content")})
    return kept


def joined_parts(content: Any, separator: str) -> str:  # noqa: ANN401 - text, parts or None
    if isinstance(content, list):
        return separator.join(part if isinstance(part, str) else part["text"] for part in content)
    return content or ""


# ---- DeepSeek-V4 ----


def merged(messages: Sequence[Message]) -> list[Message]:
    """Steps 1 and 2: results and users in one message of blocks, results by the order of the calls before."""
    turns: list[Message] = []
    for message in messages:
        if message["role"] not in ("user", "tool"):
            turns.append(message)
            continue
        is_tool = message["role"] == "tool"
        goes_on = turns and turns[-1]["role"] == "user" and (is_tool or turns[-1].get("task") is None)
        block = (is_tool, message.get("tool_call_id") or "", joined_parts(message.get("content"), "\n\n" * is_tool))
        if goes_on:
            turns[-1]["blocks"].append(block)
        else:
            turns.append({"role": "user", "blocks": [block], **({} if is_tool else {"task": message.get("task")})})
    order: dict[str, int] = {}
    for turn in turns:
        if turn.get("tool_calls"):
            order = {call["id"]: place for place, call in enumerate(turn["tool_calls"]) if call.get("id")}
        results = [block for block in turn.get("blocks", ()) if block[0]]
        if len(results) > 1 and order:
            ordered = iter(sorted(results, key=lambda block: order.get(block[1], 0)))
            turn["blocks"] = [next(ordered) if block[0] else block for block in turn["blocks"]]
    return turns


def deepseek_v4(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    *,
    add_generation_prompt: bool = True,
    thinking: bool = False,
    drop_thinking: bool = True,
    reasoning_effort: str | None = None,
    variant: str = "v4",
) -> str:
    """The text of a conversation, as the pipeline of V4's FORMAT.md makes it."""
    turns = merged(with_tools(messages, tools))
    drops = drop_thinking and not any(turn.get("tools") for turn in turns)
    if thinking and drops:
        turns = dropped(turns)
    effort = EFFORTS[variant][reasoning_effort] if thinking and reasoning_effort else ""
    said = [_v4_turn(turns, index, thinking=thinking, drops=drops) for index in range(len(turns))]
    asked = [_v4_asks(turns, index, thinking=thinking, drops=drops) for index in range(len(turns))]
    if not add_generation_prompt:
        asked[-1] = ""
    return BOS + effort + "".join(text + asks for text, asks in zip(said, asked, strict=True))


def _v4_turn(turns: Sequence[Message], index: int, *, thinking: bool, drops: bool) -> str:
    turn = turns[index]
    role, content = turn["role"], joined_parts(turn.get("content"), "")
    if role == "user":
        wrapped = (f"<tool_result>{text}</tool_result>" if is_tool else text for is_tool, _, text in turn["blocks"])
        return USER + "\n\n".join(wrapped)
    if role == "latest_reminder":
        return "<｜latest_reminder｜>" + content
    if role != "assistant":
        return (USER if role == "developer" else "") + content + holdings(turn, V4_TOOLS)
    thought = ""
    if thinking and (not drops or index > last_index(turns)) and (not index or turns[index - 1].get("task") is None):
        thought = (turn.get("reasoning_content") or "") + "</think>"
    calls = dsml(turn["tool_calls"], "tool_calls") if turn.get("tool_calls") else ""
    return thought + content + calls + ("" if turn.get("wo_eos") else EOS)


def _v4_asks(turns: Sequence[Message], index: int, *, thinking: bool, drops: bool) -> str:
    if index + 1 < len(turns) and turns[index + 1]["role"] not in ("assistant", "latest_reminder"):
        return ""
    task = turns[index].get("task")
    if task == "action":
        return ASSISTANT + ("<think>" if thinking else "</think>") + "<｜action｜>"
    if task is not None:
        return f"<｜{task}｜>"
    if turns[index]["role"] not in ("user", "developer"):
        return ""
    opens = thinking and (not drops or index >= last_index(turns))
    return ASSISTANT + ("<think>" if opens else "</think>")


# ---- DeepSeek-V3.2 ----


def deepseek_v3_2(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    *,
    add_generation_prompt: bool = True,
    thinking: bool = False,
    drop_thinking: bool = True,
    variant: str = "shipped",
) -> str:
    """The text of a conversation, by the rules of V3.2's FORMAT.md."""
    turns = with_tools(messages, tools)
    if thinking and drop_thinking:
        turns = dropped(turns)
    template = V3_2_TOOLS if variant == "shipped" else V3_2_TOOLS.replace("\n\n", "\n")
    texts = [BOS]
    for index in range(len(turns)):
        said, asks = _v3_2_turn(turns, index, template, thinking=thinking)
        texts += [said, asks if add_generation_prompt or index + 1 < len(turns) else ""]
    return "".join(texts)


def _v3_2_turn(turns: Sequence[Message], index: int, template: str, *, thinking: bool) -> tuple[str, str]:
    """What a message says, and what it ends with to ask for an answer."""
    turn, last = turns[index], last_index(turns)
    role, content = turn["role"], joined_parts(turn.get("content"), "")
    think = "<think>" if thinking and index >= last else "</think>"
    if role == "user":
        return USER + content, ASSISTANT + think
    if role == "developer":
        return USER + holdings(turn, template) + "\n\n# The user's message is: " + content, ASSISTANT + think
    if role == "system":
        return content + holdings(turn, template), ""
    if role == "assistant":
        thought = (turn.get("reasoning_content") or "") + "</think>" if thinking and index > last else ""
        calls = dsml(turn["tool_calls"], "function_calls") if turn.get("tool_calls") else ""
        return thought + content + calls + EOS, ""
    caller = max((place for place in range(index) if turns[place]["role"] != "tool"), default=-1)
    number, count = index - caller, len(turns[caller].get("tool_calls") or ()) if caller >= 0 else 0
    if number > count:
        raise TypeError("a result without a call")
    text = "\n\n<function_results>" * (number == 1) + f"\n<result>{content}</result>"
    return (text + "\n</function_results>", f"\n\n{think}") if number == count else (text, "")


# ---- Kimi K3 ----

DECLARED = "# Tools\nHere are the available tools, described in JSONSchema.\n\n```json\n"
DECLARED_LATER = (
    "## New Tools Available\nThe system dynamically extends the toolset via lazy-loading.\nYou have access to all "
    "existing and extended tools.\nHere are the specs for the extended tools.\n\n```json\n"
)
K3_EFFORT = (
    "`thinking_effort` guides on how much to think in your thinking channel (not including the response channel), "
    "supported values include `low`, `medium`, `high`, and `max`.\nNow the system is invoked with "
    "`thinking_effort=EFFORT`."
)


def element(tag: str, inside: str, **attributes: object) -> str:
    said = "".join(
        ' {}="{}"'.format(key, str(value).replace("&", "&amp;").replace('"', "&quot;"))
        for key, value in attributes.items()
    )
    return f"<|open|>{tag}{said}<|sep|>{inside}<|close|>{tag}<|sep|>"


def said_in_message(inside: str, **attributes: object) -> str:
    return element("message", inside, **attributes) + "<|end_of_msg|>"


def declared(tools: Sequence[Mapping[str, Any]], words: str) -> str:
    text = json.dumps(tools, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return said_in_message(f"{words}{text}\n```", role="system", type="tool-declare")


def kimi_k3(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    *,
    add_generation_prompt: bool = True,
    thinking: bool = True,
    thinking_effort: str | None = None,
) -> str:
    """The text of a conversation, by the rules of K3's FORMAT.md."""
    texts = [declared(tools, DECLARED)] if tools else []
    if thinking and thinking_effort:
        words = K3_EFFORT.replace("EFFORT", thinking_effort)
        texts.append(said_in_message(words, role="system", type="thinking-effort"))
    texts += _k3_messages(_by_calls(messages), thinking=thinking)
    if add_generation_prompt:
        channel = "think" if thinking else "response"
        texts.append(f'<|open|>message role="assistant"<|sep|><|open|>{channel}<|sep|>')
    return "".join(texts)


def _k3_messages(messages: Sequence[Mapping[str, Any]], *, thinking: bool) -> list[str]:
    texts: list[str] = []
    calls: Sequence[Mapping[str, Any]] = ()
    number = 0
    for message in messages:
        content = _k3_content(message.get("content"))
        named = {"name": message["name"]} if message.get("name") else {}
        if message["role"] == "tool":
            number += 1
            name = message.get("tool") or message.get("name")
            if name is None and number > len(calls):
                raise TypeError("a result of no call")
            name = name or calls[number - 1]["function"]["name"]
            texts.append(said_in_message(content, role="tool", tool=name, index=number))
        elif message["role"] == "assistant":
            calls, number = message.get("tool_calls") or (), 0
            texts.append(said_in_message(_k3_answer(message, content, thinking=thinking), role="assistant", **named))
        elif message.get("tools"):
            texts.append(declared(message["tools"], DECLARED_LATER))
        else:
            texts.append(said_in_message(content, role=message["role"], **named))
    return texts


def _k3_content(content: Any) -> str:  # noqa: ANN401 - text, parts or None
    """Line 30: an image is a media block. Its words are those of the processor, by engines that quote it."""
    if not isinstance(content, list):
        return content or ""
    return "".join(
        f"<|media_begin|>image {part['width']}x{part['height']}<|media_content|><|media_pad|><|media_end|>"
        if part["type"] == "image"
        else part["text"]
        for part in content
    )


def _by_calls(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Runs of results in the order of the calls they answer, each with the name of its call."""
    placed: list[Mapping[str, Any]] = []
    run: list[tuple[int | None, Mapping[str, Any]]] = []
    known: dict[str, tuple[int, str]] = {}
    for message in (*messages, None):
        if message is not None and message["role"] == "tool":
            place, name = known.get(message.get("tool_call_id") or "", (None, None))
            run.append((place, {**message, "tool": name}))
            continue
        matched = all(place is not None for place, _ in run)
        placed += [one for _, one in (sorted(run, key=lambda item: item[0] or 0) if matched else run)]
        run = []
        if message is None:
            break
        if message["role"] == "assistant":
            known = {}
            for number, call in enumerate(message.get("tool_calls") or ()):
                if call.get("id"):
                    known.setdefault(call["id"], (number, call["function"]["name"]))
        placed.append(message)
    return placed


def _k3_answer(message: Mapping[str, Any], content: str, *, thinking: bool) -> str:
    thought = message.get("reasoning_content") or ""
    text = element("think", thought if thought.strip() else "") if thinking else ""
    text += element("response", content)
    calls = [
        element("call", _k3_arguments(call["function"]["arguments"]), tool=call["function"]["name"], index=number)
        for number, call in enumerate(message.get("tool_calls") or (), 1)
    ]
    return text + (element("tools", "".join(calls)) if calls else "")


def _k3_arguments(arguments: Any) -> str:  # noqa: ANN401 - an object or its text
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return element("json", arguments, type="object")
    kinds = {bool: "boolean", type(None): "null", int: "number", float: "number", str: "string", dict: "object"}
    return "".join(
        element(
            "argument",
            value if isinstance(value, str) else as_json(value),
            key=key,
            type=kinds.get(type(value), "array"),
        )
        for key, value in arguments.items()
    )
