"""Every way in which an answer can be wrong is an error that says which field, in both protocols."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

import isc
from client_calls import sent
from engine_server import (
    Received,
    Reply,
    completions_response,
    generating,
    json_reply,
    sampled,
    sglang_response,
    vllm_response,
)
from isc.errors import ClientError, EngineAbortedError, MalformedResponseError

Damage: TypeAlias = Callable[[dict[str, Any]], object]
ANOTHER = "isc-" + "0" * 32
NAN, INFINITY = float("nan"), float("inf")


def choice(response: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = response["choices"][0]
    return found


def entries(response: dict[str, Any]) -> list[Any]:
    found: list[Any] = choice(response)["logprobs"]["content"]
    return found


def with_id(response: dict[str, Any], token_id: object) -> None:
    choice(response)["token_ids"][1] = token_id


def with_logprob(response: dict[str, Any], logprob: object) -> None:
    entries(response)[2]["logprob"] = logprob


def told(response: dict[str, Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = choice(response)["logprobs"]
    return found


def reported(response: dict[str, Any]) -> list[Any]:
    found: list[Any] = response["meta_info"]["output_token_logprobs"]
    return found


VLLM: dict[str, tuple[Damage, str, str]] = {
    "no choices": (lambda r: r.pop("choices"), "body", "missing required field `choices`"),
    "choices null": (lambda r: r.update(choices=None), "choices", "Expected `array`, got `null`"),
    "no choice": (lambda r: r.update(choices=[]), "choices", "there are 0"),
    "two choices": (lambda r: r["choices"].append(choice(r)), "choices", "there are 2"),
    "no ids": (lambda r: choice(r).pop("token_ids"), "choices[0]", "missing required field `token_ids`"),
    "ids null": (lambda r: choice(r).update(token_ids=None), "choices[0].token_ids", "got `null`"),
    "an id as text": (lambda r: with_id(r, "7"), "choices[0].token_ids[1]", "got `str`"),
    "an id of a fraction": (lambda r: with_id(r, 7.5), "choices[0].token_ids[1]", "float"),
    "an id that is true": (lambda r: with_id(r, True), "choices[0].token_ids[1]", "bool"),
    "a negative id": (lambda r: with_id(r, -7), "choices[0].token_ids[1]", ">= 0"),
    "a huge id": (lambda r: with_id(r, 2**31), "choices[0].token_ids[1]", "<= 2147483647"),
    "no reason": (lambda r: choice(r).pop("finish_reason"), "choices[0]", "`finish_reason`"),
    "reason null": (lambda r: choice(r).update(finish_reason=None), "choices[0].finish_reason", "got `null`"),
    "no logprobs": (lambda r: choice(r).pop("logprobs"), "choices[0]", "`logprobs`"),
    "logprobs null": (lambda r: choice(r).update(logprobs=None), "choices[0].logprobs.content", "there are 0 logprobs"),
    "a logprob too few": (lambda r: entries(r).pop(), "choices[0].logprobs.content", "logprobs for"),
    "a logprob too many": (lambda r: entries(r).append(entries(r)[0]), "choices[0].logprobs.content", "logprobs for"),
    "another token": (
        lambda r: entries(r)[2].update(token="token_id:9999"), "choices[0].logprobs.content[2].token", "is not token id"
    ),
    "a token by its text": (
        lambda r: entries(r)[2].update(token="a"), "choices[0].logprobs.content[2].token", "is not token id"
    ),
    "a logprob of NaN": (lambda r: with_logprob(r, NAN), "choices[0].logprobs.content[2]", "not finite"),
    "an infinite one": (lambda r: with_logprob(r, -INFINITY), "choices[0].logprobs.content[2]", "not finite"),
    "a missing one": (lambda r: with_logprob(r, -9999.0), "choices[0].logprobs.content[2]", "missing"),
    "logprob null": (
        lambda r: with_logprob(r, None), "choices[0].logprobs.content[2].logprob", "got `null`"
    ),
    "no logprob": (lambda r: entries(r)[2].pop("logprob"), "choices[0].logprobs.content[2]", "`logprob`"),
    "another prompt's length": (lambda r: r["usage"].update(prompt_tokens=99), "usage.prompt_tokens", "is 99"),
    "lost tokens": (lambda r: r["usage"].update(completion_tokens=99), "usage.completion_tokens", "is 99"),
    "another prompt": (lambda r: r.update(prompt_token_ids=[5, 7]), "prompt_token_ids", "another request"),
    "a logprob above zero": (lambda r: with_logprob(r, 0.5), "choices[0].logprobs.content[2]", "above zero"),
    "an empty reason": (lambda r: choice(r).update(finish_reason=""), "choices[0].finish_reason", "is empty"),
    "a blank reason": (lambda r: choice(r).update(finish_reason=" "), "choices[0].finish_reason", "is empty"),
    "another request": (lambda r: r.update(request_id=f"generate-tokens-{ANOTHER}"), "request_id", "another request"),
}  # fmt: skip

SGLANG: dict[str, tuple[Damage, str, str]] = {
    "no meta": (lambda r: r.pop("meta_info"), "body", "`meta_info`"),
    "no logprobs": (lambda r: r["meta_info"].pop("output_token_logprobs"), "meta_info", "`output_token_logprobs`"),
    "no reason": (lambda r: r["meta_info"].update(finish_reason=None), "meta_info.finish_reason", "got `null`"),
    "a logprob too few": (lambda r: reported(r).pop(), "meta_info.output_token_logprobs", "logprobs for"),
    "another token": (
        lambda r: reported(r)[2].__setitem__(1, 9999), "meta_info.output_token_logprobs[2][1]", "is not token id"
    ),
    "a logprob of NaN": (
        lambda r: reported(r)[2].__setitem__(0, NAN), "meta_info.output_token_logprobs[2]", "not finite"
    ),
    "logprob null": (
        lambda r: reported(r)[2].__setitem__(0, None), "meta_info.output_token_logprobs[2][0]", "got `null`"
    ),
    "a logprob above zero": (
        lambda r: reported(r)[2].__setitem__(0, 1e-3), "meta_info.output_token_logprobs[2]", "above zero"
    ),
    "an empty reason": (
        lambda r: r["meta_info"]["finish_reason"].update(type=""), "meta_info.finish_reason.type", "is empty"
    ),
    "another prompt's length": (lambda r: r["meta_info"].update(prompt_tokens=9), "meta_info.prompt_tokens", "is 9"),
    "lost tokens": (lambda r: r["meta_info"].update(completion_tokens=99), "meta_info.completion_tokens", "is 99"),
    "another request": (lambda r: r["meta_info"].update(id=ANOTHER), "request_id", "another request"),
}  # fmt: skip

COMPLETIONS: dict[str, tuple[Damage, str, str]] = {
    "no choices": (lambda r: r.pop("choices"), "body", "missing required field `choices`"),
    "two choices": (lambda r: r["choices"].append(choice(r)), "choices", "there are 2"),
    "logprobs null": (lambda r: choice(r).update(logprobs=None), "choices[0].logprobs.token_logprobs", "there are 0"),
    "a logprob too few": (
        lambda r: told(r)["token_logprobs"].pop(), "choices[0].logprobs.token_logprobs", "logprobs for"
    ),
    "a token too few": (lambda r: told(r)["tokens"].pop(), "choices[0].logprobs.tokens", "other tokens"),
    "another token": (
        lambda r: told(r)["tokens"].__setitem__(2, "token_id:9999"), "choices[0].logprobs.tokens", "other tokens"
    ),
    "a token by its text": (
        lambda r: told(r)["tokens"].__setitem__(2, "a"), "choices[0].logprobs.tokens[2]", "names no token id"
    ),
    "a token with a sign": (
        lambda r: told(r)["tokens"].__setitem__(2, "token_id:+7"), "choices[0].logprobs.tokens[2]", "names no token id"
    ),
    "logprob null": (
        lambda r: told(r)["token_logprobs"].__setitem__(2, None), "choices[0].logprobs.token_logprobs[2]", "is null"
    ),
    "a logprob above zero": (
        lambda r: told(r)["token_logprobs"].__setitem__(2, 2.0), "choices[0].logprobs.token_logprobs[2]", "above zero"
    ),
    "an empty reason": (lambda r: choice(r).update(finish_reason=""), "choices[0].finish_reason", "is empty"),
    "another prompt": (lambda r: choice(r).update(prompt_token_ids=[5, 7]), "prompt_token_ids", "another request"),
    "another request": (lambda r: r.update(id=f"cmpl-{ANOTHER}"), "request_id", "another request"),
    "two requests": (lambda r: r.update(request_id=ANOTHER), "request_id", "another request"),
    "lost tokens": (lambda r: r["usage"].update(completion_tokens=99), "usage.completion_tokens", "is 99"),
}  # fmt: skip

MAKE: dict[str, Callable[..., dict[str, Any]]] = {
    "vllm": vllm_response, "sglang": sglang_response, "completions": completions_response,
}  # fmt: skip

BODIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "truncated"),
    "a page": (b"<html>502 Bad Gateway</html>", "malformed"),
    "a list": (b"[]", "Expected `object`, got `array`"),
    "bytes that are no text": (b"\xff\xfe", "malformed"),
    "brackets": (b'{"a": ' + b"[" * 200_000, "is not JSON"),
    "NaN among brackets": (b'{"NaN": ' + b"[" * 200_000, "is not JSON"),
    "NaN alone": (b"NaN", "Expected `object`"),
    "NaN in what is cut off": (b'{"choices": [NaN', "is not JSON"),
}


def error(small: isc.Renderer, protocol: str, answer: Callable[[Received], Reply]) -> ClientError:
    with pytest.raises(ClientError) as raised:
        sent(small, generating(answer), prompt_ids=[5, 6], protocol=protocol)
    assert raised.value.request_id.startswith("isc-")
    assert raised.value.url.startswith("http://127.0.0.1:")
    assert raised.value.request_id in str(raised.value)
    return raised.value


def damaged(make: Callable[[Received], dict[str, Any]], damage: Damage) -> Callable[[Received], Reply]:
    """An engine whose answer was changed, written as Python servers write it: with NaN and Infinity."""

    def answer(received: Received) -> Reply:
        response = make(received)
        damage(response)
        return Reply(json.dumps(response).encode())

    return answer


def check(found: ClientError, path: str, problem: str) -> None:
    assert isinstance(found, MalformedResponseError)
    assert (found.path, problem in found.problem) == (path, True), (found.path, found.problem)


@pytest.mark.parametrize(("damage", "path", "problem"), VLLM.values(), ids=VLLM)
def test_a_wrong_answer_of_vllm(damage: Damage, path: str, problem: str, small: isc.Renderer) -> None:
    check(error(small, "vllm", damaged(vllm_response, damage)), path, problem)


@pytest.mark.parametrize(("damage", "path", "problem"), SGLANG.values(), ids=SGLANG)
def test_a_wrong_answer_of_sglang(damage: Damage, path: str, problem: str, small: isc.Renderer) -> None:
    check(error(small, "sglang", damaged(sglang_response, damage)), path, problem)


@pytest.mark.parametrize(("damage", "path", "problem"), COMPLETIONS.values(), ids=COMPLETIONS)
def test_a_wrong_answer_of_completions(damage: Damage, path: str, problem: str, small: isc.Renderer) -> None:
    check(error(small, "completions", damaged(completions_response, damage)), path, problem)


@pytest.mark.parametrize("protocol", MAKE)
@pytest.mark.parametrize(("body", "problem"), BODIES.values(), ids=BODIES)
def test_a_body_that_is_no_answer(body: bytes, problem: str, protocol: str, small: isc.Renderer) -> None:
    check(error(small, protocol, lambda _: Reply(body)), "body", problem)


@pytest.mark.parametrize("protocol", MAKE)
def test_an_answer_cut_off_anywhere(protocol: str, small: isc.Renderer) -> None:
    """Every cut of the JSON, with HTTP none the wiser."""
    make = MAKE[protocol]
    length = len(json_reply(make(Received(1, "POST", "", {}, {"prompt": [5, 6], "rid": ANOTHER}))).body)
    for cut in range(0, length, 97):

        def answer(received: Received, cut: int = cut) -> Reply:
            return Reply(json_reply(make(received)).body[:cut])

        check(error(small, protocol, answer), "body", "is not JSON")


@pytest.mark.parametrize("protocol", MAKE)
def test_an_abort_is_no_completion(protocol: str, small: isc.Renderer) -> None:
    found = error(small, protocol, lambda got: json_reply(MAKE[protocol](got, finish_reason="abort")))
    assert isinstance(found, EngineAbortedError)
    assert found.partial is not None
    assert found.partial.completion_ids == tuple(sampled([5, 6])[0])


ABORTED: dict[str, tuple[str, Damage]] = {
    "no ids": ("vllm", lambda r: choice(r).update(token_ids=None, logprobs=None)),
    "no logprobs": ("vllm", lambda r: choice(r).update(logprobs=None)),
    "other tokens": ("vllm", lambda r: entries(r)[2].update(token="token_id:9999")),
    "completions without logprobs": ("completions", lambda r: choice(r).update(logprobs=None)),
    "SGLang without logprobs": ("sglang", lambda r: r["meta_info"].pop("output_token_logprobs")),
}


@pytest.mark.parametrize(("protocol", "damage"), ABORTED.values(), ids=ABORTED)
def test_an_abort_with_ids_that_cannot_be_trusted_tells_none(
    protocol: str, damage: Damage, small: isc.Renderer
) -> None:
    found = error(small, protocol, damaged(lambda got: MAKE[protocol](got, finish_reason="abort"), damage))
    assert isinstance(found, EngineAbortedError)
    assert found.partial is None


def test_a_completion_of_no_tokens_needs_no_logprobs(small: isc.Renderer) -> None:
    def answer(received: Received) -> Reply:
        response = vllm_response(received, [])
        choice(response)["logprobs"] = None
        return json_reply(response)

    found, _ = sent(small, generating(answer), prompt_ids=[5])
    assert (found.completion_ids, found.completion_logprobs, found.content) == ((), (), "")


def test_with_media_an_engine_may_read_more_tokens_than_it_was_sent(small: isc.Renderer) -> None:
    def answer(received: Received) -> Reply:
        response = sglang_response(received)
        response["meta_info"]["prompt_tokens"] = 500
        return json_reply(response)

    image = {"image_data": "https://images/1"}
    found, _ = sent(small, generating(answer), prompt_ids=[5], protocol="sglang", extra_body=image)
    assert found.usage.prompt_tokens == 1


RANGES: dict[str, tuple[dict[str, Any], int, bool]] = {
    "the last of the tokenizer's": ({}, 7480, True),
    "padding": ({}, 8 * 1024, True),
    "beyond any padding": ({}, 10_000, False),
    "the last of the model's": ({"vocabulary_size": 12_000}, 11_999, True),
    "beyond the model's": ({"vocabulary_size": 12_000}, 12_000, False),
    "beyond a smaller model's": ({"vocabulary_size": 7481}, 7481, False),
}
"""What is said of the model, an id, and whether the model can have it. The tokenizer has 7,481."""


@pytest.mark.parametrize("protocol", MAKE)
@pytest.mark.parametrize(("options", "token_id", "known"), RANGES.values(), ids=RANGES)
def test_ids_that_the_model_does_not_have(
    options: dict[str, Any], token_id: int, known: bool, protocol: str, small: isc.Renderer
) -> None:
    assert len(small.encoder) == 7481  # type: ignore[arg-type]

    def answer(received: Received) -> Reply:
        return json_reply(MAKE[protocol](received, [5, token_id]))

    if known:
        found, _ = sent(small, generating(answer), prompt_ids=[5, 6], protocol=protocol, **options)
        assert found.completion_ids == (5, token_id)
    else:
        with pytest.raises(MalformedResponseError, match="padding included") as raised:
            sent(small, generating(answer), prompt_ids=[5, 6], protocol=protocol, **options)
        assert (raised.value.path, raised.value.value) == ("token_ids", token_id)


def test_a_probability_of_one_may_be_rounded(small: isc.Renderer) -> None:
    """Float 32 gives a logarithm a little above zero at times."""

    def answer(received: Received) -> Reply:
        response = vllm_response(received)
        with_logprob(response, 1.1920928955078125e-07)
        return json_reply(response)

    found, _ = sent(small, generating(answer), prompt_ids=[5])
    assert found.completion_logprobs[2] == 1.1920928955078125e-07
