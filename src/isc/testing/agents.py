"""Agents as they come: what they make of a history before they send it back, and random sessions of such agents.

An agent drops reasoning or moves it, writes arguments again, names calls by ids of its own, splits contents into parts,
trims or adds white space, adds keys. None of it changes what was said.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from isc.conversation.renderer import Renderer
from isc.conversation.rollout import assistant_message
from isc.gateway import Sampling, Session, answered, step
from isc.gateway.meaning import text_of
from isc.types import ROLES, AssistantMessage, Message, ToolCall, ToolMessage

Sent = dict[str, Any]

_CONTENTS = ("", "I look.", "Done", "{oops", "漢字 e\u0301", "</think>", "12.5", "<think>")
_REASONING = (None, None, "Hm.", "A call will do.", "x")
_ARGUMENTS: tuple[dict[str, Any], ...] = ({}, {"q": "cats", "limit": 3}, {"q": "1", "deep": {"b": [1, 2.5], "a": None}})
_RESULTS = ("12:00", "", "[]", "line\nline", "<|im_end|>")
_QUESTIONS = ("Go on.", "Why?", "time?", "x")
TOOLS: list[Sent] = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("search", "now")
]
"""The tools of random sessions."""


def history(session: Session, turn: int) -> list[Sent]:
    """Return the conversation up to a turn as the agent was told it, as OpenAI's dicts.

    Args:
        session: The session.
        turn: The number of the turn.
    """
    return [_as_sent(message) for message in session.shown(turn)]


def _as_sent(message: Message) -> Sent:
    content = message.content
    parts = [{"type": "text", "text": text_of((part,))} for part in content] if isinstance(content, tuple) else content
    sent: Sent = {"role": ROLES[type(message)], "content": parts}
    if isinstance(message, ToolMessage):
        sent["tool_call_id"] = message.tool_call_id
    if isinstance(message, AssistantMessage):
        sent["reasoning_content"] = message.reasoning_content
        sent["tool_calls"] = [_call_as_sent(call) for call in message.tool_calls]
    return {key: value for key, value in sent.items() if value not in (None, []) or key == "content"}


def _call_as_sent(call: ToolCall) -> Sent:
    arguments = call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments)
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def resent(messages: Sequence[Sent], source: random.Random) -> list[Sent]:
    """Write a history again as some agent does: other bytes, the same said.

    Args:
        messages: OpenAI's dicts.
        source: What chooses.

    >>> resent([{"role": "user", "content": "hi"}], random.Random(1))[0]["role"]
    'user'
    """
    renamed = source.random() < 0.4
    names: dict[str, str] = {}
    return [_rewritten(message, source, names if renamed else None) for message in messages]


def _rewritten(message: Sent, source: random.Random, names: dict[str, str] | None) -> Sent:
    sent = dict(message)
    _move_reasoning(sent, source)
    sent["content"] = _content(sent.get("content"), source)
    if sent["content"] is None and source.random() < 0.5:
        del sent["content"]
    if sent.get("tool_calls"):
        sent["tool_calls"] = [_call(call, source, names) for call in sent["tool_calls"]]
    elif sent["role"] == "assistant" and source.random() < 0.3:
        sent["tool_calls"] = source.choice((None, []))
    if names is not None and sent.get("tool_call_id") is not None:
        sent["tool_call_id"] = names.get(sent["tool_call_id"], sent["tool_call_id"])
    if source.random() < 0.2 and sent.get("content"):
        sent["metadata"] = {"step": source.randint(0, 9)}
    return sent


def _move_reasoning(sent: Sent, source: random.Random) -> None:
    """Drop the reasoning of a message, or put it where another library has it."""
    reasoning = sent.pop("reasoning_content", None)
    if not reasoning or source.random() < 0.5:
        return
    place = source.choice(("reasoning_content", "reasoning", "thinking", "part", "content"))
    if place == "part":
        content = sent.get("content")
        said = content if isinstance(content, list) else [{"type": "text", "text": content}] if content else []
        sent["content"] = [{"type": "thinking", "thinking": reasoning}, *said]
    elif place == "content" and not isinstance(sent.get("content"), list):
        sent["content"] = f"<think>\n{reasoning}\n</think>\n\n{sent.get('content') or ''}"
    else:
        sent["reasoning_content" if place == "content" else place] = reasoning


def _content(content: Any, source: random.Random) -> Any:  # noqa: ANN401 - as OpenAI has it
    """Write a content as a text or in parts, with other white space at its ends."""
    if isinstance(content, list):
        return content
    text = content or ""
    if not text and source.random() < 0.5:
        return None
    kind = source.choice(("same", "same", "stripped", "padded", "parts"))
    if kind == "stripped":
        return text.strip()
    if kind == "padded":
        return source.choice(("", "\n", " ")) + text + source.choice(("\n", "  "))
    if kind == "parts":
        cut = source.randint(0, len(text))
        return [{"type": "text", "text": piece} for piece in (text[:cut], text[cut:]) if piece]
    return text


def _call(call: Sent, source: random.Random, names: dict[str, str] | None) -> Sent:
    arguments = call["function"]["arguments"]
    try:
        value = json.loads(arguments)
    except ValueError:
        value = None
    if isinstance(value, dict):
        written = _written(value, source)
        arguments = json.dumps(value) if source.random() < 0.1 else written
    identity = call["id"]
    if names is not None:
        identity = names.setdefault(identity, f"call_{len(names)}_{source.randint(0, 99)}")
    return {"id": identity, "type": "function", "function": {"name": call["function"]["name"], "arguments": arguments}}


def _written(value: Any, source: random.Random) -> str:  # noqa: ANN401 - any JSON value
    """Write JSON with other spaces, keys in another order, numbers in another spelling."""
    space = source.choice(("", " ", "\n  "))
    if isinstance(value, dict):
        keys = source.sample(list(value), len(value))
        return "{" + f",{space}".join(f"{json.dumps(key)}:{space}{_written(value[key], source)}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + f",{space}".join(_written(item, source) for item in value) + "]"
    if isinstance(value, int) and not isinstance(value, bool):
        return source.choice((str(value), f"{value}.0", f"{value}e0"))
    if isinstance(value, float):
        return source.choice((repr(value), f"{value!r}0", f"{value!r}e0"))
    return json.dumps(value, ensure_ascii=source.random() < 0.5)


def edited(messages: Sequence[Sent], source: random.Random) -> tuple[list[Sent], int]:
    """Change what is said in a history, at one place.

    Args:
        messages: OpenAI's dicts.
        source: What chooses.

    Returns:
        The other history, and the index of the first message that is another one.
    """
    index = source.randrange(len(messages))
    message, rest = dict(messages[index]), list(messages[index + 1 :])
    word = f"edited {source.randint(10**6, 10**9)}"
    calls = message.get("tool_calls")
    if calls and source.random() < 0.6:
        function = {"name": calls[0]["function"]["name"], "arguments": json.dumps({"q": word})}
        message["tool_calls"] = [{**calls[0], "function": function}, *calls[1:]]
    elif source.random() < 0.3:
        rest.insert(0, message)
        message = {"role": "user", "content": word}
    else:
        content = message.get("content")
        message["content"] = f"{content if isinstance(content, str) else ''} {word}"
    return [*messages[:index], message, *rest], index


def grown(renderer: Renderer, source: random.Random, turns: int) -> Session:
    """Make a session of an agent that goes on from any of its turns, asks twice, edits, and begins anew.

    Args:
        renderer: Format and vocabulary.
        source: What chooses.
        turns: How many turns.
    """
    session = Session("random")
    for number in range(turns):
        sent = _next(session, source)
        prompted = step(session, renderer, sent, TOOLS if source.random() < 0.9 or number == 0 else None)
        ids = _sampled(renderer, source)
        said = assistant_message(renderer.encoder, ids, renderer.parse_response(ids, prompted.tools))
        session = session.after(answered(prompted, Sampling(ids, (-0.5,) * len(ids), said), f"turn-{number}"))
    return session


def _next(session: Session, source: random.Random) -> list[Sent]:
    """Write what an agent asks next: something new, or what it asked before with what came since."""
    if not session.turns or source.random() < 0.1:
        return [{"role": "user", "content": source.choice(_QUESTIONS)}]
    number = source.randrange(max(0, len(session.turns) - 3), len(session.turns))
    told = history(session, number)
    if source.random() < 0.3:  # the same question once more
        return resent(told[:-1], source)
    if source.random() < 0.15:
        told = edited(told, source)[0]
    calls = told[-1].get("tool_calls") or []
    results = [{"role": "tool", "tool_call_id": call["id"], "content": source.choice(_RESULTS)} for call in calls]
    return resent([*told, *(results or [{"role": "user", "content": source.choice(_QUESTIONS)}])], source)


def _sampled(renderer: Renderer, source: random.Random) -> tuple[int, ...]:
    """Make an answer: one of few, so that some come twice, or differ only in their reasoning."""
    called = [
        {"id": None, "type": "function", "function": {"name": name, "arguments": source.choice(_ARGUMENTS)}}
        for name in source.choice(((), (), ("now",), ("search",), ("search", "now")))
    ]
    answer = {"role": "assistant", "content": source.choice(_CONTENTS), "reasoning_content": source.choice(_REASONING)}
    asked = [{"role": "user", "content": "?"}]
    said = {**answer, "tool_calls": called} if called else answer
    ids = renderer.render_ids([*asked, said], TOOLS)
    sampled = ids[len(renderer.render_ids(asked, TOOLS, add_generation_prompt=True)) :]
    cut = len(sampled) if source.random() < 0.8 else source.randint(1, len(sampled))
    return sampled[:cut]
