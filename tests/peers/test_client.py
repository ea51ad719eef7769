"""Both clients against one engine over sockets: what they send, what they return, what they raise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import openai
import pytest
import renderers.client
from transformers import PreTrainedTokenizerFast

import isc.compat
from engine_server import Answer, Received, Reply, engine, generating, json_reply, vllm_response
from isc.compat import configs

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
TOOLS: list[Any] = [{"type": "function", "function": {"name": "now", "description": "", "parameters": {}}}]
SAID = '<think>\nhm\n</think>\n\nWell.\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call><|im_end|>'


class Client:
    """One side: its package, and a renderer of it."""

    def __init__(self, package: Any, configuration: Any, tokenizer: PreTrainedTokenizerFast) -> None:  # noqa: ANN401
        self.client = package.client
        self.renderer = package.create_renderer(tokenizer, configuration)

    def ask(self, answer: Answer, **options: Any) -> tuple[dict[str, Any] | Exception, list[Received]]:  # noqa: ANN401
        """A call, and the requests it makes."""
        return asyncio.run(self._asked(answer, options))

    async def _asked(
        self, answer: Answer, options: dict[str, Any]
    ) -> tuple[dict[str, Any] | Exception, list[Received]]:
        async with engine(answer) as server:
            client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0, timeout=2.0)
            options = {"messages": MESSAGES, "model": "m", "tools": TOOLS, **options}
            try:
                found: Any = await self.client.generate(client=client, renderer=self.renderer, **options)
            except Exception as error:
                found = error
            return found, server.generates


@pytest.fixture(scope="module")
def tokenizer(reference: Path) -> PreTrainedTokenizerFast:
    file = reference / "tokenizers" / "qwen3" / "tokenizer.json"
    return PreTrainedTokenizerFast(tokenizer_file=str(file))  # type: ignore[no-untyped-call]  # so it is


@pytest.fixture(scope="module")
def both(tokenizer: PreTrainedTokenizerFast) -> tuple[Client, Client]:
    ours = Client(isc.compat, configs.Qwen3RendererConfig(), tokenizer)
    return ours, Client(renderers, renderers.Qwen3RendererConfig(), tokenizer)


def saying(tokenizer: PreTrainedTokenizerFast, text: str = SAID, finish: str = "stop") -> Answer:
    """An engine that says this."""
    return generating(lambda received: json_reply(vllm_response(received, tokenizer.encode(text), finish)))


OPTIONS: dict[str, dict[str, Any]] = {
    "messages": {},
    "parameters": {"sampling_params": {"max_tokens": 5, "temperature": 0.5, "logprobs": 7, "stop_token_ids": [1]}},
    "ids": {"prompt_ids": [1, 2, 3]},
    "salt and priority": {"cache_salt": "s", "priority": 3, "extra_headers": {"X-Session-ID": "t"}},
    "no tools": {"tools": None},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_requests_and_results_are_the_same(
    both: tuple[Client, Client], tokenizer: PreTrainedTokenizerFast, options: dict[str, Any]
) -> None:
    (ours, [sent]), (theirs, [expected]) = (side.ask(named(saying(tokenizer)), **options) for side in both)
    assert isinstance(ours, dict)
    assert isinstance(theirs, dict)
    assert {k: v for k, v in sent.body.items() if k != "request_id"} == expected.body
    assert sent.headers.get("x-session-id") == expected.headers.get("x-session-id")
    assert sent.headers["authorization"] == expected.headers["authorization"]
    assert plain(ours) == plain(theirs)


def named(answer: Answer) -> Answer:
    """The engine with a name for requests that bring none."""
    return lambda received: answer(
        received._replace(body={"request_id": "r", **received.body} if received.body else {})
    )


def plain(result: dict[str, Any]) -> dict[str, Any]:
    """A result without its request id, its values as plain data; calls as they were spelled, stripped."""
    found = {name: value for name, value in result.items() if name != "request_id"}
    calls = [asdict(call) for call in found["tool_calls"]]
    attribution = found["prompt_attribution"]
    return {
        **found,
        "tool_calls": [{**call, "raw": call["raw"].strip(), "status": call["status"].value} for call in calls],
        "prompt_attribution": None if attribution is None else asdict(attribution),
    }


def test_attribution_is_handed_on(both: tuple[Client, Client], tokenizer: PreTrainedTokenizerFast) -> None:
    for side in both:
        rendered = side.renderer.render(MESSAGES, add_generation_prompt=True)
        options = {"prompt_ids": rendered.token_ids, "prompt_attribution": rendered}
        found, _ = side.ask(named(saying(tokenizer)), **options)
        assert isinstance(found, dict)
        assert found["prompt_attribution"] is rendered


def with_choice(change: Callable[[dict[str, Any]], object]) -> Answer:
    """An engine whose choice is changed."""

    def answer(received: Received) -> Reply:
        response = vllm_response(received)
        change(response["choices"][0])
        return json_reply(response)

    return generating(answer)


ERRORS: dict[str, tuple[Answer, type[Exception]]] = {
    "400": (generating(lambda _: json_reply({"error": {"message": "no"}}, status=400)), openai.BadRequestError),
    "404": (generating(lambda _: json_reply({"detail": "no"}, status=404)), openai.NotFoundError),
    "429": (generating(lambda _: json_reply({}, status=429)), openai.RateLimitError),
    "503": (generating(lambda _: json_reply({}, status=503)), openai.InternalServerError),
    "slow": (generating(lambda _: Reply(b"{}", delay=4)), openai.APITimeoutError),
    "dropped": (generating(lambda _: Reply(b"{}", sent=0)), openai.APIConnectionError),
}


@pytest.mark.parametrize(("answer", "kind"), ERRORS.values(), ids=ERRORS)
def test_errors_are_the_same(both: tuple[Client, Client], answer: Answer, kind: type[Exception]) -> None:
    ours, theirs = (side.ask(named(answer))[0] for side in both)
    assert type(ours) is kind
    assert type(theirs) is kind
    assert getattr(ours, "status_code", None) == getattr(theirs, "status_code", None)


MALFORMED: dict[str, Callable[[dict[str, Any]], object]] = {
    "a logprob too few": lambda choice: choice["logprobs"]["content"].pop(),
    "no logprobs": lambda choice: choice.update(logprobs=None),
    "the logprob that stands for none": lambda choice: choice["logprobs"]["content"][0].update(logprob=-9999.0),
    "another token's": lambda choice: choice["logprobs"]["content"][0].update(token="token_id:3999999"),
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED)
def test_answers_that_cannot_be_trusted_are_refused(
    both: tuple[Client, Client], change: Callable[[dict[str, Any]], object]
) -> None:
    for side in both:
        assert type(side.ask(named(with_choice(change)))[0]) is side.client.MalformedGenerateResponseError


def test_prompts_that_are_too_long_are_not_sent(
    both: tuple[Client, Client], tokenizer: PreTrainedTokenizerFast
) -> None:
    errors = []
    for side in both:
        found, sent = side.ask(named(saying(tokenizer)), max_prompt_len=5)
        assert isinstance(found, side.client.OverlongPromptError)
        assert sent == []
        errors.append((found.args, found.prompt_len, found.max_prompt_len))
    assert errors[0] == errors[1]


def test_an_answer_that_the_engine_gave_up_is_an_error_in_isc_only(
    both: tuple[Client, Client], tokenizer: PreTrainedTokenizerFast
) -> None:
    """What there is comes back from renderers, with this finish reason."""
    ours, theirs = (side.ask(named(saying(tokenizer, finish="abort")))[0] for side in both)
    assert type(ours) is openai.APIError
    assert isinstance(theirs, dict)
    assert theirs["finish_reason"] == "abort"
