"""Every way in which isc.compat and `renderers` are known to differ, and the functions that name a difference.

A name that begins with `?` is a difference that has no reason yet: the suite fails on it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, Final, TypeAlias

from isc.compat import RenderedTokens
from isc.errors import ConversationError
from isc.formats.catalogue import family_name
from isc.testing import Conversation
from peers.sides import Sides, Turn

_V4_CLOSER: Final = "</｜DSML｜parameter>"
_V4_MARKERS: Final = re.compile(r'^<｜DSML｜invoke name="|</｜DSML｜invoke>$')
_PIECES: Final = re.compile(r"<[^<>\s]{1,40}>|\s|[^\s<]+|<")
_THINK: Final = re.compile(r"(?:<think>|</think>|\n)*")
_OWN_TURNS: Final = {
    "deepseek-v3": "DeepSeek's turns",
    "deepseek-r1": "DeepSeek's turns",
    "kimi-k2": "Kimi's turns",
    "kimi-k2.5": "Kimi's turns",
    "llama-3": "Llama's turns",
    "nemotron-3": "Nemotron's turns",
    "gpt-oss": "Harmony's turns",
}
"""Formats whose template `renderers` follows in the main; that isc follows it is checked for every conversation."""
_V4_TOOLS: Final = re.compile(r"(?:\n\n)?## Tools\n\nYou have.*?parameter schemas to invoke tool calls\.\n", re.DOTALL)
"""What DeepSeek-V4's encoder writes of tools, from its first words to its last."""
_USER: Final = re.compile(r"\n*(?:<\|im_start\|>user)?\n*")


def of_render(both: Sides, conversation: Conversation, *, add_generation_prompt: bool) -> set[str]:
    """How two renders of a conversation differ."""
    messages, tools = conversation
    options: dict[str, Any] = {"tools": tools, "add_generation_prompt": add_generation_prompt}
    said = tuple(messages)
    ours = both.ours.render(messages, **options)
    try:
        theirs = both.theirs.render([*messages], **options)
    except ValueError:
        return {"refused"}
    if ours.token_ids == theirs.token_ids:
        return set(_columns(both, ours, theirs, said))
    parsed = both.parsing.render(messages, **options)
    found = {"specials"} if parsed.token_ids != ours.token_ids else set()
    if parsed.token_ids == theirs.token_ids:
        return found | set(_columns(both, parsed, theirs, said))
    if _main_variant(both, conversation, options) == theirs.token_ids:
        return found | {"variant"}
    text = both.reference.text(conversation, add_generation_prompt=add_generation_prompt)
    strict = both.strict.render_ids(messages, **options)
    return found | set(_texts(both, parsed.token_ids, theirs.token_ids, strict, text))


def _main_variant(both: Sides, conversation: Conversation, options: Mapping[str, Any]) -> list[int] | None:
    """What a family's main variant makes of a conversation, without later system messages where it refuses them."""
    if both.default is None:
        return None
    messages = conversation[0]
    try:
        return both.default.render_ids(messages, **options)
    except ConversationError:
        kept = [message for place, message in enumerate(messages) if not place or message["role"] != "system"]
    try:
        return both.default.render_ids(kept, **options)
    except ConversationError:
        return None


def _texts(
    both: Sides, ours: Sequence[int], theirs: Sequence[int], strict: Sequence[int], template: str
) -> Iterator[str]:
    """How two texts differ; that of isc's own family has to be the template's."""
    encoder = both.ours.renderer.encoder
    left, right, own = (encoder.decode_bytes(ids).decode("utf-8", "replace") for ids in (ours, theirs, strict))
    if encoder.normalize(own) != encoder.normalize(template):
        yield "?isc does not render the template"
    if left == right:
        yield "cut"
    elif family_name(both.case.family) == "deepseek-v4" and _V4_TOOLS.sub("", left) == _V4_TOOLS.sub("", right):
        yield "tools elsewhere"
        return
    a, b = _PIECES.findall(left), _PIECES.findall(right)
    for tag, start, end, begin, stop in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag != "equal":
            mine, other = "".join(a[start:end]), "".join(b[begin:stop])
            left_out = (
                both.default is not None and not other and (_THINK.fullmatch(mine) or mine.startswith("system\n"))
            )
            yield "variant" if left_out else _hunk(family_name(both.case.family), mine, other)


def _hunk(family: str, ours: str, theirs: str) -> str:
    """What a piece of text that differs comes from."""
    if family == "glm-4.5" and (ours, theirs) == ("\n", ""):
        return "calls in a row"
    if family == "glm-5.1" and ours.split() == theirs.split():
        return "white space stripped"
    if family == "glm-5.1" and (ours, theirs) == ("<think>", ""):
        return "think block dropped"
    if (
        family.startswith(("qwen3", "nemotron"))
        and "<|im_start|>user" in theirs
        and _USER.fullmatch(theirs)
        and not ours.strip()
    ):
        return "result without a turn"
    if family in _OWN_TURNS:
        return _OWN_TURNS[family]
    return f"?text {ours!r} {theirs!r}"


def _table(ours: RenderedTokens, theirs: Any, messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:  # noqa: ANN401
    """How what is told of the messages differs: the tool of a result, by the nearest call before it that has its id."""
    if ours.message_roles != theirs.message_roles:
        yield "?message roles"
    called: dict[str, str] = {}
    names = zip(messages, ours.message_tool_names, theirs.message_tool_names, strict=True)
    for message, mine, other in names:
        called |= {call["id"]: call["function"]["name"] for call in message.get("tool_calls") or () if call.get("id")}
        if mine != other:
            is_nearest = mine == called.get(message.get("tool_call_id") or "")
            yield "id used again" if is_nearest else f"?tool name {mine!r} {other!r}"


def _columns(
    both: Sides,
    ours: RenderedTokens,
    theirs: Any,  # noqa: ANN401 - theirs
    messages: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    """How columns of equal ids differ, token by token."""
    yield from _table(ours, theirs, messages)
    by_v4 = family_name(both.case.family) == "deepseek-v4"
    by_next = both.ours.renderer.family.turn_close is None
    for place, mine in enumerate(zip(ours.message_indices, ours.sampled_mask, ours.is_content, strict=True)):
        other = (theirs.message_indices[place], theirs.sampled_mask[place], theirs.is_content[place])
        if mine == other:
            continue
        role = ours.message_roles[mine[0]] if mine[0] >= 0 else None
        last = ours.message_indices[place + 1 : place + 2] != [mine[0]]
        if by_next and role == "assistant" and mine[1] and last:
            yield "closed by the next marker"
        elif by_v4 and role == "tool" and not mine[2] and not other[2]:
            yield _around_results(mine[0], other[0], ours.message_roles)
        else:
            alone = not (place and ours.is_content[place - 1] and ours.message_indices[place - 1] == mine[0])
            yield _token(role, mine, other, first=alone)


def _around_results(mine: int, other: int, roles: Sequence[str | None]) -> str:
    """What a marker around DeepSeek-V4's results comes from, by its owners."""
    if other == -1 or roles[other] == "assistant":
        return "asked by the user"
    in_a_row = set(roles[min(mine, other) : max(mine, other)]) <= {"tool", "user"}
    return "results in order" if in_a_row else f"?results {mine} {other}"


_Token: TypeAlias = tuple[int, bool, bool]
"""Owner, sampled, content."""


def _token(role: str | None, mine: _Token, other: _Token, *, first: bool) -> str:
    """What a token that is attributed differently comes from."""
    if not mine[2] and not other[2] and role in ("system", "developer", None):
        return "opening"
    if role in ("system", "developer") and mine[0] == other[0] and not mine[2] and other[2]:
        return "instructions"
    if not mine[2] and not other[2] and role == "user" and other[0] in (-1, mine[0] + 1):
        return "asked by the user"
    if role == "system" and other[0] <= mine[0] and other[2] and not (mine[2] and mine[0] == other[0]):
        return "system messages joined"
    if role == "tool" and mine[0] == other[0] and not mine[2] and other[2]:
        return "quotes"
    if mine[0] == other[0] and role == "assistant" and mine[1] == mine[2] and other[1] == other[2]:
        return "sampled after the prompt" if mine[1] else "prefilled"
    if mine[0] == other[0] and mine[2] and first and not mine[1] and not other[1]:
        return "token of both"
    return f"?token {role} {mine} {other}"


def of_bridge(both: Sides, turn: Turn) -> set[str]:
    """How two bridges after a turn differ."""
    given = (turn.prompt_ids, turn.completion_ids, turn.following)
    ours = both.parsing.bridge_to_next_turn(*given, tools=turn.tools)
    theirs = both.theirs.bridge_to_next_turn(*given, tools=turn.tools)
    if ours is None or theirs is None:
        return _refused(both, turn, ours is None, theirs is None)
    if ours.token_ids == theirs.token_ids:
        return set(_columns(both, ours, theirs, tuple(turn.following)))
    known = len(turn.prompt_ids) + len(turn.completion_ids)
    if theirs.token_ids[:known] != ours.token_ids[:known]:
        return {"ids dropped" if len(theirs.token_ids) < len(ours.token_ids) else "?rewrites ids"}
    found = set(_tails(both, ours.token_ids[known:], theirs.token_ids[known:]))
    if both.default is not None and any(name.startswith("?") for name in found):
        main = both.default.bridge_to_next_turn(*given, tools=turn.tools)
        if main is not None:
            found = {"variant", *_tails(both, main.token_ids[known:], theirs.token_ids[known:])}
    return found


def _refused(both: Sides, turn: Turn, ours: bool, theirs: bool) -> set[str]:
    if ours and theirs:
        return set()
    given = (turn.prompt_ids, turn.completion_ids, turn.following)
    reason = getattr(both.ours.renderer.plan_bridge(*given, turn.tools), "reason", None)
    if both.default is not None and (both.default.bridge_to_next_turn(*given, tools=turn.tools) is None) == theirs:
        return {"variant"}
    if theirs:
        return {"renders anew"}
    if ours and reason == "reasoning_stopped":
        return {"stopped in reasoning"}
    return {"retention"} if ours and reason == "retention" else {f"?refused {reason}"}


def _tails(both: Sides, ours: Sequence[int], theirs: Sequence[int]) -> Iterator[str]:
    """How what two bridges add differs."""
    decode = both.ours.renderer.encoder.decode_bytes
    left, right = (decode(ids).decode("utf-8", "replace") for ids in (ours, theirs))
    family = both.ours.renderer.family
    closing = "".join(segment.text for segment in family.reasoning.closing) if family.reasoning else ""
    closer = family.reasoning.closer if family.reasoning else ""
    if closer and left.startswith(closing) and right.startswith(closer) and closing != closer:
        yield "reasoning closed"
        left = closer + left.removeprefix(closing)
    elif closer and left.startswith(closer) != right.startswith(closer):
        yield "no reasoning yet" if right.startswith(closer) else "reasoning reopened"
        left, right = left.removeprefix(closer), right.removeprefix(closer)
    end = family.stop_tokens[0]
    if family.turn_close is None and right.removeprefix(closer).startswith(end):
        yield "end of text added"
        right = right.replace(end, "", 1)
    if family.turn_close and left.startswith(family.turn_close) and not right.startswith(family.turn_close):
        yield "closed after another stop"
        left = left.removeprefix(family.turn_close)
    if left != right:
        yield _OWN_TURNS.get(family_name(both.case.family), f"?bridge {left[:60]!r} {right[:60]!r}")


def of_parse(both: Sides, turn: Turn) -> set[str]:
    """How two readings of a turn differ."""
    options: dict[str, Any] = {"tools": turn.tools, "prompt_ids": turn.prompt_ids}
    ours = both.ours.parse_response(turn.completion_ids, **options)
    theirs = both.theirs.parse_response(list(turn.completion_ids), **options)
    found = set(_words(both, ours, theirs))
    if len(ours.tool_calls) != len(theirs.tool_calls):
        fewer = len(theirs.tool_calls) < len(ours.tool_calls)
        return {"call not read" if fewer else f"?calls {len(ours.tool_calls)} {len(theirs.tool_calls)}"}
    for mine, other in zip(ours.tool_calls, theirs.tool_calls, strict=True):
        found |= set(_call(mine, other))
    return found


def _words(both: Sides, ours: Any, theirs: Any) -> Iterator[str]:  # noqa: ANN401
    markers = both.ours.renderer.family.reasoning
    opener = markers.opener if markers else "<think>"
    if theirs.content.startswith(opener) and ours.reasoning_content is not None:
        yield "reasoning reopened"
        return
    if markers and markers.closer in (ours.reasoning_content or "") and ours.content != theirs.content:
        yield "spelled marker"
        return
    if markers and ours.reasoning_content is None and _repeats_closer(markers.closer, ours.content, theirs.content):
        yield "closer again"
    elif ours.content != theirs.content:
        stripped = (ours.content.strip(), theirs.content.strip())
        closed = theirs.content.endswith((*both.case.family.specials, *both.case.family.stop_tokens))
        header = family_name(both.case.family) == "gpt-oss" and " to".startswith(ours.content[:3])
        text = "white space kept" if stripped[0] == stripped[1] else "marker read as text" if closed else "?content"
        yield "header cut off" if header and not theirs.content else text
    mine, other = ours.reasoning_content, theirs.reasoning_content
    if mine != other:
        stopped = any((other or "").endswith(stop) for stop in both.ours.renderer.family.stop_tokens)
        if stopped and not ours.reasoning_complete:
            yield "stopped in reasoning"
            return
        same = (mine or "").strip() == (other or "").strip()
        yield "?reasoning" if not same else "white space kept" if (mine or "") and (other or "") else "empty reasoning"
    if ours.reasoning_complete != theirs.reasoning_complete:
        yield "no reasoning yet" if mine is None and not other else "?complete"


def _read(call: Any) -> tuple[str | None, object, str, tuple[int, int]]:  # noqa: ANN401
    """What is read of a call but for its status."""
    return call.name, call.arguments, call.raw, tuple(call.token_span)


def _repeats_closer(closer: str, ours: str, theirs: str) -> bool:
    """Whether a text differs by a closer of reasoning at its head."""
    return theirs.lstrip().startswith(closer) and theirs.lstrip().removeprefix(closer).strip() == ours.strip()


def _whole_call(ours: Any, theirs: Any) -> str | None:  # noqa: ANN401
    """What two readings of a call differ by as a whole, if they do."""
    statuses = (ours.status, theirs.status)
    if ours.status == "unclosed_block":
        return "call cut off"
    if statuses == ("ok", "unclosed_block") and _read(ours) == _read(theirs):
        return "whole call without an end"
    if statuses == ("ok", "malformed_structure") and _V4_CLOSER in json.dumps(ours.arguments, ensure_ascii=False):
        return "closer in an argument"
    is_named_by_id = statuses == ("missing_name", "ok") and theirs.name == (theirs.id or "").split(":")[0]
    return "call named by its id" if is_named_by_id else None


def _call(ours: Any, theirs: Any) -> Iterator[str]:  # noqa: ANN401
    mine, other = ((call.status, call.name, call.arguments, call.id) for call in (ours, theirs))
    whole = _whole_call(ours, theirs) if mine != other else None
    if whole is not None:
        yield whole
        return
    if ours.token_span != theirs.token_span:
        within = theirs.token_span[0] <= ours.token_span[0] < ours.token_span[1] <= theirs.token_span[1]
        yield "calls in one block" if within else f"?span {ours.token_span} {theirs.token_span}"
    elif ours.raw != theirs.raw:
        yield "raw call" if ours.raw.strip() == _V4_MARKERS.sub("", theirs.raw).strip() else "?raw"
    if ours.id != theirs.id:
        yield f"?id {ours.id} {theirs.id}"
    if ours.status != theirs.status:
        undeclared = (ours.status, theirs.status) == ("ok", "invalid_json")
        yield "undeclared argument" if undeclared else f"?status {ours.status} {theirs.status}"
    if theirs.name and (ours.name or "").startswith(theirs.name) and ours.name != theirs.name:
        yield "marker in a name"
    elif ours.name != theirs.name:
        yield f"?name {ours.name} {theirs.name} {ours.status}"
    if ours.arguments != theirs.arguments:
        yield "arguments"
