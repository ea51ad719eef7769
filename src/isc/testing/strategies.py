"""Random conversations that look for trouble: one writer, driven by a seed or by Hypothesis.

Bodies begin and end with what straddles seams (newlines, combining marks, digits, half-spelled markers), spell
specials, are empty or white space; arguments nest; roles come in odd orders.
"""

from __future__ import annotations

import json
import random
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from isc import convert
from isc.conversation.renderer import stream
from isc.errors import Error
from isc.formats.base import Family
from isc.testing.laws import Conversation
from isc.types import ROLES

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

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
_TYPES = ("string", "integer", "number", "boolean", "object", "array")


class Shape(Struct, frozen=True):
    """What a family takes: its roles, whether it renders reasoning and tools, and the specials bodies should spell.

    `text_arguments`: whether arguments may be given as JSON text. `offers_tools`: whether tools may be given, not only
    called. `most_calls`: in one turn. `calls_alone`: a turn that calls says nothing else. `content_with_calls`: beside
    reasoning, that is. `results_follow_calls`: a tool result stands where the last assistant turn calls.
    `system_first`: a system message only stands first. `user_first`: a user speaks first, after a leading system
    message, and says something. `needs_query`: one user message is not a tool result in disguise. `keys`, `values`:
    what names and texts of arguments match, for formats that quote nothing and so cannot tell all from their tags.
    `images`: whether users and tools show some.
    """

    roles: tuple[str, ...] = ("system", "user", "assistant", "tool")
    reasoning: bool = True
    tools: bool = True
    specials: tuple[str, ...] = ()
    text_arguments: bool = True
    offers_tools: bool = True
    most_calls: int = 3
    calls_alone: bool = False
    content_with_calls: bool = True
    results_follow_calls: bool = False
    system_first: bool = False
    user_first: bool = False
    needs_query: bool = False
    keys: str = "(?s:.*)"
    values: str = "(?s:.*)"
    images: bool = False


def shape_of(family: Family) -> Shape:
    """What a family takes, found by asking it: roles, where a system message may stand, whether it needs a query.

    >>> from isc import Qwen3
    >>> shape_of(Qwen3()).roles
    ('system', 'user', 'assistant', 'tool')
    """
    user, said = {"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}
    call: dict[str, Any] = {"function": {"name": "f", "arguments": {}}}
    calling, alone = {**said, "tool_calls": [call]}, {"role": "assistant", "content": None, "tool_calls": [call]}
    as_text = [{"function": {"name": "f", "arguments": "{}"}}]
    result = {"role": "tool", "content": "x"}
    tool = {"name": "f", "description": "", "parameters": {"type": "object", "properties": {}}}

    takes = partial(_takes, family)
    roles = tuple(role for role in ROLES.values() if takes({"role": role, "content": "x"}, user, said))
    anywhere = "tool" in roles or takes(user, said, result)
    later = ("tool",) if "tool" not in roles and (anywhere or takes(user, calling, result)) else ()
    offers_tools = takes(user, tools=[tool])
    return Shape(
        roles + later,
        reasoning=family.has_reasoning,
        text_arguments=any(takes(user, {**turn, "tool_calls": as_text}) for turn in (said, alone)),
        offers_tools=offers_tools,
        calls_alone=takes(user, alone, user, alone) and not takes(user, calling, user, calling),
        specials=family.specials,
        system_first="system" in roles and not takes(user, {"role": "system", "content": "x"}, said),
        needs_query=not takes(said),
        user_first=offers_tools and not takes(said, user, tools=[tool]),
        most_calls=3 if any(takes(user, {**turn, "tool_calls": [call] * 3}) for turn in (said, alone)) else 1,
        results_follow_calls=not anywhere,
    )


def _takes(family: Family, *messages: dict[str, Any], tools: convert.Tools = None) -> bool:
    """Whether a family renders these."""
    try:
        return bool(list(stream(family, convert.chat(messages, tools))))
    except Error:
        return False


def conversations(shape: Shape, *, longest: int = 8) -> SearchStrategy[Conversation]:
    """A Hypothesis strategy of conversations of this shape, of one to `longest` messages."""
    from hypothesis import strategies

    seeds = strategies.randoms(use_true_random=False)
    return seeds.map(lambda seed: Writer(seed, shape).conversation(longest))


def bodies(shape: Shape) -> SearchStrategy[str]:
    """A Hypothesis strategy of message bodies that spell specials."""
    from hypothesis import strategies

    return strategies.randoms(use_true_random=False).map(lambda seed: Writer(seed, shape).text())


class Writer:
    """Writes conversations from a source of randomness."""

    def __init__(self, source: random.Random, shape: Shape) -> None:
        self.random = source
        self.shape = shape

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random.random() < probability

    def text(self, longest: int = 6) -> str:
        """A body: fragments, specials spelled out or cut in half, sometimes nothing."""
        return "".join(self._fragment() for _ in range(self.random.randint(0, longest)))

    def _fragment(self) -> str:
        if self.shape.specials and self.chance(0.15):
            special = self.random.choice(self.shape.specials)
            return special if self.chance(0.7) else special[: self.random.randint(1, len(special))]
        if self.chance(0.05):
            return chr(self.random.choice((self.random.randint(32, 0xD7FF), self.random.randint(0xE000, 0x10FFFF))))
        return self.random.choice(_FRAGMENTS)

    def value(self, depth: int = 0) -> Any:  # noqa: ANN401 - any JSON value
        """A JSON value."""
        kind = self.random.randint(0, 7 if depth < 2 else 5)
        if kind == 6:
            return [self.value(depth + 1) for _ in range(self.random.randint(0, 3))]
        if kind == 7:
            return self.object(depth + 1)
        scalars = (self.text(3), self.random.randint(-(10**6), 10**12), self.random.uniform(-9, 9), True, None, "")
        return scalars[kind]

    def object(self, depth: int = 0) -> dict[str, Any]:
        """A JSON object."""
        keys = [
            self.random.choice(("path", "query", "q", "naïve", self.text(2))) for _ in range(self.random.randint(0, 3))
        ]
        found = {key: self.value(depth) for key in keys if re.fullmatch(self.shape.keys, key)}
        texts = {key for key, value in found.items() if isinstance(value, str)}
        return {key: found[key] for key in found if key not in texts or re.fullmatch(self.shape.values, found[key])}

    def tools(self) -> list[dict[str, Any]] | None:
        """Tool specs, or none; descriptions spell specials too."""
        if not (self.shape.tools and self.shape.offers_tools) or self.chance(0.4):
            return None
        return [self._tool(name) for name in self.random.sample(_NAMES, self.random.randint(1, 3))]

    def _tool(self, name: str) -> dict[str, Any]:
        properties = {key: {"type": self.random.choice(_TYPES), "description": self.text(2)} for key in ("path", "q")}
        parameters = {"type": "object", "properties": properties, "required": ["path"]}
        return {"type": "function", "function": {"name": name, "description": self.text(3), "parameters": parameters}}

    def conversation(self, longest: int = 8) -> Conversation:
        """Messages in any order the shape's roles allow, and tools."""
        messages: list[dict[str, Any]] = []
        known: list[str] = []
        orderly = self.chance(0.6)
        for _ in range(self.random.randint(1, longest)):
            role = self._next_role(messages) if orderly else ""
            messages.append(self._message(role if role in self.shape.roles else self._any_role(messages), known))
        if self.shape.needs_query and not any(map(_is_query, messages)):
            messages.insert(messages[0]["role"] == "system", {"role": "user", "content": "?" + self.text()})
        first = messages[0]["role"] == "system"
        if self.shape.user_first and not any(map(_says_something, messages[first : first + 1])):
            messages.insert(first, {"role": "user", "content": "?" + self.text()})
        return messages, self.tools()

    def _any_role(self, messages: list[dict[str, Any]]) -> str:
        wrong_here: tuple[str, ...] = ("system",) if messages and self.shape.system_first else ()
        if self.shape.results_follow_calls and not _calls(messages):
            wrong_here += ("tool",)
        return self.random.choice([role for role in self.shape.roles if role not in wrong_here])

    def _next_role(self, messages: list[dict[str, Any]]) -> str:
        """The role an ordinary conversation goes on with."""
        previous = messages[-1]["role"] if messages else None
        if previous is None:
            return "system" if "system" in self.shape.roles and self.chance(0.5) else "user"
        if previous in ("system", "developer"):
            return "user"
        if previous == "assistant":
            return "tool" if messages[-1].get("tool_calls") and "tool" in self.shape.roles else "user"
        return "tool" if previous == "tool" and self.chance(0.3) else "assistant"

    def _message(self, role: str, known: list[str]) -> dict[str, Any]:
        if role == "assistant":
            return self._assistant(known)
        message: dict[str, Any] = {"role": role, "content": self.text()}
        if self.shape.images and role in ("user", "tool") and self.chance(0.5):
            message["content"] = [self._part() for _ in range(self.random.randint(0, 4))]
        if role == "tool" and known and self.chance(0.7):
            message["tool_call_id"] = self.random.choice(known)
        return message

    def _part(self) -> dict[str, Any]:
        """A part of a content list: text, or an image of which hash and size are known."""
        if self.chance(0.5):
            return {"type": "text", "text": self.text()}
        width, height = self.random.choice(_SIZES)
        return {"type": "image", "hash": f"{width:016x}{height:016x}", "width": width, "height": height}

    def _assistant(self, known: list[str]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.text()}
        if self.shape.reasoning and self.chance(0.5):
            message["reasoning_content"] = self.text()
        if self.shape.tools and self.chance(0.5):
            message["tool_calls"] = [self._call(known) for _ in range(self.random.randint(1, self.shape.most_calls))]
            if self.shape.calls_alone:
                message["content"] = None
            elif not self.shape.content_with_calls and message.get("reasoning_content"):
                message["content"] = ""
        return message

    def _call(self, known: list[str]) -> dict[str, Any]:
        arguments: Any = self.object()
        if self.shape.text_arguments and self.chance(0.4):
            arguments = json.dumps(arguments, ensure_ascii=self.chance(0.5))
        identity = f"call_{len(known)}"
        known.append(identity)
        function = {"name": self.random.choice(_NAMES), "arguments": arguments}
        return {"id": identity, "type": "function", "function": function}


def _calls(messages: list[dict[str, Any]]) -> bool:
    """Whether the last assistant turn calls."""
    turns = (message for message in reversed(messages) if message["role"] == "assistant")
    return "tool_calls" in next(turns, {"role": "none"})


def _says_something(message: dict[str, Any]) -> bool:
    return message["role"] == "user" and bool(message["content"].strip())


def _is_query(message: dict[str, Any]) -> bool:
    content = message["content"]
    spelled = content if isinstance(content, str) else "".join(part.get("text", "?") for part in content)
    return message["role"] == "user" and not spelled.strip().startswith("<tool_response>")
