"""Parts of bodies, literally: what is sampled of a turn that calls and of an answer, format by format, by hand.

A part stands before its text: `r` reasoning, `c` content, `n` a call's name, `a` its arguments, `t` what stands around
these, `m` what the format writes elsewhere, `x` the close, `o` a tool's result. A bar `¦` parts them.
"""

from __future__ import annotations

from typing import Any

import pytest

import isc
from isc.formats._parts import planned_parts
from isc.formats.base import frame_in
from isc.formats.segments import body, special
from isc.types import BodyPart

LETTERS: dict[BodyPart, str] = {
    "reasoning": "r",
    "content": "c",
    "tool_name": "n",
    "tool_arguments": "a",
    "tool_call": "t",
    "marker": "m",
    "close": "x",
    "tool_result": "o",
    "media": "i",
}
CALL = {"id": "abcdefgh1", "type": "function", "function": {"name": "get", "arguments": {"city": "Oslo", "n": 3}}}
ASKED = {"role": "assistant", "reasoning_content": "Where?", "content": "Look.", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "abcdefgh1", "name": "get", "content": "Rain"}
ANSWER = {"role": "assistant", "reasoning_content": "So.", "content": "Wet."}
ARGUMENTS = 'a{"city": "Oslo", "n": 3}'

TURNS: dict[str, tuple[isc.Family, tuple[str, str, str]]] = {
    "qwen3": (
        isc.Qwen3(),
        (
            'm<think>\n¦rWhere?¦m\n</think>\n\n¦cLook.¦m\n¦t<tool_call>\n{"name": "¦nget¦t", "arguments": ¦'
            f"{ARGUMENTS}¦t}}\n</tool_call>¦x<|im_end|>",
            "oRain",
            "m<think>\n¦rSo.¦m\n</think>\n\n¦cWet.¦x<|im_end|>",
        ),
    ),
    "qwen3.5": (
        isc.Qwen35(),
        (
            "rWhere?¦m\n</think>\n\n¦cLook.¦m\n\n¦t<tool_call>\n<function=¦nget¦t>\n<parameter=¦acity¦t>\n¦aOslo¦"
            "t\n</parameter>\n<parameter=¦an¦t>\n¦a3¦t\n</parameter>\n</function>\n</tool_call>¦x<|im_end|>",
            "oRain",
            "rSo.¦m\n</think>\n\n¦cWet.¦x<|im_end|>",
        ),
    ),
    "glm-4.5": (
        isc.Glm45(),
        (
            "m\n<think>¦rWhere?¦m</think>\n¦cLook.¦m\n¦t<tool_call>¦nget¦t\n<arg_key>¦acity¦t</arg_key>\n<arg_value>¦"
            "aOslo¦t</arg_value>\n<arg_key>¦an¦t</arg_key>\n<arg_value>¦a3¦t</arg_value>\n</tool_call>¦"
            "x<|observation|>",
            "oRain",
            "m\n<think>¦rSo.¦m</think>\n¦cWet.",
        ),
    ),
    "gpt-oss": (
        isc.GptOss(conversation_start_date="2026-01-01"),
        (
            "m<|channel|>commentary<|message|>¦cLook.¦m<|end|>¦t<|start|>assistant to=functions.¦nget¦"
            f"t<|channel|>commentary json<|message|>¦{ARGUMENTS}¦x<|call|>",
            'o"Rain"',
            "m<|channel|>analysis<|message|>¦rSo.¦m<|end|><|start|>assistant<|channel|>final<|message|>¦cWet.¦"
            "x<|return|>",
        ),
    ),
    "deepseek-v4": (
        isc.DeepSeekV4(thinking=True, drop_thinking=False),
        (
            'rWhere?¦m</think>¦cLook.¦m\n\n¦t<｜DSML｜tool_calls>\n<｜DSML｜invoke name="¦nget¦'
            't">\n<｜DSML｜parameter name="¦acity¦t" string="true">¦'
            'aOslo¦t</｜DSML｜parameter>\n<｜DSML｜parameter name="¦an¦'
            't" string="false">¦a3¦'
            "t</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>¦x<｜end▁of▁sentence｜>",
            "oRain",
            "rSo.¦m</think>¦cWet.¦x<｜end▁of▁sentence｜>",
        ),
    ),
    "kimi-k2.6": (
        isc.KimiK25(variant="k2.6", preserve_thinking=True),
        (
            "rWhere?¦m</think>¦cLook.¦t<|tool_calls_section_begin|><|tool_call_begin|>¦nabcdefgh1¦"
            f"t<|tool_call_argument_begin|>¦{ARGUMENTS}¦t<|tool_call_end|><|tool_calls_section_end|>¦x<|im_end|>",
            "oRain",
            "rSo.¦m</think>¦cWet.¦x<|im_end|>",
        ),
    ),
    "kimi-k3": (
        isc.KimiK3(),
        (
            "rWhere?¦m<|close|>think<|sep|><|open|>response<|sep|>¦cLook.¦m<|close|>response<|sep|>¦"
            't<|open|>tools<|sep|><|open|>call tool="¦nget¦t" index="1"<|sep|><|open|>argument key="¦acity¦'
            't" type="string"<|sep|>¦aOslo¦t<|close|>argument<|sep|><|open|>argument key="¦an¦t" type="number"<|sep|>¦'
            "a3¦t<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|>¦m<|close|>message<|sep|>¦"
            "x<|end_of_msg|>",
            "oRain",
            "rSo.¦m<|close|>think<|sep|><|open|>response<|sep|>¦cWet.¦"
            "m<|close|>response<|sep|><|close|>message<|sep|>¦x<|end_of_msg|>",
        ),
    ),
    "minimax-m2": (
        isc.MiniMaxM2(),
        (
            'rWhere?¦m\n</think>\n\n¦cLook.¦m\n¦t<minimax:tool_call>\n<invoke name="¦nget¦t">\n<parameter name="¦acity¦'
            't">¦aOslo¦t</parameter>\n<parameter name="¦an¦t">¦a3¦t</parameter>\n</invoke>\n</minimax:tool_call>¦x[e~[',
            "oRain",
            "rSo.¦m\n</think>\n\n¦cWet.¦x[e~[",
        ),
    ),
    "mistral-v13": (
        isc.Mistral(variant="v13"),
        (
            f"m[THINK]¦rWhere?¦m[/THINK]¦cLook.¦t[TOOL_CALLS]¦nget¦t[ARGS]¦{ARGUMENTS}¦x</s>",
            "oRain",
            "m[THINK]¦rSo.¦m[/THINK]¦cWet.¦x</s>",
        ),
    ),
    "gemma-4": (
        isc.Gemma4(enable_thinking=True),
        (
            'm<|channel>thought\n¦rWhere?¦m\n<channel|>¦t<|tool_call>call:¦nget¦t{¦acity¦t:<|"|>¦aOslo¦t<|"|>,¦an¦t:¦a3¦'
            "t}<tool_call|>¦x<|tool_response>¦cLook.¦x<turn|>",
            "oRain",
            "cWet.¦x<turn|>",
        ),
    ),
}


@pytest.mark.parametrize("name", TURNS)
def test_parts_are_told_as_a_person_tells_them(name: str) -> None:
    family, expected = TURNS[name]
    renderer = isc.create_renderer(isc.encoders.embedded(family.specials), family)
    conversation: list[dict[str, Any]] = [{"role": "user", "content": "Weather?"}, ASKED, RESULT, ANSWER]
    segments = list(renderer.segments(conversation, parts=True))
    for message, turn in enumerate(expected, 1):
        said: list[tuple[str, str]] = []
        for segment in segments:
            if segment.message != message or segment.part is None:
                continue
            letter = LETTERS[segment.part]
            if said and said[-1][0] == letter:
                said[-1] = (letter, said[-1][1] + segment.text)
            else:
                said.append((letter, segment.text))
        assert said == [(part[0], part[1:]) for part in turn.split("¦")], name


def test_two_texts_of_one_part_side_by_side_are_one() -> None:
    turn = [body("Look"), body("."), special("<|im_end|>")]
    parted = planned_parts(turn, 3, frame_in(isc.Qwen3()))
    assert [(one.text, one.part, one.message, one.body) for one in parted] == [
        ("Look.", "content", 3, True),
        ("<|im_end|>", "close", 3, True),
    ]
