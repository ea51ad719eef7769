"""The laws of the gateway's library, on any session: histories are recognized or refused, sampled tokens stand once."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from isc.gateway import Node, Session, match, samples
from isc.testing.agents import Sent, edited, history, resent
from isc.testing.laws import require
from isc.types import AssistantMessage, ToolMessage


def rematching(session: Session, source: random.Random) -> None:
    """Check that a history, written again in whatever way, is the turn that it ends with, or none.

    It is none only where another turn with other ids differs from it in nothing but reasoning and ids.
    """
    for turn in session.turns:
        sent = resent(history(session, turn.number), source)
        found = match(session, sent, session.tools(turn.number))
        twins = [other for other in range(len(session.turns)) if _is_twin(session, turn.number, other)]
        if isinstance(found, Node):
            ids = session.sequence(found.turn) if found.messages == len(sent) else ()
            require(ids == session.sequence(turn.number), f"turn {turn.number} is taken for {found}", sent, twins)
        else:
            require(bool(twins), f"turn {turn.number} is not known: {found.reason}", sent, found)


def edits(session: Session, source: random.Random) -> None:
    """Check that a history is never recognized past the first message in which it says something else."""
    for turn in session.turns:
        changed, index = edited(history(session, turn.number), source)
        found = match(session, resent(changed, source), session.tools(turn.number))
        if isinstance(found, Node):
            require(found.messages <= index, f"an edit of message {index} is taken for {found}", changed, found)


def sampled_once(session: Session) -> None:
    """Check that samples hold every sampled token once, behind the ids it was sampled behind, and are the fewest."""
    parts = samples(session)
    seen: Counter[int] = Counter()
    for sample in parts:
        for span in sample.spans:
            turn, ids = session.turns[span.turn], session.sequence(span.turn)
            start = len(ids) - len(turn.completion_ids)
            require(sample.token_ids[: span.end] == ids[: span.end], f"turn {span.turn} stands behind other ids", ids)
            told = turn.logprobs[span.start - start : span.end - start]
            require(sample.logprobs[span.start : span.end] == told, f"log-probabilities of turn {span.turn}", told)
            seen[span.turn] += span.end - span.start
        require(all(a[1] <= b[0] for a, b in pairwise(sample.loss_spans)), "spans overlap", sample.loss_spans)
        require(sum(span.end - span.start for span in sample.spans) == sample.trainable_tokens, "spans", sample.spans)
    counts = {turn.number: len(turn.completion_ids) for turn in session.turns if turn.completion_ids}
    require(seen == counts, "sampled tokens are lost, or stand twice", seen, counts)
    fewest = _fewest(session, list(counts))
    require(len(parts) == fewest, f"{len(parts)} samples, {fewest} suffice", len(parts))


def _fewest(session: Session, turns: Sequence[int]) -> int:
    """Count the sequences that hold every sampled token once, in the tree of all ids, node by node."""
    children: list[dict[int, int]] = [{}]
    sampled: Counter[int] = Counter()
    for turn in turns:
        ids, node = session.sequence(turn), 0
        start = len(ids) - len(session.turns[turn].completion_ids)
        for position, token_id in enumerate(ids):
            if token_id not in children[node]:
                children[node][token_id] = len(children)
                children.append({})
            node = children[node][token_id]
            sampled[node] += position >= start
    needed: Counter[int] = Counter()
    for node in range(len(children) - 1, -1, -1):  # children come after their parents
        needed[node] = max(sampled[node], sum(needed[child] for child in children[node].values()))
    return needed[0]


def _is_twin(session: Session, turn: int, other: int) -> bool:
    """Return whether two turns with other ids say the same, reasoning and ids of calls aside. Slow and plain."""
    if session.sequence(turn) == session.sequence(other):
        return False
    return _said(session, turn) == _said(session, other)


def _said(session: Session, turn: int) -> list[Any]:
    calls: list[str | None] = []
    said: list[Any] = [[tool.name for tool in session.tools(turn)]]
    for message in session.path(turn):
        content = message.content if isinstance(message.content, str) else _joined(message.content or ())
        content = content.strip()
        if isinstance(message, AssistantMessage):
            if not message.reasoning_content and content.startswith("<think>") and "</think>" in content:
                content = content.partition("</think>")[2].strip()
            made = [(call.name, _spelled(call.arguments)) for call in message.tool_calls]
            said.append(("assistant", content, made))
            calls += [call.id for call in message.tool_calls]
        elif isinstance(message, ToolMessage):
            places = [place for place, name in enumerate(calls) if name == message.tool_call_id]
            said.append(("tool", content, places[-1:]))
        else:
            said.append((type(message).__name__, content))
    return said


def _joined(parts: Sequence[object]) -> str:
    return "".join(getattr(part, "text", "") for part in parts)


def _spelled(arguments: object) -> str:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    try:
        return json.dumps(json.loads(text, parse_float=_whole), sort_keys=True)
    except ValueError:
        return text.strip()


def _whole(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() else number


__all__ = ["Sent", "edits", "rematching", "sampled_once"]
