"""Hy3's values and their references; no vocabulary is at hand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from cases import Case, Oddity, Reading
from golden_conversations import Message, assistant, call, system, tool, user
from isc.formats.hy3 import Hy3
from references import arguments_as_objects


def _closed_by_a_user(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a user speaks after results: traced, the user's turn then owns their close, which it begins with.

    Before an answer the prompt tells whose it is, but a user's turn has none.
    """
    return ("tool", "user") in pairwise(message["role"] for message in messages)


def _case(name: str, family: Hy3, **options: Any) -> Case:  # noqa: ANN401 - a template's own
    return Case(
        name,
        family,
        "tencent--Hy3/chat_template.jinja",
        options=options,
        refuses={"tool_first": "messages[0].role", "system_in_the_middle": "messages[1].role"},
        adaptations=(arguments_as_objects,),
        untraced=_closed_by_a_user,
    )


CASES = (
    _case("hy3", Hy3()),
    _case("hy3-high", Hy3(reasoning_effort="high"), reasoning_effort="high"),
    _case(
        "hy3-low-all-thinking",
        Hy3(reasoning_effort="low", preserved_thinking=True),
        reasoning_effort="low",
        preserved_thinking=True,
    ),
    _case("hy3-training", Hy3(is_training=True), is_training=True),
)

TAKEN_UP = (
    _case("hy3-raw", Hy3(raw_last_assistant=True), raw_last_assistant=True),
    _case(
        "hy3-retry",
        Hy3(fallback_strategy="reasoning_toolcall_retry"),
        fallback_strategy="reasoning_toolcall_retry",
    ),
)
"""An answer that is taken up again. No prompt with these options asks for a turn as they write it: renders alone."""

_NO_THINK, _HIGH, _KEPT, _TRAINING = CASES
_RAW, _RETRY = TAKEN_UP


def _tags(text: str) -> str:
    """Tags as the vocabulary spells them."""
    return re.sub(r"<(/?(?:think|tool_\w+|arg_\w+))>", r"<\1:opensource>", text)


_USER, _ANSWER, _EOS = (f"<｜hy_{name}:opensource｜>" for name in ("User", "Assistant", "eos"))
_MODE = "<｜reasoning_mode:opensource｜>reasoning_effort:"
_BOTH = assistant("b", call("f", {"k": [1]}, "1"), call("g", {}, "2"), reasoning="r")
_CALLED = _tags(
    "<tool_calls>\n<tool_call>f<tool_sep>\n<arg_key>k</arg_key>\n<arg_value>[1]</arg_value>\n</tool_call>\n"
    f"<tool_call>g<tool_sep>\n</tool_call>\n</tool_calls>{_EOS}"
)
_TOOLS: list[Message] = [{"type": "function", "function": {"name": "f", "parameters": {}}}]

ODDITIES = (
    Oddity(
        "line 87: the effort ends the system text",
        _NO_THINK,
        [system(" s"), user("a")],
        f"<｜hy_begin_of_sentence:opensource｜> s{_MODE}no_think{_USER}a",
    ),
    Oddity(
        "line 116: with tools it ends how to call",
        _HIGH,
        [user("a")],
        _tags(f"you should print </tool_calls>{_MODE}high{_USER}a"),
        _TOOLS,
    ),
    Oddity("line 191: the last answer is left open", _NO_THINK, [user("a"), assistant("b", reasoning="r")],
           _tags(f"{_USER}a{_ANSWER}<think>r</think>b")),
    Oddity("line 189: but in training", _TRAINING, [user("a"), assistant("b", reasoning="r")],
           _tags(f"{_USER}a{_ANSWER}<think>r</think>b{_EOS}")),
    Oddity("line 186: or the bare content where that is asked for", _RAW, [user("a"), assistant("b", reasoning="r")],
           _tags(f"{_USER}a{_ANSWER}b")),
    Oddity("line 50: to retry, nobody is asked", _RETRY, [user("a")],
           f"{_MODE}high{_USER}a", prompt=True),
    Oddity(
        "line 161: before the last user message a block is empty",
        _NO_THINK,
        [user("a"), assistant("b", reasoning="r"), user("c")],
        _tags(f"{_USER}a{_ANSWER}<think></think>b{_EOS}{_USER}c"),
    ),
    Oddity(
        "line 33: with tools it is not",
        _NO_THINK,
        [user("a"), assistant("b", reasoning=" r"), user("c")],
        _tags(f"{_USER}a{_ANSWER}<think> r</think>b{_EOS}{_USER}c"),
        _TOOLS,
    ),
    Oddity(
        "lines 127, 198 and 209: results of a turn are opened once and closed before each turn",
        _NO_THINK,
        [user("a"), _BOTH, tool("1"), user("c"), tool("2")],
        _tags(
            f"{_ANSWER}<think></think>b{_CALLED}<tool_responses>\n<tool_response>\n1\n</tool_response>\n"
            f"</tool_responses>{_USER}c<tool_response>\n2\n</tool_response>\n</tool_responses>"
        ),
    ),
    Oddity(
        "line 213: nobody is asked after an answer",
        _HIGH,
        [user("a"), assistant("b")],
        _tags(f"{_ANSWER}<think></think>b"),
        prompt=True,
    ),
    Oddity(
        "line 215: who thinks begins so",
        _HIGH,
        [user("a"), _BOTH, tool("1")],
        _tags(f"</tool_response>\n</tool_responses>{_ANSWER}<think>"),
        prompt=True,
    ),
)  # fmt: skip

READINGS = (
    Reading(
        "a whole turn, nothing trimmed",
        Hy3(),
        _tags(f" r</think>\nb\n{_CALLED}"),
        "\nb\n",
        (("ok", "f", {"k": [1]}), ("ok", "g", {})),
        " r",
        prompt=_tags(f"{_ANSWER}<think>"),
    ),
    Reading("an answer at once", Hy3(), f"b{_EOS}", "b", prompt=_tags(f"{_ANSWER}<think></think>")),
    Reading(
        "a call cut off",
        Hy3(),
        _tags("b<tool_calls>\n<tool_call>f<tool_sep>\n<arg_key>k</arg_key>\n<arg_value>1"),
        "b",
        (("unclosed_block", "f", None),),
        prompt=_tags(f"{_ANSWER}<think></think>"),
    ),
)
