"""Calls that have to be made: whatever an engine is held to is read as the call, in every format that it can be."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import isc
from engine_server import Reply, generating
from gateway_running import running, saying, streamed
from gateway_sessions import CALL, QWEN, SEARCH, user
from isc.errors import ConversationError
from isc.formats.catalogue import list_families
from isc.gateway import forced_call
from isc.types import ToolSpec

FORCED = ("inkling", "kimi-k2", "kimi-k2.5", "llama-3", "mistral", "qwen2.5", "qwen3", "qwen3-vl")
TOOLS = [
    ToolSpec({"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}})
    for name in ("search", "look_up")
]
TEXTS = ("", "cats", '"', "</tool_call>", "<|im_end|>", "</think>", "é\n{}")


def renderer_of(name: str) -> isc.Renderer:
    family = list_families()[name]()
    return isc.Renderer(family, isc.encoders.embedded(family.specials))


def drawn(renderer: isc.Renderer, form: dict[str, Any], source: random.Random) -> list[int]:
    """Ids that a structural tag allows: what xgrammar's formats mean, drawn at random."""
    kind = form["type"]
    if kind == "structural_tag":
        return drawn(renderer, form["format"], source)
    if kind == "sequence":
        return [id_ for element in form["elements"] for id_ in drawn(renderer, element, source)]
    if kind == "or":
        return drawn(renderer, source.choice(form["elements"]), source)
    if kind == "optional":
        return drawn(renderer, form["content"], source) if source.random() < 0.5 else []
    if kind == "token":
        return [form["token"]]
    if kind == "json_schema":
        return drawn_object(renderer, source)
    if kind == "any_tokens":
        assert set(form["exclude_tokens"]) == set(renderer.encoder.specials.values())
        return encoded(renderer, " ".join(source.choices(("", "Hm.", "</think>", "{}"), k=source.randrange(4))))
    return encoded(renderer, form["value"])


def drawn_object(renderer: isc.Renderer, source: random.Random) -> list[int]:
    """Ids that spell an object. In a text of it xgrammar allows control tokens too, by what they spell; no stop."""
    space = source.choice(("", " ", "\n"))
    text = json.dumps({source.choice(TEXTS): source.choice(TEXTS)}, ensure_ascii=source.random() < 0.5)
    stops = renderer.get_stop_token_ids()
    marks = [id_ for spelling, id_ in renderer.encoder.specials.items() if id_ not in stops and '"' not in spelling]
    held = source.choices(marks, k=source.randrange(3))
    return [*encoded(renderer, f'{{{space}{text[1:-1]}, "x": "a'), *held, *encoded(renderer, f'b"{space}}}')]


def encoded(renderer: isc.Renderer, text: str) -> list[int]:
    return list(next(iter(renderer.encoder.encode_batch([text])))) if text else []


@pytest.mark.parametrize("name", FORCED)
@given(source=st.randoms(use_true_random=False))
def test_what_an_engine_is_held_to_is_read_as_the_call(name: str, source: random.Random) -> None:
    renderer = renderer_of(name)
    names = source.choice((["search"], ["look_up"], ["search", "look_up"]))
    tag = forced_call(renderer, TOOLS, names, source.randrange(3))
    assert tag is not None
    prompt = renderer.render_ids([user("hi")], TOOLS, add_generation_prompt=True)
    ids = [*drawn(renderer, json.loads(tag), source), source.choice(renderer.get_stop_token_ids())]
    (call,) = renderer.parse_response(ids, TOOLS, prompt_ids=prompt).tool_calls
    assert (call.status, call.name in names) == ("ok", True)


def test_which_formats_there_are_is_told(root: Path) -> None:
    held = []
    for name in list_families():
        try:
            held += [name] if forced_call(renderer_of(name), TOOLS, ["search"]) is not None else []
        except ConversationError:
            continue  # a format without tools
    assert tuple(held) == FORCED
    assert f"`{'`, `'.join(FORCED)}`" in " ".join((root / "docs" / "gateway.md").read_text(encoding="utf-8").split())


def test_an_engine_is_held_to_a_call(tmp_path: Path) -> None:
    with running(tmp_path / "runs.sqlite", saying(CALL + "<|im_end|>", "No.<|im_end|>")) as gateway:
        made = gateway.chat([user("hi")], tools=SEARCH, tool_choice="required")
        free = gateway.chat(
            [user("hi")], tools=SEARCH, tool_choice={"type": "function", "function": {"name": "search"}}
        )
        other = gateway.chat([user("hi")], tools=SEARCH, tool_choice={"type": "function", "function": {"name": "dig"}})
        first, _ = gateway.engines[0].generates
        turns = gateway.get("").json()["turns"]
    assert made.json()["choices"][0]["finish_reason"] == "tool_calls"
    held = first.body["sampling_params"]["structured_outputs"]["structural_tag"]
    assert held == forced_call(QWEN, [ToolSpec(SEARCH[0])], ["search"])
    assert (free.status_code, "made no call" in free.text, len(turns)) == (502, True, 1)
    assert (other.status_code, "there is no tool 'dig'" in other.json()["error"]["message"]) == (400, True)


def test_a_call_in_tags_cannot_be_required(tmp_path: Path) -> None:
    tagged = isc.Renderer(isc.Qwen3Coder(), isc.encoders.embedded(isc.Qwen3Coder().specials))
    with running(tmp_path / "runs.sqlite", saying("x"), renderer=tagged) as gateway:
        refused = gateway.chat([user("hi")], tools=SEARCH, tool_choice="required")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tool_choice")
    assert "Qwen3Coder" in refused.json()["error"]["message"]


def test_half_a_call_is_not_gone_on_with_elsewhere(tmp_path: Path) -> None:
    """What sampling is held to begins with the answer, so an engine that goes on would be held to it once more."""
    cut = generating(lambda received: Reply(streamed(received, CALL).body[:-200]))
    with running(tmp_path / "runs.sqlite", cut, attempts=3) as gateway:
        answer = gateway.chat([user("hi")], tools=SEARCH, tool_choice="required")
        assert (answer.status_code, len(gateway.engines[0].generates)) == (502, 1)
