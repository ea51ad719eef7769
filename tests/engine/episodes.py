"""Tool episodes against the engine: rollouts driven by `isc.client.generate`, and an environment of two tools."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import httpx
from msgspec import Struct

import isc
from engine.model import TinyModel
from engine.server import Engine, served
from golden_conversations import TOOLS, tool, user
from isc.client import ProtocolName, connect, generate
from isc.conversation.rollout import Episode, Rollout
from isc.encoding.encoders import VocabularyEncoder, embedded
from isc.formats.qwen3 import Qwen3
from isc.types import ParsedResponse

EPISODES = 60
SEED = 2026
RENDERERS = {
    "Qwen3": isc.Renderer(Qwen3(), embedded(Qwen3().specials)),
    'Qwen3, thinking_retention="all"': isc.Renderer(Qwen3(), embedded(Qwen3().specials), "all"),
    "Qwen3-2507 instruct": isc.Renderer(Qwen3(variant="instruct_2507"), embedded(Qwen3().specials)),
}
"""How the episodes are rendered: each an equal share of them."""

_PROTOCOLS: tuple[ProtocolName, ...] = ("vllm", "sglang")
_RESULTS = ("12:00", "\nline\n", "3.14 e\u0301", "", "<|im_end|> said a tool", "漢字", '{"hits": []}')


class Turn(Struct, frozen=True):
    """A sampled turn: how many messages came before it, what was asked, sampled and read."""

    messages: int
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    response: ParsedResponse
    finish_reason: str


class Played(Struct, frozen=True):
    """An episode with its turns, by the name of its renderer."""

    name: str
    protocol: ProtocolName
    episode: Episode
    turns: tuple[Turn, ...]

    @property
    def renderer(self) -> isc.Renderer:
        """How it was rendered."""
        return RENDERERS[self.name]


def vocabulary() -> VocabularyEncoder:
    """The small vocabulary with the specials of Qwen3."""
    return embedded(Qwen3().specials)


def play_all(count: int = EPISODES, seed: int = SEED) -> list[Played]:
    """Episodes, one after another, over HTTP on the loopback: all renderers, both protocols."""
    encoder = vocabulary()
    with served(Engine(TinyModel(len(encoder)), encoder, seed)) as url:
        return asyncio.run(_play_all(url, count, random.Random(seed)))


async def _play_all(url: str, count: int, dice: random.Random) -> list[Played]:
    kinds = [(name, protocol) for name in RENDERERS for protocol in _PROTOCOLS]
    async with connect(url) as http:
        return [await _play(http, *kinds[number % len(kinds)], dice) for number in range(count)]


async def _play(http: httpx.AsyncClient, name: str, protocol: ProtocolName, dice: random.Random) -> Played:
    renderer = RENDERERS[name]
    rollout = Rollout.start(renderer, [user(dice.choice(("What time is it?", "Find cats", "?")))], TOOLS)
    turns: list[Turn] = []
    for number in range(dice.randint(3, 7)):
        if number:
            rollout = rollout.after_messages(_follows(rollout.response, dice))
        params = {"temperature": 1.0, "max_tokens": dice.choice((32, 96, 96))}
        generation = await generate(
            http, renderer, prompt_attribution=rollout.prompt, tools=TOOLS, protocol=protocol, sampling_params=params
        )
        before = len(rollout.chat.messages)
        rollout = rollout.after_completion(generation.completion_ids, generation.completion_logprobs)
        turns.append(
            Turn(before, rollout.prompt_ids, generation.completion_ids, rollout.response, generation.finish_reason)
        )
    return Played(name, protocol, rollout.finish(), tuple(turns))


def _follows(response: ParsedResponse, dice: random.Random) -> list[dict[str, Any]]:
    """What the environment answers: a result for every attempted call, a word from the user where there was none."""
    if not response.tool_calls:
        return [user("Go on.")]
    return [
        tool(dice.choice(_RESULTS) if call.status == "ok" else f"error: {call.status}") for call in response.tool_calls
    ]
