"""Sessions of a few turns for the tests of the gateway: what the model says is given as text."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import isc
from isc.conversation.rollout import assistant_message
from isc.conversation.sampled_parts import parts_alone
from isc.encoding.encoders import embedded
from isc.formats.segments import spelled
from isc.gateway import Sampling, Session, answered, step
from isc.gateway.store import Store
from isc.gateway.tree import Turn

QWEN = isc.Renderer(isc.Qwen3(), embedded(isc.Qwen3().specials), "all")
KIMI = isc.Renderer(isc.KimiK2(), embedded(isc.KimiK2().specials))
CALL = '<tool_call>\n{"name": "search", "arguments": {"q": "cats", "limit": 3}}\n</tool_call>'
SEARCH: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "search", "parameters": {"type": "object", "properties": {}}}}
]


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def ids_of(renderer: isc.Renderer, text: str) -> tuple[int, ...]:
    """The ids of a text that a model samples, its specials as such."""
    encoder, ids = renderer.encoder, list[int]()
    for segment in spelled(text, renderer.family.specials):
        if segment.kind == "special":
            ids.append(encoder.specials[segment.text])
        else:
            ids += next(iter(encoder.encode_batch([segment.text])))
    return tuple(ids)


def with_turn(
    session: Session,
    messages: Iterable[Mapping[str, Any]],
    text: str,
    *,
    renderer: isc.Renderer = QWEN,
    tools: list[dict[str, Any]] | None = SEARCH,
    **options: Any,  # noqa: ANN401 - those of step
) -> Session:
    """The session after the model has answered these messages with a text."""
    prompted = step(session, renderer, messages, tools, **options)
    ids = ids_of(renderer, text)
    said = assistant_message(renderer.encoder, ids, renderer.parse_response(ids, tools, prompted.prompt.token_ids))
    logprobs = tuple(-0.25 - k / 100 for k in range(len(ids)))
    parts = parts_alone(renderer, prompted.prompt.token_ids, ids, prompted.tools) if renderer.parts else ()
    sampling = Sampling(ids, logprobs, said, parts=parts)
    return session.after(answered(prompted, sampling, f"turn-{len(session.turns)}"))


def last(session: Session) -> Turn:
    return session.turns[-1]


def recorded(path: Path, about: str = "m", name: str = "a") -> Session:
    """A session of two answers to one question, and its record, which is told to be of this model."""
    asked = [user("Find cats")]
    session = with_turn(with_turn(Session(name), asked, CALL + "<|im_end|>"), asked, "Yes.<|im_end|>")
    store = Store(path, about)

    async def write() -> None:
        await store.add(name, session.turns)
        store.note(name, [0], "sent")
        assert await store.count() == 1
        assert await store.names() == (name,)

    asyncio.run(write())
    store.close()
    return session
