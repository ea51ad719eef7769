"""Arguments of calls as callers have them: none at all, text that is no JSON, and dicts that change later."""

from __future__ import annotations

import json
from typing import Any

import pytest

import isc
from cases import CASES, Case
from isc.conversation.rollout import Rollout
from isc.convert import chat
from isc.encoding.encoders import embedded

USER = {"role": "user", "content": "hi"}
PLACE = "messages[1].tool_calls[0].function.arguments"
BAD = ("{oops", '{"a": 1', "[1, 2]", '"text"', "3", "true", '{"a": NaN}', "get weather", "NULL")

cases = pytest.mark.parametrize("case", [case for case in CASES if case.shape().tools], ids=lambda case: case.name)


def called(*arguments: object) -> list[dict[str, Any]]:
    function: dict[str, Any] = {"name": "f"}
    if arguments:
        function["arguments"] = arguments[0]
    call = {"id": "call00000", "type": "function", "function": function}
    return [USER, {"role": "assistant", "content": "", "tool_calls": [call]}]


def calls_of(messages: list[dict[str, Any]], **options: Any) -> tuple[isc.ToolCall, ...]:  # noqa: ANN401
    message = chat(messages, **options).messages[1]
    assert isinstance(message, isc.AssistantMessage)
    return message.tool_calls


@pytest.mark.parametrize("given", [(), (None,), ("",), ("null",), (" null\n",), ("  ",)])
def test_nothing_is_no_arguments(given: tuple[object, ...]) -> None:
    assert calls_of(called(*given)) == calls_of(called({}))


@cases
@pytest.mark.parametrize("given", ["", "null", None])
def test_every_format_renders_nothing_as_no_arguments(case: Case, given: str | None) -> None:
    renderer = case.renderer(embedded(case.family.specials))
    assert renderer.render(called(given)) == renderer.render(called({}))


@pytest.mark.parametrize("text", BAD)
def test_text_that_is_no_object_is_refused_by_its_place(text: str) -> None:
    with pytest.raises(isc.ConversationError, match='invalid_arguments="raw"') as error:
        chat(called(text))
    assert error.value.path == PLACE


@pytest.mark.parametrize("text", BAD)
def test_raw_keeps_the_text(text: str) -> None:
    assert calls_of(called(text), invalid_arguments="raw")[0].arguments == text


def test_raw_still_refuses_what_is_no_text_and_what_no_vocabulary_can_encode() -> None:
    for value in ([1], 3, "\ud800", {"a": float("nan")}):
        with pytest.raises(isc.ConversationError) as error:
            chat(called(value), invalid_arguments="raw")
        assert error.value.path.startswith(PLACE)


def test_a_policy_that_does_not_exist_is_refused(small: isc.Renderer) -> None:
    wrong: Any = "keep"
    with pytest.raises(isc.OptionError, match=r"invalid_arguments='keep'.*'raise', 'raw'"):
        chat([USER], invalid_arguments=wrong)
    with pytest.raises(isc.OptionError, match="invalid_arguments='keep'"):
        isc.create_renderer(small.encoder, small.family, invalid_arguments=wrong)


@cases
@pytest.mark.parametrize("text", ["{oops <x>", "[1, 2]", '{"city": "Oslo"'])
def test_every_format_shows_raw_text_as_it_stands_or_as_the_one_argument(case: Case, text: str) -> None:
    renderer = isc.create_renderer(embedded(case.family.specials), case.family, invalid_arguments="raw")
    rendered = renderer.render(called(text))
    body = [k for k, is_body in zip(rendered.token_ids, rendered.is_content, strict=True) if is_body]
    assert text in renderer.encoder.decode_bytes(body).decode()
    as_one = renderer.render(called({"arguments": text}))
    spelled = renderer.encoder.decode_bytes(as_one.token_ids).decode()
    if isinstance(case.family, isc.KimiK3):  # FORMAT.md line 22: an element of its own holds such a text
        assert rendered != as_one
    elif json.dumps(text) not in spelled:  # a format that spells arguments one by one
        assert rendered == as_one


@cases
def test_text_that_is_json_is_rendered_alike_under_both_policies(case: Case) -> None:
    encoder = embedded(case.family.specials)
    for given in ('{"b":1, "a" : "é"}', {"b": 1, "a": "é"}):
        raw = isc.create_renderer(encoder, case.family, invalid_arguments="raw")
        assert raw.render(called(given)) == case.renderer(encoder).render(called(given))


@cases
def test_a_rollout_goes_on_after_a_model_wrote_bad_arguments(case: Case) -> None:
    renderer = isc.create_renderer(embedded(case.family.specials), case.family)
    answer = {"role": "tool", "tool_call_id": "call00000", "name": "f", "content": "no JSON"}
    given = [*called('{"city": '), answer]
    with pytest.raises(isc.ConversationError):
        renderer.render(given)
    rollout = Rollout.start(renderer, given)
    rollout = rollout.after_completion([renderer.get_stop_token_ids()[0]])
    assert rollout.finish().token_ids[: len(rollout.prompt)] == rollout.prompt_ids


def test_turns_given_in_the_place_of_the_model_keep_their_bad_arguments(small: isc.Renderer) -> None:
    rollout = Rollout.start(small, [USER]).after_completion([small.get_stop_token_ids()[0]])
    rollout = rollout.after_messages([*called("{oops"), {"role": "tool", "tool_call_id": "call00000", "content": "x"}])
    assert "{oops" in small.encoder.decode_bytes(rollout.prompt_ids).decode()


def test_what_a_caller_changes_later_reaches_nothing(small: isc.Renderer) -> None:
    nested: dict[str, Any] = {"a": {"b": [1, {"c": "d"}]}, "plain": 1}
    flat: dict[str, Any] = {"a": 1}
    schema: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}
    image: dict[str, Any] = {"type": "image_url", "image_url": {"url": "x"}}
    tags = ["a"]
    messages = [*called(nested), *called(flat), {**USER, "tags": tags}, {"role": "user", "content": [image]}]
    tools = [{"name": "f", "parameters": schema}]
    before, rollout = chat(messages, tools), Rollout.start(small, messages[:-1], tools)
    prompt, copies = rollout.prompt, chat(json.loads(json.dumps(messages)), json.loads(json.dumps(tools)))
    nested["a"]["b"][1]["c"] = object()
    nested["more"] = object()
    flat["a"] = object()
    schema["properties"]["a"]["type"] = object()
    schema["properties"]["b"] = object()
    image["image_url"]["url"] = "y"
    tags.append("b")
    assert before == copies
    assert small.render_chat(rollout.chat, add_generation_prompt=True) == prompt
    rollout = rollout.after_completion([small.get_stop_token_ids()[0]]).after_messages([USER])
    assert rollout.rerenders


def test_values_of_subclasses_become_plain_ones() -> None:
    class Text(str):
        __slots__ = ()

    class Numbers(list[Any]):
        pass

    call = calls_of(called({"a": Text("b"), "c": Numbers([Text("d")]), "e": {Text("f"): 1}}))[0]
    assert call.arguments == {"a": "b", "c": ["d"], "e": {"f": 1}}
    assert isinstance(call.arguments, dict)
    assert type(call.arguments["a"]) is str
