"""Servers that mean harm: bombs, bodies without an end, redirects. Their cost is bounded, nothing goes elsewhere."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import tracemalloc
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI

import isc
from isc.client import Retries, connect, generate
from isc.client.bodies import response_bound
from isc.errors import EngineRefusedError, EngineTimeoutError, EngineUnavailableError, MalformedResponseError
from raw_servers import Send, bomb, dripping, endless, raw_server, whole

ONCE = Retries(attempts=1, timeout=20, total=20)
MEGABYTE = 1 << 20
REDIRECTS = ("301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect")


async def outcome(renderer: isc.Renderer, send: Send, **options: Any) -> BaseException | object:  # noqa: ANN401
    """What a call of such a server comes to."""
    async with raw_server(send) as url, connect(url) as client:
        given = {"prompt_ids": [5, 6], "max_prompt_len": 9, "retries": ONCE, **options}
        return (await asyncio.gather(generate(client, renderer, **given), return_exceptions=True))[0]


def test_a_bomb_is_not_unpacked(small: isc.Renderer) -> None:
    packed = bomb(400)
    assert len(packed) < 0.5 * MEGABYTE
    tracemalloc.start()
    found = asyncio.run(outcome(small, whole(packed, "200 OK", b"Content-Encoding: gzip")))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(found, MalformedResponseError)
    assert "compressed ('gzip')" in str(found)
    assert peak < 8 * MEGABYTE


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "deflate", "br", "zstd", "gzip, gzip", "compress"])
def test_no_coding_is_taken(coding: str, small: isc.Renderer) -> None:
    found = asyncio.run(outcome(small, whole(bomb(1), "200 OK", f"Content-Encoding: {coding}".encode())))
    assert isinstance(found, MalformedResponseError)
    assert "compressed" in str(found)


def test_a_bomb_in_an_error_is_not_unpacked(small: isc.Renderer) -> None:
    found = asyncio.run(outcome(small, whole(bomb(400), "503 .", b"Content-Encoding: gzip")))
    assert isinstance(found, EngineUnavailableError)
    assert found.status == 503


def test_no_coding_is_asked_for(small: isc.Renderer) -> None:
    async def run() -> list[bytes]:
        requests: list[bytes] = []
        async with raw_server(whole(b"{}"), requests) as url, httpx.AsyncClient(base_url=url) as client:
            with pytest.raises(MalformedResponseError):
                await generate(client, small, prompt_ids=[5], retries=ONCE)
        return requests

    requests = asyncio.run(run())
    assert len(requests) == 3
    for request in requests:
        codings = [line for line in request.lower().split(b"\r\n") if line.startswith(b"accept-encoding:")]
        assert codings == [b"accept-encoding: identity"]


def test_a_body_without_an_end_is_read_to_the_bound(small: isc.Renderer) -> None:
    peaks = {}
    for bound in (2 * MEGABYTE, 8 * MEGABYTE):
        tracemalloc.start()
        found = asyncio.run(outcome(small, endless, max_response_bytes=bound))
        peaks[bound] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert isinstance(found, MalformedResponseError)
        assert f"larger than {bound} bytes" in str(found)
        assert "max_response_bytes" in str(found)
    assert all(peak < 2 * bound + 4 * MEGABYTE for bound, peak in peaks.items())


def test_the_bound_comes_from_the_request(small: isc.Renderer) -> None:
    found = asyncio.run(outcome(small, endless, sampling_params={"max_tokens": 10}))
    assert isinstance(found, MalformedResponseError)
    assert "larger than 16827648 bytes" in str(found)  # 16 MiB, 10 times (4096 + 128) and 2 times 4096
    assert response_bound(10**9, 10**9, 20) == response_bound(130_000, None, 1) == 512 * MEGABYTE


def test_a_length_beyond_the_bound_is_refused_unread(small: isc.Renderer) -> None:
    found = asyncio.run(outcome(small, whole(b"{}", "200 OK", b"X: y"), max_response_bytes=1))
    assert isinstance(found, MalformedResponseError)
    assert "larger than 1 bytes" in str(found)


@pytest.mark.parametrize("status", ["400 .", "500 ."])
def test_an_error_without_an_end_is_read_for_what_is_shown(status: str, small: isc.Renderer) -> None:
    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        while True:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()

    tracemalloc.start()
    found = asyncio.run(outcome(small, send))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found, EngineRefusedError if status[0] == "4" else EngineUnavailableError)
    assert peak < 4 * MEGABYTE
    assert len(str(found)) < 1000


@pytest.mark.parametrize("send", [dripping, endless])
def test_time_is_bounded_whatever_arrives(send: Send, small: isc.Renderer) -> None:
    start = time.monotonic()
    retries = Retries(attempts=2, timeout=0.3, total=1, pause=0.01)
    found = asyncio.run(outcome(small, send, retries=retries, max_response_bytes=2**40))
    assert isinstance(found, EngineTimeoutError)
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("kind", ["connect", "httpx", "openai"])
def test_nothing_goes_to_another_host(kind: str, status: str, small: isc.Renderer) -> None:
    """Whatever the client would do by itself: an AsyncOpenAI follows redirects, with prompt and key."""

    async def run() -> tuple[BaseException, list[bytes]]:
        elsewhere: list[bytes] = []
        async with raw_server(whole(b"{}"), elsewhere) as other:
            send = whole(b"", status, f"Location: {other.replace('//', '//user:pw@')}/steal?key=1".encode())
            async with raw_server(send) as url, clients(url)[kind] as client:
                call = generate(client, small, prompt_ids=[5, 6], max_prompt_len=9, retries=ONCE)
                found = (await asyncio.gather(call, return_exceptions=True))[0]
        assert isinstance(found, BaseException)
        return found, elsewhere

    found, elsewhere = asyncio.run(run())
    assert elsewhere == []
    assert isinstance(found, EngineRefusedError)
    assert found.status == int(status[:3])
    assert "not followed" in str(found)
    assert "pw@" not in str(found)


def clients(url: str) -> dict[str, Any]:
    """The clients that callers have, all of which would follow a redirect by themselves but the first."""
    return {
        "connect": connect(url, "sk-key-of-mine"),
        "httpx": httpx.AsyncClient(base_url=url, follow_redirects=True, headers={"Authorization": "Bearer sk-1"}),
        "openai": AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-key-of-mine", max_retries=0),
    }


def test_a_redirect_while_looking_for_endpoints_is_not_followed(small: isc.Renderer) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "engine"
        return httpx.Response(307, headers={"Location": "http://elsewhere/"})

    async def run() -> None:
        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(base_url="http://engine", transport=transport, follow_redirects=True) as client:
            with pytest.raises(EngineRefusedError, match="not followed"):
                await generate(client, small, prompt_ids=[5], retries=ONCE)

    asyncio.run(run())


def test_a_bomb_in_a_process_of_its_own(root: object) -> None:
    """What the operating system says of it: the process does not grow by what a hundredth of the bomb would take."""
    code = (
        "import asyncio, resource, isc\n"
        "from isc.client import connect, generate\n"
        "from raw_servers import bomb, raw_server, whole\n"
        "renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())\n"
        "async def run(packed):\n"
        "    send = whole(packed, '200 OK', b'Content-Encoding: gzip')\n"
        "    async with raw_server(send) as url, connect(url) as client:\n"
        "        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "        try:\n"
        "            await generate(client, renderer, prompt_ids=[5], max_prompt_len=9)\n"
        "        except isc.errors.MalformedResponseError:\n"
        "            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
        "asyncio.run(run(bomb(400)))\n"
    )
    tests = f"{root}/tests"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tests)
    assert int(run.stdout) < 32 * 1024  # kilobytes; unpacked it was 898 MB
