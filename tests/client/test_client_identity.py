"""Answers say whose they are: behind a proxy that swaps them no turn is another prompt's, whatever it does to names."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
import pytest

import isc
from client_calls import sent
from engine_server import RESPONSES, Answer, Engine, Received, Reply, engine, generating, healthy, json_reply, sampled
from isc.client import Generation, Retries, connect, generate
from isc.client.identity import attempt_name, new_name
from isc.errors import MalformedResponseError, OptionError

Change: TypeAlias = Callable[[bytes, Received], bytes]
PROTOCOLS = ("vllm", "sglang", "completions")
OURS = re.compile(rb"isc-[0-9a-f]{32}(-\d+)?")
CALLS = 40
ONCE = Retries(attempts=1)

NAMES: dict[str, Change] = {
    "as they are": lambda body, _: body,
    "another's style": lambda body, _: OURS.sub(b"4d3c7d1a", body),
    "none": lambda body, _: OURS.sub(b"", body),
    "both": lambda body, got: OURS.sub(lambda name: name[0] + b" " + got.name.encode(), body),
    "both, the right one first": lambda body, got: OURS.sub(lambda name: got.name.encode() + b"," + name[0], body),
}
"""What a proxy that swaps answers makes of the names in them; it is given the request that it answers."""


def swapping(change: Change) -> Callable[[Received], Reply]:
    """A proxy that answers every request with the answer to the one before it."""
    last: list[Received] = []

    def answer(received: Received) -> Reply:
        if received.method != "POST":
            return healthy(received)
        wrong = last[-1] if last else received._replace(body=another(received.body))
        last[:] = [received]
        return Reply(change(healthy(wrong._replace(path=received.path)).body, received))

    return answer


def another(body: dict[str, Any]) -> dict[str, Any]:
    """The request of somebody else, of a prompt as long."""
    name = new_name()
    return {
        key: [id_ + 1 for id_ in value] if key in ("token_ids", "input_ids", "prompt") else value
        for key, value in {**body, "rid": name, "request_id": name}.items()
    }


async def asked(
    renderer: isc.Renderer, answer: Answer, protocol: str, prompts: list[list[int]]
) -> tuple[list[Any], Engine]:
    """What calls with these prompts come to."""
    async with engine(answer) as server, connect(server.url) as client:
        arguments: dict[str, Any] = {"protocol": protocol, "max_prompt_len": 99, "retries": ONCE}
        calls = [generate(client, renderer, prompt_ids=prompt, **arguments) for prompt in prompts]
        return await asyncio.gather(*calls, return_exceptions=True), server


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("names", NAMES)
def test_no_turn_is_taken_from_another_prompt(names: str, protocol: str, small: isc.Renderer) -> None:
    """All prompts are of the same length, so that counts of tokens prove nothing."""
    source = random.Random(3)
    prompts = [[source.randrange(3000) for _ in range(12)] for _ in range(CALLS)]
    found, _ = asyncio.run(asked(small, swapping(NAMES[names]), protocol, prompts))
    wrong = [
        one
        for one, prompt in zip(found, prompts, strict=True)
        if isinstance(one, Generation) and one.completion_ids != tuple(sampled(prompt)[0])
    ]
    assert wrong == []
    assert Counter(type(one).__name__ for one in found) == {"MalformedResponseError": CALLS}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_answers_at_their_place_are_taken(protocol: str, small: isc.Renderer) -> None:
    prompts = [[k, 5] for k in range(CALLS)]
    found, _ = asyncio.run(asked(small, healthy, protocol, prompts))
    assert [one.completion_ids for one in found] == [tuple(sampled(prompt)[0]) for prompt in prompts]


def renamed(received: Received, name: str) -> dict[str, Any]:
    """The answer of an engine that names requests its own way."""
    response = RESPONSES[received.path](received)
    for place in (response, response.get("meta_info", {})):
        place.update({key: name for key in ("id", "request_id") if key in place})
    return response


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_answer_without_a_proof_is_refused(protocol: str, small: isc.Renderer) -> None:
    def answer(received: Received) -> Reply:
        response = renamed(received, "cmpl-7")
        for choice in response.get("choices", []):
            choice.pop("prompt_token_ids", None)
        return json_reply(response)

    with pytest.raises(MalformedResponseError, match="does not name the request") as raised:
        sent(small, generating(answer), prompt_ids=[5], protocol=protocol)
    assert (raised.value.path, raised.value.value) == ("request_id", "cmpl-7")


def test_the_ids_of_the_prompt_are_a_proof(small: isc.Renderer) -> None:
    def answer(received: Received) -> Reply:
        response = renamed(received, "misc-7")
        if received.body.get("return_token_ids") and "token_ids" in received.body:
            response["prompt_token_ids"] = received.body["token_ids"]
        return json_reply(response)

    found, _ = sent(small, generating(answer), prompt_ids=[5], protocol="completions")
    assert found.request_id == "misc-7"
    told: dict[str, Any] = {"extra_body": {"return_token_ids": True}}
    found, _ = sent(small, generating(answer), prompt_ids=[5], protocol="vllm", **told)
    assert found.completion_ids == tuple(sampled([5])[0])


def test_engines_may_add_to_a_name(small: isc.Renderer) -> None:
    def answer(received: Received) -> Reply:
        return json_reply(renamed(received, f"cmpl-{received.name}-0"))

    for protocol in PROTOCOLS:
        found, requests = sent(small, generating(answer), prompt_ids=[5], protocol=protocol)
        assert requests[-1].name in found.request_id


@pytest.mark.parametrize(("number", "other"), [(1, 2), (2, 1), (2, 20), (20, 2), (1, 10)])
def test_attempts_are_told_apart(number: int, other: int, small: isc.Renderer) -> None:
    """The name of one is the beginning of the name of another."""

    def answer(received: Received) -> Reply:
        if received.number < number:
            return Reply(b"", 503, {"Retry-After": "0"})
        name = attempt_name(received.name.removesuffix(f"-{number}"), other)
        return json_reply(renamed(received, name))

    retries = Retries(attempts=number, pause=0)
    with pytest.raises(MalformedResponseError, match="another request"):
        sent(small, generating(answer), prompt_ids=[5], protocol="vllm", retries=retries)


def test_a_request_has_one_name(small: isc.Renderer) -> None:
    """In the header, which vLLM and proxies go by, and in the body."""
    for protocol, field in (("vllm", "request_id"), ("sglang", "rid"), ("completions", "request_id")):
        _, requests = sent(small, prompt_ids=[5], protocol=protocol)
        assert requests[-1].headers["x-request-id"] == requests[-1].body[field]
    with pytest.raises(OptionError, match="generate names requests itself"):
        sent(small, prompt_ids=[5], extra_headers={"x-request-ID": "mine"})


def test_a_stream_of_two_requests_is_refused(small: isc.Renderer) -> None:
    def answer(received: Received) -> Reply:
        logprobs = {"content": [{"token_id": 7, "logprob": -1.0}]}
        events = [
            {"request_id": name, "choices": [{"token_ids": [7], "logprobs": logprobs, "finish_reason": reason}]}
            for name, reason in ((received.name, None), (new_name(), "stop"))
        ]
        return Reply(b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events))

    with pytest.raises(MalformedResponseError, match="another request"):
        sent(small, generating(answer), prompt_ids=[5], protocol="vllm", stream=True)


def test_media_leave_the_name_as_the_only_proof(small: isc.Renderer) -> None:
    """With media an engine may read more tokens than it was sent, so its prompt ids say nothing."""

    def answer(received: Received) -> Reply:
        response = renamed(received, "misc-7")
        response["prompt_token_ids"] = received.prompt_ids
        return json_reply(response)

    features: dict[str, Any] = {"mm_hashes": {}, "mm_placeholders": {}, "kwargs_data": None}
    with pytest.raises(MalformedResponseError, match="does not name"):
        sent(small, generating(answer), prompt_ids=[5], protocol="vllm", features=features)
