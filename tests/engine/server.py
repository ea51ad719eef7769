"""The tiny model behind HTTP: an ASGI application that speaks the token endpoints of vLLM and SGLang, old and new."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import msgspec
import torch
import uvicorn
from msgspec import Struct

from engine.drafts import draft
from engine.model import LONGEST, Sample, TinyModel
from isc.encoding.base import Encoder

Event = MutableMapping[str, Any]
MODEL = "tiny-qwen3"


class Params(Struct):
    """Sampling parameters, by either engine's names."""

    temperature: float = 1.0
    max_tokens: int = 16
    max_new_tokens: int = 16
    stop_token_ids: list[int] = []


class VllmRequest(Struct):
    """`POST /inference/v1/generate`."""

    token_ids: list[int]
    sampling_params: Params
    request_id: str = ""
    model: str | None = None
    stream: bool = False


class CompletionsRequest(Params):
    """`POST /v1/completions`, the prompt as ids and the answer too; the sampling parameters stand beside them."""

    prompt: list[int] = []
    request_id: str = ""
    return_token_ids: bool = False
    return_tokens_as_token_ids: bool = False
    max_tokens: int | None = 16  # type: ignore[assignment]
    stream: bool = False


class SglangRequest(Struct):
    """`POST /generate`."""

    input_ids: list[int]
    sampling_params: Params
    rid: str
    return_logprob: bool
    stream: bool = False


class Events(Struct):
    """An answer that is sent in pieces."""

    pieces: list[object]

    def body(self) -> Iterator[bytes]:
        """Yield the pieces as server-sent events, each of which is sent on its own."""
        for piece in self.pieces:
            yield b"data: " + msgspec.json.encode(piece) + b"\n\n"
        yield b"data: [DONE]\n\n"


class RefusedError(Exception):
    """A request that this engine does not take."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status


class Engine:
    """An ASGI application around a model. Randomness is its own, drawn in the order of requests.

    `old` speaks as vLLM did before 0.33 and SGLang before 0.5.23: tokens by name, older endpoints about itself.
    """

    def __init__(self, model: TinyModel, encoder: Encoder, seed: int, *, old: bool = False) -> None:
        self.model = model
        self.encoder = encoder
        self.old = old
        self._dice = random.Random(seed)
        self._torch_dice = torch.Generator().manual_seed(seed)
        self._turn = asyncio.Lock()
        self._routes: dict[tuple[str, str], Callable[[bytes], Awaitable[object]]] = {
            ("POST", "/inference/v1/generate"): self._vllm,
            ("POST", "/v1/completions"): self._completions,
            ("GET", "/v1/models"): self._vllm_models,
            ("POST", "/generate"): self._sglang,
            ("GET", "/get_model_info" if old else "/model_info"): self._sglang_model,
            ("GET", "/get_server_info" if old else "/server_info"): self._sglang_server,
        }

    async def __call__(
        self, scope: Event, receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]
    ) -> None:
        route = self._routes.get((scope["method"], scope["path"]))
        status = 200
        try:
            if route is None and any(path == scope["path"] for _, path in self._routes):
                raise RefusedError(405, "Method Not Allowed")
            if route is None:
                raise RefusedError(404, "Not Found")
            found = await route(await _body(receive))
        except (RefusedError, msgspec.ValidationError) as error:
            status = error.status if isinstance(error, RefusedError) else 422
            found = {"error": {"message": str(error), "type": "BadRequestError", "code": status}}
        kind = b"text/event-stream" if isinstance(found, Events) else b"application/json"
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
        for body in found.body() if isinstance(found, Events) else [msgspec.json.encode(found)]:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body"})

    async def _vllm(self, body: bytes) -> object:
        asked = msgspec.json.decode(body, type=VllmRequest)
        sample = await self._sampled(asked.token_ids, asked.sampling_params, asked.sampling_params.max_tokens)
        named = {"request_id": f"generate-tokens-{asked.request_id}"}
        counts = {"prompt_tokens": len(asked.token_ids), "completion_tokens": len(sample.token_ids)}
        if asked.stream:
            pieces = [{**named, "choices": [self._vllm_choice(piece)]} for piece in sample.pieces()]
            return Events([*pieces, {**named, "choices": [], "usage": counts}])
        whole = self._vllm_choice(sample)
        return {**named, "choices": [whole], "usage": counts, "prompt_logprobs": None}

    def _vllm_choice(self, sample: Sample) -> dict[str, object]:
        tokens = zip(sample.token_ids, sample.logprobs, strict=True)
        return {
            "index": 0,
            "token_ids": sample.token_ids,
            "finish_reason": _finish(sample),
            "logprobs": {"content": [{**self._named(k), "logprob": value} for k, value in tokens]},
        }

    def _named(self, token_id: int) -> dict[str, object]:
        return {"token": f"token_id:{token_id}"} if self.old else {"token_id": token_id, "rank": 1, "top_logprobs": []}

    async def _completions(self, body: bytes) -> object:
        asked = msgspec.json.decode(body, type=CompletionsRequest)
        if not (asked.return_token_ids and asked.return_tokens_as_token_ids):
            raise RefusedError(400, "this engine answers in ids only")
        room = LONGEST - len(asked.prompt) if asked.max_tokens is None else asked.max_tokens
        sample = await self._sampled(asked.prompt, asked, room)
        named = {"id": f"cmpl-{asked.request_id}", "object": "text_completion"}
        counts = {"prompt_tokens": len(asked.prompt), "completion_tokens": len(sample.token_ids)}
        if asked.stream:
            first: list[list[int] | None] = [asked.prompt]
            pieces = [
                {**named, "choices": [_completions_choice(piece, first.pop() if first else None)]}
                for piece in sample.pieces()
            ]
            return Events([*pieces, {**named, "choices": [], "usage": counts}])
        return {**named, "choices": [_completions_choice(sample, asked.prompt)], "usage": counts}

    async def _sglang(self, body: bytes) -> object:
        asked = msgspec.json.decode(body, type=SglangRequest)
        sample = await self._sampled(asked.input_ids, asked.sampling_params, asked.sampling_params.max_new_tokens)
        if asked.stream:
            return Events([self._sglang_answer(asked, so_far) for so_far in sample.prefixes()])
        return self._sglang_answer(asked, sample)

    def _sglang_answer(self, asked: SglangRequest, sample: Sample) -> dict[str, object]:
        reason = _finish(sample)
        meta = {
            "id": asked.rid,
            "finish_reason": None if reason is None else {"type": reason},
            "prompt_tokens": len(asked.input_ids),
            "completion_tokens": len(sample.token_ids),
            "output_token_logprobs": [
                (value, k, None) for k, value in zip(sample.token_ids, sample.logprobs, strict=True)
            ],
        }
        text = self.encoder.decode_bytes(sample.token_ids).decode("utf-8", "replace")
        return {"text": text, "output_ids": sample.token_ids, "meta_info": meta}

    async def _vllm_models(self, _: bytes) -> object:
        return {"object": "list", "data": [{"id": MODEL, "object": "model", "max_model_len": LONGEST}]}

    async def _sglang_model(self, _: bytes) -> object:
        return {"model_path": MODEL, "is_generation": True}

    async def _sglang_server(self, _: bytes) -> object:
        limits = {"context_length": LONGEST} if self.old else {"context_length": None, "max_req_input_len": LONGEST}
        return {"model_path": MODEL, **limits}

    async def _sampled(self, prompt_ids: list[int], params: Params, max_tokens: int) -> Sample:
        """One completion at a time, beside the event loop."""
        if len(prompt_ids) + max_tokens > LONGEST:
            raise RefusedError(400, f"{len(prompt_ids)} tokens and {max_tokens} to sample are more than {LONGEST}")
        if params.temperature != 1.0:
            raise RefusedError(400, "this engine samples at temperature 1 only")
        async with self._turn:
            planned = draft(self.encoder, self._dice)
            return await asyncio.to_thread(
                self.model.sample, prompt_ids, planned, max_tokens, params.stop_token_ids, self._torch_dice
            )


def _finish(sample: Sample) -> str | None:
    if not sample.ended:
        return None
    return "stop" if sample.stopped else "length"


def _completions_choice(sample: Sample, prompt_ids: list[int] | None) -> dict[str, object]:
    told = {"tokens": [f"token_id:{k}" for k in sample.token_ids], "token_logprobs": sample.logprobs}
    ids = {"token_ids": sample.token_ids, "prompt_token_ids": prompt_ids}
    return {"index": 0, "text": "", "finish_reason": _finish(sample), "logprobs": told, **ids}


async def _body(receive: Callable[[], Awaitable[Event]]) -> bytes:
    body, more = b"", True
    while more:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    return body


@contextmanager
def served(application: Engine) -> Iterator[str]:
    """The root URL of the application, served on a free port of the loopback until the end."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(application, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the server did not start"
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=10)
