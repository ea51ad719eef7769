"""An engine that is asked in text, as `vllm serve` is by a proxy: it renders each prompt anew by the model's template.

It tells the ids of the prompt and of what it sampled, as vLLM does with `return_token_ids`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway_sessions import QWEN, SEARCH, ids_of
from isc._json import json_text
from rerendered_episode import rerendered


def said(ids: Sequence[int]) -> dict[str, Any]:
    """What was sampled as a message. What is no call stays text."""
    response = QWEN.parse_response(ids, SEARCH)
    broken = [
        QWEN.encoder.decode_bytes(ids[slice(*one.token_span)]) for one in response.tool_calls if one.status != "ok"
    ]
    content = "\n".join(filter(None, [response.content, *(text.decode() for text in broken)]))
    message: dict[str, Any] = {"role": "assistant", "content": content, "reasoning_content": response.reasoning_content}
    calls = [
        {
            "id": f"call-{ids[0]}-{number}-{len(ids)}",
            "type": "function",
            "function": {"name": one.name, "arguments": json_text(one.arguments)},
        }
        for number, one in enumerate(response.tool_calls)
        if one.status == "ok" and one.arguments is not None
    ]
    return {**message, "tool_calls": calls} if calls else message


def text_engine(texts: Sequence[str], template: str) -> Starlette:
    """An engine that says these one after another."""
    left = list(texts)

    async def completions(request: Request) -> Response:
        body = await request.json()
        prompt = rerendered(body["messages"], template, generation=True)
        ids = list(ids_of(QWEN, left.pop(0)))
        logprobs = {"content": [{"token": f"token_id:{one}", "logprob": -0.5} for one in ids]}
        choice = {"index": 0, "message": said(ids), "logprobs": logprobs, "finish_reason": "stop", "token_ids": ids}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(ids), "total_tokens": len(prompt) + len(ids)}
        head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": body["model"], "usage": usage}
        return JSONResponse({**head, "choices": [choice], "prompt_token_ids": prompt})

    return Starlette(routes=[Route("/v1/chat/completions", completions, methods=["POST"])])


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """An application over HTTP on the loopback, until the block is left."""
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", 0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        thread.join(0.02)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
