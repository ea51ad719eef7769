"""A stand-in for `vllm serve`: it says drafted answers, in ids, so that a gateway can be tried where there is no model.

It calls the tool that it is offered, and once it has seen the result says so. Ids are of isc's embedded vocabulary.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import isc

RENDERER = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
QUESTION = {"role": "user", "content": "?"}
CALL = {"id": "call-1", "type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 40}}}
ANSWERS = (
    {"role": "assistant", "reasoning_content": "I add them.", "content": "", "tool_calls": [CALL]},
    {"role": "assistant", "reasoning_content": "That is it.", "content": "It is 42."},
)


def sampled(prompt_ids: list[int]) -> tuple[int, ...]:
    """Return the ids of the answer to a prompt, up to the end of its turn."""
    answer = ANSWERS["<tool_response>" in RENDERER.encoder.decode_bytes(prompt_ids).decode("utf-8", "replace")]
    prompt = RENDERER.render_ids([QUESTION], add_generation_prompt=True)
    ids = RENDERER.render_ids([QUESTION, answer])[len(prompt) :]
    return ids[: ids.index(RENDERER.get_stop_token_ids()[0]) + 1]


async def generate(request: Request) -> Response:
    """Answer as vLLM does at `/inference/v1/generate`, streamed."""
    body = await request.json()
    ids = sampled(body["token_ids"])

    def events() -> Iterator[str]:
        for place, token_id in enumerate(ids):
            logprobs = {"content": [{"token_id": token_id, "logprob": -0.25}]}
            choice = {"index": 0, "token_ids": [token_id], "logprobs": logprobs}
            reason = "stop" if place == len(ids) - 1 else None
            chunk = {"request_id": body["request_id"], "choices": [{**choice, "finish_reason": reason}]}
            yield f"data: {json.dumps(chunk)}\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


async def models(_request: Request) -> Response:
    """List the one model, with the longest prompt that it takes."""
    return JSONResponse({"object": "list", "data": [{"id": "drafted", "object": "model", "max_model_len": 32_768}]})


async def health(_request: Request) -> Response:
    """Say that all is well."""
    return JSONResponse({})


ROUTES = [
    Route("/inference/v1/generate", generate, methods=["POST"]),
    Route("/v1/models", models),
    Route("/health", health),
]

if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    uvicorn.run(Starlette(routes=ROUTES), port=port, log_level="warning")
