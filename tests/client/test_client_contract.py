"""What today's and yesterday's engines say, literally: one recorded answer an engine's version and endpoint.

The files of tests/data/engines are written from the engines' own response models; `<request>` stands for the request's
name there.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

import isc
from client_calls import sent
from engine_server import Received, Reply, healthy
from isc.client import Generation, StreamEvent, TokensSampled, TurnFinished, generate, stream
from isc.errors import EngineAbortedError, OverlongPromptError, PartialCompletion
from streamed_answers import Body, engine_in_memory

DATA = Path(__file__).resolve().parent.parent / "data" / "engines"
RECORDED: dict[str, dict[str, Any]] = {
    path.stem: msgspec.json.decode(path.read_bytes()) for path in sorted(DATA.iterdir())
}
GENERATING = [name for name, one in RECORDED.items() if "limit" not in one and not name.endswith("-abort")]
ABORTS = [name for name in RECORDED if name.endswith("-abort")]
LIMITS = [name for name, one in RECORDED.items() if "limit" in one]
IDS, LOGPROBS = (72, 105, 3), (-0.5, -0.25, -0.0)
"""What all of them sampled after `[5, 6]`."""


def body(recorded: dict[str, Any], received: Received) -> bytes:
    """The recorded answer, to this request."""
    if "events" in recorded:
        chunks = [b"data: " + msgspec.json.encode(event) + b"\n\n" for event in recorded["events"]]
        raw = b"".join([*chunks, b"data: [DONE]\n\n"])
    else:
        raw = msgspec.json.encode(recorded["response"])
    return raw.replace(b"<request>", received.name.encode() if received.body else b"")


def asked(renderer: isc.Renderer, name: str, **options: Any) -> tuple[Generation, list[Received]]:  # noqa: ANN401
    """A call of an engine that answers so."""
    recorded = RECORDED[name]

    def answer(received: Received) -> Reply:
        method = "GET" if "limit" in recorded else "POST"
        if (received.method, received.path) == (method, recorded["path"]):
            return Reply(body(recorded, received))
        return healthy(received) if received.method == "POST" else Reply(b"{}", 404)

    given = {"prompt_ids": [5, 6], "model": "m", "protocol": recorded["protocol"], "stream": "events" in recorded}
    return sent(renderer, answer, **{**given, **options})


@pytest.mark.parametrize("name", GENERATING)
def test_an_answer_is_read(name: str, small: isc.Renderer) -> None:
    found, requests = asked(small, name)
    assert (found.completion_ids, found.completion_logprobs, found.finish_reason) == (IDS, LOGPROBS, "stop")
    assert requests[-1].path == RECORDED[name]["path"]
    assert requests[-1].body.get("stream", False) == ("events" in RECORDED[name])
    assert requests[-1].name in found.request_id


@pytest.mark.parametrize("name", ABORTS)
def test_an_abort_tells_what_was_sampled_until_then(name: str, small: isc.Renderer) -> None:
    with pytest.raises(EngineAbortedError) as raised:
        asked(small, name)
    partial = raised.value.partial
    assert partial is not None
    assert partial == PartialCompletion((5, 6), IDS[:2], LOGPROBS[:2], partial.request_id)
    assert raised.value.request_id in partial.request_id
    message = RECORDED[name]["response"].get("meta_info", {}).get("finish_reason", {}).get("message", "abort")
    assert message in str(raised.value)


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_read(name: str, small: isc.Renderer) -> None:
    limit = RECORDED[name]["limit"]
    assert asked(small, name)[0].prompt_ids == (5, 6)
    if limit is None:
        assert asked(small, name, prompt_ids=range(100))[0].prompt_ids == tuple(range(100))
        return
    with pytest.raises(OverlongPromptError) as raised:
        asked(small, name, prompt_ids=[5, 6, 7])
    assert (raised.value.length, raised.value.limit) == (3, limit)


def test_what_the_completions_endpoint_is_sent(small: isc.Renderer) -> None:
    params = {"max_tokens": 9, "temperature": 0.5, "top_k": 4}
    options: dict[str, Any] = {"sampling_params": params, "cache_salt": "s", "priority": 2, "extra_body": {"user": "u"}}
    _, requests = asked(small, "vllm-0.33-completions", **options)
    body = dict(requests[-1].body)
    assert body.pop("request_id") == requests[-1].headers["x-request-id"]
    assert body == {
        "model": "m",
        "prompt": [5, 6],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_k": 4,
        "logprobs": 1,
        "stop_token_ids": [*small.get_stop_token_ids()],
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
        "skip_special_tokens": False,
        "add_special_tokens": False,
        "echo": False,
        "cache_salt": "s",
        "priority": 2,
        "user": "u",
    }


def test_completions_are_as_long_as_they_come_where_no_length_is_given(small: isc.Renderer) -> None:
    """The endpoint's own default is 16 tokens; null stands for all that fits."""
    _, requests = asked(small, "vllm-0.33-completions")
    assert requests[-1].body["max_tokens"] is None


@pytest.mark.parametrize("name", [name for name in GENERATING if "events" in RECORDED[name]])
def test_a_recorded_stream_is_told_as_it_comes(name: str, small: isc.Renderer) -> None:
    """Two events with tokens each, the last of which has two."""
    client = engine_in_memory(lambda received: Body([body(RECORDED[name], received)]))

    async def run() -> tuple[list[StreamEvent], Generation]:
        options: dict[str, Any] = {"prompt_ids": [5, 6], "protocol": RECORDED[name]["protocol"], "max_prompt_len": 9}
        told = [event async for event in stream(client, small, **options)]
        return told, await generate(client, small, **options, stream=True)

    told, generation = asyncio.run(run())
    sampled = [event for event in told if isinstance(event, TokensSampled)]
    assert sampled == [TokensSampled(IDS[:1], LOGPROBS[:1]), TokensSampled(IDS[1:], LOGPROBS[1:])]
    last = told[-1]
    assert isinstance(last, TurnFinished)
    assert replace(last.generation, request_id="") == replace(generation, request_id="")


def test_streams_are_asked_to_count(small: isc.Renderer) -> None:
    for name in ("vllm-0.33-generate-stream", "vllm-0.33-completions-stream"):
        _, requests = asked(small, name)
        assert requests[-1].body["stream_options"] == {"include_usage": True}
    assert "stream_options" not in asked(small, "sglang-0.5.23-generate-stream")[1][-1].body
