"""`isc serve` and `isc export`: agents recorded while they work, and the record as a file of samples."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from msgspec.structs import replace

from isc.cli import Exit
from isc.cli.arguments import Age, Format, Whole, console, seconds_of
from isc.cli.commands import app
from isc.cli.files import refuse_existing
from isc.cli.formats import EMBEDDED, EMBEDDED_NOTICE, choose, identity
from isc.client.engines import ProtocolName
from isc.errors import OptionError
from isc.formats.catalogue import family_name
from isc.gateway.access import Access
from isc.gateway.export import rows, write_rows
from isc.gateway.reports import session_samples
from isc.gateway.serving import Bounds, Serving
from isc.gateway.store import read_all
from isc.loading import vocabulary_digest
from isc.types import ThinkingRetention

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_ENGINE_KEY = "ISC_ENGINE_API_KEY"


@Parameter(name="*")
@dataclass(frozen=True)
class Upstream:
    """How the engines are asked, and what for."""

    engine_model: str | None = None
    """The name that the engines serve the model by, where they serve several."""
    protocol: ProtocolName = "auto"
    """How engines are asked; `auto` looks which of the ways they have."""
    thinking_retention: ThinkingRetention | None = None
    """`all` keeps earlier reasoning when a user speaks, so that prompts go on from the sampled ids where the format
    would drop it."""


@Parameter(name="*")
@dataclass(frozen=True)
class Place:
    """Where agents find the gateway, who of them may ask, and how much it takes."""

    host: str = "127.0.0.1"
    """The address to listen on. Any other than the loopback needs --token."""
    port: int = 9000
    """The port; 0 takes a free one."""
    token: str | None = None
    """What every request has to bring, as a bearer token or as x-api-key."""
    served_name: tuple[str, ...] = ()
    """A name that agents may ask for; `*` takes any. Can be repeated. By default that of the model."""
    max_sessions: Whole = 100_000
    """How many sessions are recorded."""
    max_turns: Whole = 10_000
    """How many turns a session has."""
    max_body: Whole = 64 << 20
    """How many bytes a request has."""
    keep_for: Age | None = None
    """Remove a session once nothing was asked or answered in it for so long, such as 12h or 30d, finished or not. By
    default none is."""


_NO_FORMAT = Format()
_ANY_UPSTREAM = Upstream()
_HERE = Place()


@app.command
def serve(
    *,
    engine: tuple[str, ...],
    record: Path,
    parts: bool = False,
    format: Format = _NO_FORMAT,
    upstream: Upstream = _ANY_UPSTREAM,
    place: Place = _HERE,
) -> int:
    r"""Serve agents: they speak the dialects they know, engines are asked in ids, every turn is recorded.

    An agent gets http://HOST:PORT/sessions/NAME/v1 as its base URL, with any NAME; each name is a session of its own.
    The key of the engines, if they want one, is taken from ISC_ENGINE_API_KEY.

    For example:

    ```
    isc serve --engine http://localhost:8000 --model Qwen/Qwen3-8B \
        --record runs.sqlite
    isc serve --engine http://one:8000 --engine http://two:8000 \
        --model Qwen/Qwen3-8B --record runs.sqlite --host 0.0.0.0 --token "$TOKEN"
    ```

    Args:
        engine: The root of an engine, vLLM or SGLang. Can be repeated: a session keeps to one.
        record: The file of sessions; it is made where there is none, and gone on with where there is one.
        parts: Record of what part of its message each token is (reasoning, content, a call's name, ...), so that
            samples can be trained on by parts.
        format: Chat format and vocabulary, those of the model that the engines serve.
        upstream: How the engines are asked.
        place: Where the gateway is.
    """
    if place.host not in _LOOPBACK and place.token is None:
        raise OptionError(f"--host {place.host}: whoever reaches this address could ask: give them a --token")
    listen = _listener()
    renderer, vocabulary = choose(
        format.family, format.model, format.option, format.images_from, template=format.template
    )
    if vocabulary == EMBEDDED:
        console(errors=True).print(EMBEDDED_NOTICE)
    renderer = replace(renderer, thinking_retention=upstream.thinking_retention, parts=parts)
    digest = EMBEDDED if format.model is None else vocabulary_digest(format.model)
    names = place.served_name or (format.model or family_name(renderer.family),)
    listen(
        Serving(
            *(renderer, f"{identity(renderer.family)} {digest}", engine, Access(names, place.token), record),
            *(upstream.engine_model, upstream.protocol, os.environ.get(_ENGINE_KEY)),
            *(_bounds(place), place.host, place.port),
        )
    )
    return Exit.OK


def _bounds(place: Place) -> Bounds:
    kept = None if place.keep_for is None else seconds_of(place.keep_for)
    return Bounds(place.max_body, place.max_sessions, place.max_turns, keep_seconds=kept)


def _listener() -> Callable[[Serving], None]:
    """Return what serves.

    Raises:
        OptionError: A package that it needs is missing.
    """
    try:
        from isc.gateway.listening import listen
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("starlette", "uvicorn", "httpx"):
            raise
        raise OptionError(f'isc serve needs {missing}: pip install "isc[serve]"') from None
    return listen


@app.command
def export(
    record: Path,
    /,
    *,
    output: Annotated[Path, Parameter(name=("--output", "-o"))],
    session: tuple[str, ...] = (),
    finished: bool = False,
    overwrite: bool = False,
) -> int:
    """Write the sessions of a record as training samples, one row each.

    A row has the ids, the loss mask, the log-probabilities as they were sampled, the owner of every token, the
    messages, the session, its branch, the reward, and which weights sampled what. It works while a gateway serves.

    For example:

    ```
    isc export runs.sqlite -o episodes.parquet
    isc export runs.sqlite --session my-run-1 --session my-run-2 -o two.jsonl
    ```

    Args:
        record: The file that `isc serve --record` writes.
        output: File to write; its name ends in .parquet or .jsonl.
        session: A session to write; by default all are. Can be repeated.
        finished: Leave out sessions that may still have turns.
        overwrite: Replace what is there.
    """
    refuse_existing((output,), overwrite=overwrite)
    recorded = [one for one in read_all(record) if not session or one.name in session]
    missing = sorted(set(session) - {one.name for one in recorded})
    if missing:
        raise OptionError(f"--session {missing[0]}: {record} has no such session")
    kept = [one for one in recorded if one.finished or not finished]
    count = write_rows(rows(map(session_samples, kept)), output)
    console().print(f"{output}: {count} samples of {len(kept)} sessions")
    return Exit.OK
