"""What tracing a template costs: every reference template against plain Jinja, and whether it stays linear."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from conversations import agent, tools
from isc.errors import Error
from isc.testing.reference import FileReference
from isc.traced.template import TracedTemplate
from measure import interleaved

Conversation = tuple[list[dict[str, Any]], list[dict[str, Any]] | None]
NOW = "2025-01-15"


def ratio(template: str, cycles: int, rounds: int) -> dict[str, float] | None:
    """Milliseconds of tracing and of plain Jinja on such conversations; None where the template refuses them."""
    traced = TracedTemplate(template, now=NOW, specials=("<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"))
    plain = FileReference(template, Path(), {"bos_token": "", "eos_token": ""}, datetime.fromisoformat(NOW))

    def fresh(seed: int) -> Conversation:
        return list(_renamed(agent(seed, cycles))), tools()

    try:
        plain.text(fresh(1), add_generation_prompt=True)
        list(traced.stream(*fresh(1), True))
    except Error:
        return None
    return interleaved(
        {
            "plain": lambda given: plain.text(given, add_generation_prompt=True),
            "traced": lambda given: list(traced.stream(given[0], given[1], True)),
        },
        fresh,
        rounds=rounds,
        warm_up=1,
    )


def _renamed(messages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The conversation with call ids of nine letters and digits, which is all that Mistral's templates take."""
    names: dict[str, str] = {}
    for message in messages:
        for call in message.get("tool_calls", ()):
            call["id"] = names.setdefault(call["id"], f"c{len(names):08}")
        if "tool_call_id" in message:
            message["tool_call_id"] = names[message["tool_call_id"]]
        yield message


def ratios(reference: Path, cycles: int, rounds: int) -> Iterator[tuple[str, float]]:
    """Each reference template's name, and how many times plain Jinja tracing it takes."""
    for path in sorted((reference / "templates").glob("*/chat_template.jinja")):
        found = ratio(path.read_text(encoding="utf-8"), cycles, rounds)
        if found is not None:
            yield path.parent.name, found["traced"] / found["plain"]


def growth(template: str, cycles: int, rounds: int) -> float:
    """How many times longer tracing takes where the conversation is four times as long."""
    short, long = ratio(template, cycles, rounds), ratio(template, 4 * cycles, rounds)
    assert short is not None
    assert long is not None
    return long["traced"] / short["traced"]


def summary(found: list[tuple[str, float]]) -> tuple[float, str, float]:
    """The median ratio, and the worst with its template."""
    worst = max(found, key=lambda pair: pair[1])
    return statistics.median(value for _, value in found), *worst
