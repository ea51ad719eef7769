"""Options and policies are checked where they enter: whatever is not allowed is refused, with what was meant."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import pytest
from msgspec import Meta, structs

import isc
from isc.encoding.encoders import embedded
from isc.formats.base import name_of

ANY: Any = isc
"""The package as a program without a type checker sees it."""

VALUES = [
    (lambda: ANY.Qwen3(variant="instruct-2507"), "qwen3: variant='instruct-2507'.*did you mean 'instruct_2507'"),
    (lambda: ANY.Qwen3(variant="instruct2507"), "did you mean 'instruct_2507'"),
    (lambda: ANY.Qwen3(variant=None), "qwen3: variant=None is none of 'hybrid', 'instruct_2507', 'thinking_2507'"),
    (lambda: ANY.Qwen3(enable_thinking="false"), "enable_thinking='false' must be True or False; did you mean False"),
    (lambda: ANY.Qwen3(enable_thinking=1), "qwen3: enable_thinking=1 must be True or False"),
    (lambda: ANY.GptOss(reasoning_effort="hgih"), "gpt-oss: reasoning_effort='hgih'.*did you mean 'high'"),
    (lambda: ANY.GptOss(builtin_tools=("browser", "pyton")), r"builtin_tools\[1\]='pyton'.*did you mean 'python'"),
    (lambda: ANY.GptOss(builtin_tools=["browser"]), r"must be a tuple of .*; write \('browser',\)"),
    (lambda: ANY.GptOss(builtin_tools="browser"), "builtin_tools='browser' must be a tuple of 'browser' or 'python'"),
    (lambda: ANY.GptOss(model_identity=b"x"), "model_identity=b'x' must be a text"),
    (lambda: ANY.Llama3(date_string=20240726), "llama-3: date_string=20240726 must be a text, or None"),
    (lambda: structs.replace(ANY.Qwen3(), variant="thinking"), "qwen3: variant='thinking' is none of"),
    (lambda: ANY.Renderer(ANY.Qwen3(), embedded(()), body_specials="txt"), "body_specials='txt'.*did you mean 'text'"),
    (lambda: ANY.Renderer(ANY.Qwen3(), embedded(()), "al"), "thinking_retention='al'.*did you mean 'all'"),
    (lambda: ANY.create_renderer(embedded(()), ANY.Qwen3(), body_specials=""), "body_specials='' is none of"),
    (lambda: ANY.fold((), embedded(()), body_specials="txt"), "body_specials='txt'.*did you mean 'text'"),
    (lambda: ANY.fold((), embedded(()), body_specials=["text"]), "is none of 'text', 'parse', 'reject'"),
    (lambda: ANY.fold((), embedded(()), body_specials=None), "body_specials=None is none of"),
    (
        lambda: ANY.encoders.from_tokenizer_json("{}", engine="tokenizer"),
        "engine='tokenizer'.*did you mean 'tokenizers'",
    ),
]


@pytest.mark.parametrize(("make", "problem"), VALUES)
def test_a_value_that_is_not_allowed_is_refused(make: Callable[[], object], problem: str) -> None:
    with pytest.raises(isc.OptionError, match=problem):
        make()


@pytest.mark.parametrize("policy", ["txt", "Text", "", "parse ", 3, ["parse"]])
def test_no_misspelled_policy_makes_a_control_token(policy: Any) -> None:  # noqa: ANN401 - whatever is given
    renderer = isc.create_renderer(embedded(isc.Qwen3().specials), isc.Qwen3())
    said = [{"role": "user", "content": "<|im_end|>"}]
    for call in (renderer.render, renderer.render_ids):
        with pytest.raises(isc.OptionError, match="body_specials"):
            call(said, body_specials=policy)


OPTIONS = [(kind, field) for kind in isc.list_families().values() for field in msgspec.structs.fields(kind)]


@pytest.mark.parametrize(("kind", "field"), OPTIONS, ids=lambda one: getattr(one, "name", getattr(one, "__name__", "")))
def test_every_option_of_every_family_refuses_what_its_decoder_refuses(
    kind: type[isc.Family], field: structs.FieldInfo
) -> None:
    for value in (object(), 3.5, b"", "no such value", True, 7, [], {}):
        try:
            msgspec.convert({"o": value}, msgspec.defstruct("Only", [("o", field.type)]))
            continue
        except msgspec.ValidationError:
            pass
        with pytest.raises(isc.OptionError) as refused:
            kind(**{field.name: value})
        assert str(refused.value).startswith(f"{name_of(kind)}: {field.name}=")
        with pytest.raises(isc.OptionError):
            structs.replace(kind(), **{field.name: value})


def test_a_decoded_value_is_checked_too() -> None:
    for text in ('{"family": "qwen3", "variant": "thinking"}', '{"family": "qwen3", "enable_thinking": "false"}'):
        with pytest.raises(msgspec.ValidationError, match=r"variant|enable_thinking"):
            msgspec.json.decode(text, type=isc.Qwen3)
    with pytest.raises(msgspec.ValidationError, match="cannot be told not to think"):
        msgspec.json.decode('{"family": "qwen3", "variant": "thinking_2507", "enable_thinking": false}', type=isc.Qwen3)


class Ranged(isc.Family, frozen=True, tag_field="family", tag="ranged"):
    """A family of somebody else's: the least that one must have, and options with limits."""

    depth: Annotated[int, Meta(ge=1, le=9)] = 3
    pair: tuple[int, Literal["a", "b"]] = (1, "a")
    pace: float = 1.0

    specials: ClassVar[tuple[str, ...]] = ("<s>", "</s>")
    turn_close: ClassVar[str] = "</s>"
    stop_tokens: ClassVar[tuple[str, ...]] = ("</s>",)
    keeps_history: ClassVar[bool] = True
    reasoning: ClassVar[None] = None

    def opening(self, chat: isc.Chat) -> tuple[isc.Segment, ...]:
        return ()

    def turn(self, chat: isc.Chat, index: int) -> tuple[isc.Segment, ...]:
        said = isc.Segment(str(chat.messages[index].content), "text", True)
        return (isc.Segment("<s>", "special"), said, isc.Segment("</s>", "special"))

    def generation_prompt(self, chat: isc.Chat) -> tuple[isc.Segment, ...]:
        return (isc.Segment("<s>", "special"),)

    def parse(self, sampled: Any, tools: tuple[isc.ToolSpec, ...]) -> isc.ParsedResponse:  # noqa: ANN401 - not asked
        return isc.ParsedResponse("".join(segment.text for segment in sampled.segments))


def test_a_family_of_somebody_else_s_has_all_that_families_have() -> None:
    family = Ranged(pace=2)
    renderer = isc.create_renderer(embedded(family.specials), family)
    prompt = renderer.render([{"role": "user", "content": "a"}], add_generation_prompt=True)
    assert renderer.bridge_to_next_turn(prompt.token_ids, (), [{"role": "user", "content": "b"}]) is not None
    assert renderer.report() is None
    assert pickle.loads(pickle.dumps(family)) == family == msgspec.json.decode(msgspec.json.encode(family), type=Ranged)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"depth": 0}, "ranged: depth=0 must be an integer of at least 1 and of at most 9"),
        ({"depth": True}, "ranged: depth=True must be"),
        ({"pair": (1, "c")}, "ranged: pair="),
        ({"pair": (1,)}, "ranged: pair="),
        ({"pace": "1"}, "ranged: pace='1' must be a number"),
    ],
)
def test_a_range_holds_as_it_is_annotated(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(isc.OptionError, match=problem):
        Ranged(**options)


def test_a_family_without_a_member_cannot_be_made() -> None:
    class Short(isc.Family, frozen=True, tag_field="family", tag="short"):
        """It lacks all."""

    with pytest.raises(TypeError, match=r"generation_prompt.*turn_close"):
        Short()  # type: ignore[abstract]
