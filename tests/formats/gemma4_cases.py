"""The values of Gemma 4 and their references: every revision, every option; no tokenizer is at hand.

With thinking the templates of 31B and E2B render the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cases import Case
from image_files import GEMMA4
from isc.formats.gemma4 import Gemma4, Variant
from isc.testing import Conversation
from references import arguments_as_objects, none_as_empty

TEMPLATES: dict[Variant, str] = {
    "31b": "31B-it/chat_template.jinja",
    "31b-2026-05": "31B-it/chat_template.rev-2026-05.jinja",
    "31b-initial": "31B-it/chat_template.rev-initial.jinja",
    "e2b": "E2B-it/chat_template.jinja",
}


def named(conversation: Conversation) -> tuple[Conversation, Mapping[str, Any]]:
    """Results with the name that the template needs where the id is of no call of the turn before."""
    messages, tools = conversation
    told: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    known: dict[str | None, str] = {}
    place = 0
    for message in messages:
        if message["role"] != "tool":
            calls, place = message.get("tool_calls") or [], 0
            known |= {call.get("id"): call["function"]["name"] for call in calls}
            told.append(dict(message))
            continue
        identity = message.get("tool_call_id")
        at_place = calls[place]["function"]["name"] if place < len(calls) else "unknown"
        name = known.get(identity, at_place) if identity else at_place
        told.append({**message, "name": name} if message.get("name") is None else dict(message))
        place += 1
    return (told, tools), {}


_THOUGHTS = re.compile(r"<\|channel>.*?(?:<channel\|>|$)", re.DOTALL)


def untraced(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a result says nothing, which the template writes into the turn before, or a developer speaks first.

    What the developer says is in the opening, the end of which nothing in the text tells. Where an answer is all
    thoughts, which the template leaves out, its turn's end behind results stands as if nobody had said anything.
    """
    silent = any(message["role"] == "tool" and not str(message["content"] or "").strip() for message in messages)
    return silent or messages[0]["role"] == "developer" or any(map(_left_out, messages))


def _left_out(message: Mapping[str, Any]) -> bool:
    """Whether an answer that calls has a content of which the template shows nothing."""
    content = str(message.get("content") or "")
    return bool(message.get("tool_calls") and content) and not _THOUGHTS.sub("", content).strip()


def _case(name: str, variant: Variant, *, thinks: bool = False, images: bool = False) -> Case:
    family = Gemma4(variant=variant, enable_thinking=thinks)
    refuses = {"images": "messages[2].content[0]"} if images else {}
    refuses |= {} if variant == "31b-initial" else {"tool_first": "messages[0]"}
    return Case(
        name,
        family,
        f"google--gemma-4-{TEMPLATES[variant]}",
        options={"enable_thinking": True} if thinks else {},
        bos_token="<bos>",
        eos_token="<eos>",
        refuses=refuses,
        adaptations=(none_as_empty, arguments_as_objects),
        prepare=named,
        untraced=untraced,
        writes=("true", "false"),
        images=images,
        image_settings=GEMMA4,
        # the template drops images of results, which are refused
        template_takes={"image_roles": ("user",)} if images else {},
        bridges=variant != "31b-initial" or thinks,
    )


CASES = (
    _case("gemma-4", "31b"),
    _case("gemma-4-thinking", "31b", thinks=True),
    _case("gemma-4-2026-05", "31b-2026-05", thinks=True),
    _case("gemma-4-initial", "31b-initial"),
    _case("gemma-4-initial-thinking", "31b-initial", thinks=True),
    _case("gemma-4-e2b", "e2b"),
    _case("gemma-4-images", "e2b", thinks=True, images=True),
)
