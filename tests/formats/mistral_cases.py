"""The values of Mistral and their references: every version; the reference has no tokenizer of them."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from cases import Case
from image_files import PIXTRAL, images_of
from isc.formats.mistral import Mistral, Variant
from isc.testing import Conversation
from references import Adaptation, arguments_as_objects, arguments_as_text, none_as_empty, parts_joined

TEMPLATES: dict[Variant, str] = {
    "v3": "Mistral-7B-Instruct-v0.3/chat_template.jinja",
    "v3-tekken": "Mistral-Nemo-Instruct-2407/chat_template.jinja",
    "v11": "Mistral-Small-3.2-24B-Instruct-2506/chat_template.jinja",
    "v13": "Ministral-3-14B-Reasoning-2512/chat_template.jinja",
    "devstral": "Devstral-Small-2507/chat_template.unsloth.jinja",
}
DAY = "2030-01-02"
_NO_USER_FIRST = {"tool_first": "messages[0].role", "no_user": "messages[1].role"}
_IN_ORDER = {**_NO_USER_FIRST, "system_in_the_middle": "messages[1].role"}
_NAMED_SHORTLY = {
    "call_after_content": "messages[1].content",
    "parallel_calls": "messages[1].content",
    "several_cycles": "messages[1].tool_calls[0].id",
}


def identified(conversation: Conversation) -> tuple[Conversation, Mapping[str, Any]]:
    """Calls without an id numbered, results without one with that of the call at their place: templates want ids."""
    messages, tools = conversation
    told: list[dict[str, Any]] = []
    waiting: list[str] = []
    number = 0
    for message in messages:
        written = dict(message)
        if message["role"] == "tool":
            at_place = waiting.pop(0) if waiting else ""
            if not message.get("tool_call_id"):
                written["tool_call_id"] = at_place
        else:
            calls = [
                {**call, "id": call.get("id") or str(number + place).zfill(9)}
                for place, call in enumerate(message.get("tool_calls") or ())
            ]
            number += len(calls)
            waiting = [call["id"] for call in calls]
            if calls:
                written["tool_calls"] = calls
        told.append(written)
    return (told, tools), {}


def thoughts_as_parts(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """An assistant's reasoning and content as the parts that v13's template reads; it takes no empty text alone."""
    if message["role"] != "assistant":
        return message
    thought = message.get("reasoning_content")
    parts: list[dict[str, str]] = [{"type": "thinking", "thinking": thought}] if thought else []
    return {**message, "content": [*parts, {"type": "text", "text": message["content"]}]}


def marked_names_with_text(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments as text beside names that HTML would escape, which v13's `arguments|tojson|safe` escapes."""
    called = [call["function"]["name"] for call in message.get("tool_calls") or ()]
    return arguments_as_text(message) if any(html.escape(name) != name for name in called) else message


def shown_or_joined(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Lists of text parts joined, of none too: v13's template takes no list that is empty. Others are as they are."""
    return message if any(images_of([message])) else parts_joined(message)


_IMAGES: dict[str, Any] = {
    "images": True,
    "image_settings": PIXTRAL,
    "template_takes": {"image_roles": ("user",)},  # what a tool shows is refused
}
_JOINED = (parts_joined, none_as_empty)
_WITH_IDS: tuple[Adaptation, ...] = (*_JOINED, arguments_as_objects)


def _case(name: str, variant: Variant, *, refuses: Mapping[str, str], **more: Any) -> Case:  # noqa: ANN401 - fields
    return Case(
        name,
        Mistral(variant=variant, current_date=DAY if variant == "v11" else None),
        f"mistralai--{TEMPLATES[variant]}",
        bos_token="<s>",
        eos_token="</s>",
        refuses=refuses,
        **more,
    )


CASES = (
    _case("mistral-v3", "v3", refuses=_IN_ORDER | _NAMED_SHORTLY, adaptations=_WITH_IDS, prepare=identified),
    _case("mistral-nemo", "v3-tekken", refuses=_IN_ORDER | _NAMED_SHORTLY, adaptations=_WITH_IDS, prepare=identified),
    _case(
        "mistral-v11",
        "v11",
        refuses=_IN_ORDER | _NAMED_SHORTLY | {"system_in_the_middle": "messages[2].role"},
        adaptations=_WITH_IDS,
        prepare=identified,
        now=DAY,
    ),
    _case(
        "mistral-v13",
        "v13",
        refuses=_IN_ORDER,
        adaptations=(*_JOINED, thoughts_as_parts, marked_names_with_text),
        thinks_in_parts=True,
    ),
    _case(
        "mistral-v11-images",
        "v11",
        refuses=_IN_ORDER
        | _NAMED_SHORTLY
        | {"system_in_the_middle": "messages[2].role", "images": "messages[1].content"},
        adaptations=(shown_or_joined, none_as_empty, arguments_as_objects),
        prepare=identified,
        now=DAY,
        **_IMAGES,
    ),
    _case(
        "mistral-v13-images",
        "v13",
        refuses=_IN_ORDER | {"images": "messages[2].content[0]"},
        adaptations=(shown_or_joined, none_as_empty, thoughts_as_parts, marked_names_with_text),
        thinks_in_parts=True,
        **_IMAGES,
    ),
    _case("mistral-devstral", "devstral", refuses={}, adaptations=_JOINED),
)
