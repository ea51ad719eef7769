"""The tiny model behind HTTP: an ASGI application that speaks the token endpoints of vLLM and of SGLang."""

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


class SglangRequest(Struct):
    """`POST /generate`."""

    input_ids: list[int]
    sampling_params: Params
    rid: str
    return_logprob: bool


class RefusedError(Exception):
    """A request that this engine does not take."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status


class Engine:
    """An ASGI application around a model. Randomness is its own, drawn in the order of requests."""

    def __init__(self, model: TinyModel, encoder: Encoder, seed: int) -> None:
        self.model = model
        self.encoder = encoder
        self._dice = random.Random(seed)
        self._torch_dice = torch.Generator().manual_seed(seed)
        self._turn = asyncio.Lock()
        self._routes: dict[tuple[str, str], Callable[[bytes], Awaitable[object]]] = {
            ("POST", "/inference/v1/generate"): self._vllm,
            ("GET", "/v1/models"): self._vllm_models,
            ("POST", "/generate"): self._sglang,
            ("GET", "/get_model_info"): self._sglang_model,
            ("GET", "/get_server_info"): self._sglang_server,
        }

    async def __call__(
        self, scope: Event, receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]
    ) -> None:
        route = self._routes.get((scope["method"], scope["path"]))
        status = 200
        try:
            if route is None:
                raise RefusedError(404, "Not Found")
            found = await route(await _body(receive))
        except (RefusedError, msgspec.ValidationError) as error:
            status = error.status if isinstance(error, RefusedError) else 422
            found = {"error": {"message": str(error), "type": "BadRequestError", "code": status}}
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": msgspec.json.encode(found)})

    async def _vllm(self, body: bytes) -> object:
        asked = msgspec.json.decode(body, type=VllmRequest)
        sample = await self._sampled(asked.token_ids, asked.sampling_params, asked.sampling_params.max_tokens)
        tokens = zip(sample.token_ids, sample.logprobs, strict=True)
        choice = {
            "index": 0,
            "token_ids": sample.token_ids,
            "finish_reason": _finish(sample),
            "logprobs": {"content": [{"token": f"token_id:{k}", "logprob": value} for k, value in tokens]},
        }
        counts = {"prompt_tokens": len(asked.token_ids), "completion_tokens": len(sample.token_ids)}
        return {"request_id": asked.request_id, "choices": [choice], "usage": counts, "prompt_logprobs": None}

    async def _sglang(self, body: bytes) -> object:
        asked = msgspec.json.decode(body, type=SglangRequest)
        sample = await self._sampled(asked.input_ids, asked.sampling_params, asked.sampling_params.max_new_tokens)
        meta = {
            "id": asked.rid,
            "finish_reason": {"type": _finish(sample)},
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
        return {"model_path": MODEL, "context_length": LONGEST}

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


def _finish(sample: Sample) -> str:
    return "stop" if sample.stopped else "length"


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
