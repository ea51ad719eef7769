"""Random conversations that look for trouble: one writer, driven by a seed or by Hypothesis.

Bodies begin and end with what straddles seams (newlines, combining marks, digits, half-spelled markers), spell
specials, are empty or white space; arguments nest; roles come in odd orders.
"""

from __future__ import annotations

import json
import random
import re
from itertools import takewhile
from typing import TYPE_CHECKING, Any
from zlib import crc32

from isc._later import Later
from isc.formats._shape import Shape
from isc.formats.base import Family
from isc.formats.reading.scanners import unquoted
from isc.testing import twins
from isc.testing.twins import Conversation

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy
else:
    SearchStrategy = Later

_FRAGMENTS = (
    *(
        "\n",
        "\n\n",
        "\r\n",
        " ",
        "  ",
        "\t",
        "\u00a0",
        "\u3000",
        "\u0338",
        "\u0301",
        "e\u0301",
        "a\u0323\u0302",
        "\u1161",
    ),
    *("\uac00\u11a8", "\u0915\u093c", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f3f3\ufe0f\u200d\U0001f308"),
    *(
        "0",
        "12",
        "3.5",
        "<",
        ">",
        "</",
        "/>",
        "<|",
        "|>",
        "{",
        "}",
        '"',
        "'",
        "\\",
        "`",
        "```",
        ",",
        ".",
        ":",
        "!",
        "?",
    ),
    *("-", "=", "#", "hello", "Hello", " world", "It's", "naïve", "漢字", "かな", "привет", "नमस्ते", "مرحبا"),
    *("user", "assistant", "system", "\u200b", "\ufeff", "\x00", "\x7f", "\u2028", "\u1161", "?"),
)
_NAMES = ("search", "read_file", "now", "get-weather", "a", "überprüfen", "run_tests_2")
_SIZES = ((1, 1), (8, 200), (64, 48), (300, 40), (640, 480))
_SPELLED = frozenset((*_NAMES, "path", "query", "q", "naïve"))
"""Names and keys to which the spelling of a special may be added."""
_CALL_ID = re.compile(r"call\d{5}")
_TYPES = ("string", "integer", "number", "boolean", "object", "array")


def shape_of(family: Family) -> Shape:
    """Return the `shape` of a family: what its conversations may look like.

    >>> from isc import Qwen3
    >>> shape_of(Qwen3()).roles
    ('system', 'user', 'assistant', 'tool')
    """
    return family.shape


def conversations(shape: Shape, *, longest: int = 8) -> SearchStrategy[Conversation]:
    """Make a Hypothesis strategy of conversations of this shape, of one to `longest` messages."""
    from hypothesis import strategies

    seeds = strategies.randoms(use_true_random=False)
    return seeds.map(lambda seed: Writer(seed, shape).conversation(longest))


def bodies(shape: Shape) -> SearchStrategy[str]:
    """Make a Hypothesis strategy of message bodies that spell specials."""
    from hypothesis import strategies

    return strategies.randoms(use_true_random=False).map(lambda seed: Writer(seed, shape).text())


class Writer:
    """Writes conversations from a source of randomness."""

    def __init__(self, source: random.Random, shape: Shape) -> None:
        self.random = source
        self.shape = shape

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.random.random() < probability

    def text(self, longest: int = 6) -> str:
        """Write a body: fragments, specials spelled out or cut in half, sometimes nothing."""
        return "".join(self._fragment() for _ in range(self.random.randint(0, longest)))

    def _fragment(self) -> str:
        if self.shape.specials and self.chance(0.15):
            special = self.random.choice(self.shape.specials)
            return special if self.chance(0.7) else special[: self.random.randint(1, len(special))]
        if self.chance(0.05):
            return chr(self.random.choice((self.random.randint(32, 0xD7FF), self.random.randint(0xE000, 0x10FFFF))))
        return self.random.choice(_FRAGMENTS)

    def value(self, depth: int = 0) -> Any:  # noqa: ANN401 - any JSON value
        """Write a JSON value."""
        kind = self.random.randint(0, 7 if depth < 2 else 5)
        if kind == 6:
            return [self.value(depth + 1) for _ in range(self.random.randint(0, 3))]
        if kind == 7:
            return self.object(depth + 1)
        scalars = (self.text(3), self.random.randint(-(10**6), 10**12), self.random.uniform(-9, 9), True, None, "")
        return scalars[kind]

    def object(self, depth: int = 0) -> dict[str, Any]:
        """Write a JSON object."""
        keys = [
            self.random.choice(("path", "query", "q", "naïve", self.text(2))) for _ in range(self.random.randint(0, 3))
        ]
        values = {key: self.value(depth) for key in keys if re.fullmatch(self.shape.keys, key)}
        texts = {key for key, value in values.items() if isinstance(value, str)}
        said = {key: values[key] for key in values if key not in texts or re.fullmatch(self.shape.values, values[key])}
        if self.shape.tells_kinds:
            return said
        return {key: value for key, value in said.items() if self._tells_its_kind(value, inside=depth > 0)}

    def _tells_its_kind(self, value: Any, *, inside: bool) -> bool:  # noqa: ANN401 - any JSON value
        """Return whether tags and text tell a value from all others. What stands inside another has no schema."""
        if isinstance(value, (dict, list)):
            held = value.values() if isinstance(value, dict) else value
            return bool(value) and all(self._tells_its_kind(one, inside=True) for one in held)
        if inside and isinstance(value, str):
            return unquoted(value) == value and re.fullmatch(self.shape.values, value) is not None
        return value is not None

    def tools(self) -> list[dict[str, Any]] | None:
        """Write tool specs, or none. Descriptions spell specials too."""
        if not (self.shape.tools and self.shape.offers_tools) or self.chance(0.4):
            return None
        return [self._tool(name) for name in self.random.sample(_NAMES, self.random.randint(1, 3))]

    def _tool(self, name: str) -> dict[str, Any]:
        properties = {key: self._property(name) for key in ("path", "q")}
        parameters = {"type": "object", "properties": properties, "required": ["path"]}
        return {"type": "function", "function": {"name": name, "description": self.text(3), "parameters": parameters}}

    def _property(self, name: str) -> dict[str, Any]:
        """Write the schema of an argument. Some texts enumerate their values."""
        kind, described = self.random.choice(_TYPES), self.text(2)
        allowed = {"enum": [described, name]} if kind == "string" and len(described) % 2 else {}
        return {"type": kind, "description": described, **allowed}

    def conversation(self, longest: int = 8) -> Conversation:
        """Write messages, in any order that the shape's roles allow, and tools."""
        messages: list[dict[str, Any]] = []
        call_ids: list[str] = []
        orderly = self.chance(0.6)
        for _ in range(self.random.randint(1, longest)):
            role = self._next_role(messages) if orderly or self.shape.alternates else ""
            messages.append(self._message(role if role in self.shape.roles else self._any_role(messages), call_ids))
        if self.shape.needs_query and not any(map(_is_query, messages)):
            messages.insert(messages[0]["role"] == "system", {"role": "user", "content": "?" + self.text()})
        first = messages[0]["role"] == "system"
        if self.shape.user_first and not any(map(_says_something, messages[first : first + 1])):
            if messages[first:] and messages[first]["role"] == "user":
                del messages[first]
            messages.insert(first, {"role": "user", "content": "?" + self.text()})
        return self._named((messages, self.tools()))

    def _named(self, conversation: Conversation) -> Conversation:
        """Spell specials in some names, call ids and keys, in one of four conversations.

        A name that is spelled so is spelled so everywhere in the conversation.
        """
        salt = crc32(repr(conversation).encode())
        specials = self.shape.specials
        if not specials or salt % 4:
            return conversation

        def write(text: str) -> str:
            number = crc32(f"{salt} {text}".encode())
            if not (text in _SPELLED or _CALL_ID.fullmatch(text)) or number % 2:
                return text
            longer = text + specials[number // 2 % len(specials)]
            return longer if re.fullmatch(self.shape.keys, longer) else text

        return twins.rewritten(conversation, write)

    def _any_role(self, messages: list[dict[str, Any]]) -> str:
        wrong_here: tuple[str, ...] = ("system", "developer") if messages and self.shape.system_first else ()
        if not self._takes_result(messages):
            wrong_here += ("tool",)
        return self.random.choice([role for role in self.shape.roles if role not in wrong_here])

    def _takes_result(self, messages: list[dict[str, Any]]) -> bool:
        """Return whether a tool result may stand here."""
        late = self.shape.results_at_once and messages and messages[-1]["role"] not in ("assistant", "tool")
        if late or (self.shape.results_follow_calls and not _calls(messages)):
            return False
        results = list(takewhile(lambda message: message["role"] == "tool", reversed(messages)))
        before = messages[-len(results) - 1 :][:1]
        calls = len(before[0].get("tool_calls") or ()) if before else 0
        return not self.shape.result_per_call or len(results) < calls

    def _next_role(self, messages: list[dict[str, Any]]) -> str:
        """Return the role an ordinary conversation goes on with."""
        previous = messages[-1]["role"] if messages else None
        if previous is None:
            return "system" if "system" in self.shape.roles and self.chance(0.5) else "user"
        if previous in ("system", "developer"):
            return "user"
        if previous == "assistant":
            return "tool" if messages[-1].get("tool_calls") and "tool" in self.shape.roles else "user"
        return "tool" if previous == "tool" and self.chance(0.3) and self._takes_result(messages) else "assistant"

    def _message(self, role: str, call_ids: list[str]) -> dict[str, Any]:
        if role == "assistant":
            return self._assistant(call_ids)
        message: dict[str, Any] = {"role": role, "content": self.text()}
        if self.shape.images and role in self.shape.image_roles and self.chance(0.5):
            message["content"] = [self._part() for _ in range(self.random.randint(0, 4))]
        if role == "tool" and call_ids and self.chance(0.7):
            message["tool_call_id"] = self.random.choice(call_ids)
        return message

    def _part(self) -> dict[str, Any]:
        """Write a part of a content list: text, or an image of known hash and size."""
        if self.chance(0.5):
            return {"type": "text", "text": self.text()}
        width, height = self.random.choice(_SIZES)
        return {"type": "image", "hash": f"{width:016x}{height:016x}", "width": width, "height": height}

    def _assistant(self, call_ids: list[str]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.text()}
        if self.shape.results_answer_calls:
            call_ids.clear()
        if self.shape.reasoning and self.chance(0.5):
            message["reasoning_content"] = self.text()
        if self.shape.tools and self.chance(0.5):
            message["tool_calls"] = [self._call(call_ids) for _ in range(self.random.randint(1, self.shape.most_calls))]
            if self.shape.calls_alone:
                message["content"] = None
            elif not self.shape.content_with_calls and message.get("reasoning_content"):
                message["content"] = ""
        if not (self.shape.empty_answers or any(message[key] for key in message if key != "role")):
            message["content"] = "!"
        return message

    def _call(self, call_ids: list[str]) -> dict[str, Any]:
        arguments: Any = self.object()
        if self.shape.text_arguments and self.chance(0.4):
            arguments = json.dumps(arguments, ensure_ascii=self.chance(0.5))
        identity = f"call_{len(call_ids):04d}"  # nine characters: some templates take no others
        call_ids.append(identity)
        function = {"name": self.random.choice(_NAMES), "arguments": arguments}
        return {"id": identity, "type": "function", "function": function}


def _calls(messages: list[dict[str, Any]]) -> bool:
    """Return whether the last assistant turn calls."""
    turns = (message for message in reversed(messages) if message["role"] == "assistant")
    return "tool_calls" in next(turns, {"role": "none"})


def _says_something(message: dict[str, Any]) -> bool:
    content = message["content"]
    texts = [part.get("text", "an image") for part in content] if isinstance(content, list) else [content]
    return message["role"] == "user" and any(text.strip() for text in texts)


def _is_query(message: dict[str, Any]) -> bool:
    content = message["content"]
    spelled = content if isinstance(content, str) else "".join(part.get("text", "?") for part in content)
    return message["role"] == "user" and not spelled.strip().startswith("<tool_response>")
