"""Keys and passwords stand in no error, repr or log, not even where the server sends them back."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import traceback
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI

import isc
from engine_server import GENERATE, Received, Reply, engine, healthy, json_reply, vllm_response
from isc.client import Retries, connect, generate
from isc.client.secrets import Secrets
from isc.client.transport import endpoint
from isc.errors import Error, OptionError

KEY = "sk-live-5d41402abc4b2a76"
PASSWORD = "hunter2-of-mine"
PAIR = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
SECRETS = (KEY, PASSWORD, PAIR)
ONCE = Retries(attempts=1, timeout=5)

ECHOES: dict[str, Callable[[Received, str], Reply]] = {
    "refused": lambda _, said: json_reply({"error": {"message": f"no such key: {said}"}}, status=401),
    "as a page": lambda _, said: Reply(f"<html>{said}</html>".encode(), 400),
    "cut where it is shown": lambda _, said: Reply(b"x" * 290 + said.encode(), 400),
    "unavailable": lambda _, said: json_reply({"detail": said}, status=503),
    "as the request's name": lambda got, said: json_reply({**vllm_response(got), "request_id": said}),
    "as a reason": lambda got, said: json_reply(with_choice(got, finish_reason={"a": said})),
    "as a token": lambda got, said: json_reply(
        with_choice(got, logprobs={"content": [{"token": said, "logprob": -1}] * 2})
    ),
    "in no JSON": lambda _, said: Reply(b'{"choices": ' + said.encode() + b"}"),
    "before what is no JSON": lambda _, said: Reply(b'{"choices": ["' + said.encode() + b'" x]}'),
    "cut off": lambda _, said: Reply(b'{"choices": ["' + said.encode()),
    "in a redirect": lambda _, said: Reply(b"", 307, {"Location": f"http://x/{said}"}),
    "in an abort": lambda got, said: json_reply(with_choice(got, finish_reason="abort", logprobs=None, message=said)),
}
"""Where a server sends what it was sent in the headers."""


def with_choice(received: Received, **fields: object) -> dict[str, Any]:
    response = vllm_response(received, [7, 8])
    response["choices"][0].update(fields)
    return response


def said(received: Received) -> str:
    """All that the headers of a request hold, as a server with a mind to debugging repeats it."""
    return " ".join(
        value for name, value in received.headers.items() if name in ("authorization", "x-api-key", "cookie")
    )


CLIENTS: dict[str, Callable[[str], Any]] = {
    "connect": lambda url: connect(url, KEY),
    "a URL with a password": lambda url: connect(url.replace("//", f"//me:{PASSWORD}@")),
    "httpx with a URL with a password": lambda url: httpx.AsyncClient(base_url=url.replace("//", f"//me:{PASSWORD}@")),
    "httpx with a header": lambda url: httpx.AsyncClient(base_url=url, headers={"X-API-Key": KEY}),
    "httpx with auth": lambda url: httpx.AsyncClient(base_url=url, auth=("me", PASSWORD)),
    "httpx with a cookie": lambda url: httpx.AsyncClient(base_url=url, cookies={"session": KEY}),
    "openai": lambda url: AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY),
    "openai with a URL with a password": lambda url: AsyncOpenAI(
        base_url=f"{url}/v1".replace("//", f"//me:{PASSWORD}@"), api_key="other-key"
    ),
}


async def failed(renderer: isc.Renderer, kind: str, answer: Any) -> tuple[Error, list[Received]]:  # noqa: ANN401
    async with engine(answer) as server, CLIENTS[kind](server.url) as client:
        call = generate(client, renderer, prompt_ids=[5, 6], protocol="vllm", max_prompt_len=9, retries=ONCE)
        found = (await asyncio.gather(call, return_exceptions=True))[0]
        assert isinstance(found, Error), found
        return found, server.requests


def everything(error: BaseException) -> str:
    """All that anybody can print of an error."""
    causes: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in causes:
        causes.append(one)
        one = one.__cause__ or one.__context__
    texts = [f"{each} {each!r} {each.args!r} {vars(each)!r}" for each in causes]
    return " ".join([*texts, "".join(traceback.format_exception(error))])


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("echo", ECHOES)
def test_what_a_server_echoes_is_hidden(echo: str, kind: str, small: isc.Renderer) -> None:
    def answer(received: Received) -> Reply:
        return ECHOES[echo](received, said(received))

    found, requests = asyncio.run(failed(small, kind, answer))
    sent = said(requests[-1])
    assert KEY in sent or PAIR in sent, "the client does send it"
    shown = everything(found)
    assert [secret for secret in SECRETS if secret in shown] == []
    assert KEY[:12] not in shown, "nor the beginning of it"


def test_a_url_with_a_password_signs_in(small: isc.Renderer) -> None:
    async def run() -> list[Received]:
        async with engine() as server, CLIENTS["a URL with a password"](server.url) as client:
            await generate(client, small, prompt_ids=[5])
            return server.requests

    assert {request.headers["authorization"] for request in asyncio.run(run())} == {f"Basic {PAIR}"}


def test_logs_hold_no_password(small: isc.Renderer, caplog: pytest.LogCaptureFixture) -> None:
    """Httpx logs the URL of every request."""
    caplog.set_level(logging.DEBUG)

    async def run() -> None:
        for make in CLIENTS.values():
            async with engine() as server, make(server.url) as client:
                await generate(client, small, prompt_ids=[5])

    asyncio.run(run())
    assert GENERATE in caplog.text
    assert [secret for secret in SECRETS if secret in caplog.text] == []


def test_reprs_hold_no_secret() -> None:
    for make in CLIENTS.values():
        to = endpoint(make("http://engine"), {"X-Token": KEY})
        assert "engine" in repr(to)
        assert [secret for secret in SECRETS if secret in f"{to!r} {to} {to.root} {to.secrets!r}"] == []


def test_an_engine_that_is_not_there_is_named_without_its_password(small: isc.Renderer) -> None:
    async def run() -> Error:
        async with engine() as server:
            gone = server.url
        async with connect(gone.replace("//", f"//me:{PASSWORD}@")) as client:
            found = await asyncio.gather(generate(client, small, prompt_ids=[5], retries=ONCE), return_exceptions=True)
        assert isinstance(found[0], Error)
        assert gone in str(found[0])
        return found[0]

    assert PASSWORD not in everything(asyncio.run(run()))


HEADERS: dict[str, dict[str, Any]] = {
    "a line break": {"X-Token": f"{KEY}\r\nX-Other: 1"},
    "a letter that is not ASCII": {"X-Token": f"{KEY}\u00e9"},
    "no text": {"X-Token": KEY.encode()},
    "a name with a space": {"X Token": KEY},
    "an empty name": {"": KEY},
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_headers_that_cannot_be_sent_are_refused_without_their_value(
    headers: dict[str, Any], small: isc.Renderer
) -> None:
    with pytest.raises(OptionError, match="cannot be sent") as raised:
        asyncio.run(generate(connect("http://engine"), small, prompt_ids=[5], extra_headers=headers))
    assert KEY not in everything(raised.value)


def test_headers_of_a_client_that_cannot_be_sent(small: isc.Renderer) -> None:
    """What the HTTP library says of them holds their value."""

    async def run() -> None:
        async with engine() as server, httpx.AsyncClient(base_url=server.url) as client:
            client.headers["X-Token"] = f"{KEY}\n"
            with pytest.raises(OptionError) as raised:
                await generate(client, small, prompt_ids=[5], retries=ONCE)
            assert KEY not in "".join(traceback.format_exception(raised.value))

    asyncio.run(run())


@pytest.mark.parametrize("url", ["http://engine/v1?key=abc", "http://engine/#abc"])
def test_a_base_url_with_a_query_is_refused(url: str, small: isc.Renderer) -> None:
    with pytest.raises(OptionError, match="query") as raised:
        asyncio.run(generate(httpx.AsyncClient(base_url=url), small, prompt_ids=[5]))
    assert "abc" not in str(raised.value)


HIDDEN: dict[str, tuple[dict[str, str], str, str]] = {
    "a bearer's": ({"Authorization": "Bearer abc"}, "no key abc here", "no key [hidden] here"),
    "the scheme is none": ({"Authorization": "Bearer abcd"}, "Bearer of news", "Bearer of news"),
    "a cookie's": ({"Cookie": "a=12345; b=67890"}, "12345 67890", "[hidden] [hidden]"),
    "a password's": ({"Authorization": "Basic bWU6cHctMQ=="}, "me has pw-1", "me has [hidden]"),
    "as JSON": ({"X-Key": 'a"b"c'}, json.dumps('say a"b"c'), '"say [hidden]"'),
    "in a URL": ({"X-Key": "a/b+c"}, "?key=a%2Fb%2Bc", "?key=[hidden]"),
    "a long value": ({"X-Session": "0123456789"}, "session 0123456789", "session [hidden]"),
    "a short one": ({"X-Session": "7"}, "session 7 of 77", "session 7 of 77"),
    "what is sent by all": ({"User-Agent": "python-httpx"}, "python-httpx", "python-httpx"),
}  # fmt: skip


@pytest.mark.parametrize(("headers", "text", "expected"), HIDDEN.values(), ids=HIDDEN)
def test_secrets_are_hidden(headers: dict[str, str], text: str, expected: str) -> None:
    assert Secrets.of(headers).hide(text) == expected


def test_a_healthy_engine_needs_no_hiding(small: isc.Renderer) -> None:
    async def run() -> None:
        async with engine(healthy) as server, connect(server.url, KEY) as client:
            assert (await generate(client, small, prompt_ids=[5])).prompt_ids == (5,)

    asyncio.run(run())
