"""Every Python block of README and docs runs, page by page, and what it says of itself is so.

What cannot run here says why where it stands (`title="not run here: ..."`); pyright checks it all the same
(`scripts/check_pages.py`), and every name it takes from isc is there.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import isc
from engine_server import Received, Reply, engine, generating, json_reply, vllm_response
from gateway_running import running, saying
from pages import Block, blocks, furnish, pages, run_page
from streamed_answers import DONE, Sample, sse, vllm_events

Names = Mapping[str, Any]

NOT_RUN = {"TRL", "datasets", "Ray", "Spark", "verl", "slime", "prime-rl", "tinker"}
"""What a block may need that the tests have not; the reason in the page names one of them."""


def answered(received: Received) -> Reply:
    """Answer as vLLM does, whole or as a stream."""
    if not received.body.get("stream"):
        return json_reply(vllm_response(received))
    return Reply(b"".join([*map(sse, vllm_events(received, Sample([5, 6], [-0.5, -1.0], [1, 1], "stop"))), DONE]))


def said_by_readme(names: Names) -> None:
    assert names["bridged"].token_ids[: len(names["prompt"])] == names["prompt"].token_ids
    assert names["episode"].message_roles == ("user", "assistant", "tool")
    assert [call.status for call in names["parsed"].tool_calls] == ["ok"]
    assert names["sample"].trainable_tokens > sum(names["rendered"].sampled_mask)
    assert names["of_a_directory"].family == isc.Qwen3(enable_thinking=False)

    async def asked() -> object:
        async with engine(generating(answered)) as server:
            return await names["ask"](server.url)

    assert isinstance(asyncio.run(asked()), isc.client.Generation)


def said_by_any_model(names: Names) -> None:
    assert names["report"].stop_tokens == ("<|im_end|>",)


def said_by_build(names: Names) -> None:
    assert names["fitted"].lost == isc.Lost(samples=1, messages=2, tokens=16, trained=3)
    assert names["rows"][0]["seq_lengths"] == (36,)


def said_by_client(names: Names) -> None:
    async def played() -> Any:  # noqa: ANN401 - a page's value
        async with engine() as server:
            return await names["two_turns"](_small(), server.url)

    assert asyncio.run(played()).prompt_attribution.message_roles == ("user", "assistant", "tool")


def said_by_columns(names: Names) -> None:
    assert len(names["sample"].to_numpy().labels) == len(names["sample"].token_ids)


def said_by_gateway(names: Names) -> None:
    record = Path("runs.sqlite")
    with running(record, saying("Noon.<|im_end|>")) as gateway:
        gateway.chat([{"role": "user", "content": "What time is it?"}], "my-run-1").raise_for_status()
        sample = names["rewarded"](gateway.url)
    assert sum(sample.loss_mask) > 0


def said_by_images(names: Names) -> None:
    assert names["prompt"].multi_modal_data.placeholders["image"][0].length == 300
    [item] = names["full"].multi_modal_data.items["image"]
    assert item["pixel_values"].values().shape == (1200, 1536)


def said_by_input(names: Names) -> None:
    assert '{"city": ' in names["encoder"].decode_bytes(names["rendered"].token_ids).decode()
    assert isinstance(names["appended"], isc.Appended)
    assert names["appended"].token_ids[: len(names["stream"])] == tuple(names["stream"])


def said_by_parts(names: Names) -> None:
    kinds = ["close", "marker", "reasoning", "tool_arguments", "tool_call", "tool_name"]
    assert sorted(names["rendered"].part_spans(message=1)) == kinds


def said_by_reading(names: Names) -> None:
    assert names["response"].content == "It is noon."


def said_by_rollouts(names: Names) -> None:
    done, ended = names["done"], names["ended"]
    assert (done.rendered.message_roles, done.rerenders) == (("user", "assistant", "tool", "assistant"), ())
    assert done.loss_mask == done.rendered.sampled_mask == tuple(logprob is not None for logprob in done.logprobs)
    assert [(point.turn, point.reason, point.lost) for point in ended.rerenders] == [(0, "retention", 5)]
    assert [sample.trainable_tokens for sample in (ended, *ended.abandoned)] == [1, 5]


def said_by_stages(names: Names) -> None:
    first, second = names["stage"]({"messages": [names["chat"], names["chat"][:1]]})["error"]
    assert first is None
    assert second.startswith("no token would be trained on in ")


def said_by_rl(names: Names) -> None:
    episode = names["episode"]
    assert (episode.rendered.message_roles, episode.rerenders) == (("user", "assistant", "tool", "assistant"), ())
    assert episode.loss_mask == tuple(logprob is not None for logprob in episode.logprobs)

    async def played() -> Any:  # noqa: ANN401 - a page's value
        async with engine() as server, isc.client.connect(server.url) as http:
            return await names["play"](http, "What time is it?")

    assert asyncio.run(played()).trainable_tokens > 0


def said_by_agents(names: Names) -> None:
    with running(Path("runs.sqlite"), saying("Noon.<|im_end|>")) as gateway:
        gateway.chat([{"role": "user", "content": "What time is it?"}], "my-run-1").raise_for_status()
        assert [len(ids) > 5 for ids in names["judged"](1.0, url=gateway.url)] == [True]


def said_by_trainers(names: Names) -> None:
    """What is trained is what was sampled, and log-probabilities stand beside it."""
    output, completion = names["output"], len(names["completion"])
    masks = output.get("response_mask") or output.get("loss_mask") or output["completion_mask"]
    told = output.get("response_logprobs") or output.get("rollout_log_probs") or output["completion_logprobs"]
    assert (masks, told) == ([1] * completion, [-0.5] * completion)


def said_by_tinker(names: Names) -> None:
    inputs, trained = names["inputs"], names["advantages"]["advantages"]
    assert {len(column) for column in inputs.values()} == {len(names["tokens"])}
    assert sum(inputs["weights"]) > 0
    assert {len(column) for column in names["advantages"].values()} == {len(names["drawn"])}
    assert sum(trained) == 1.5 * len(names["completion"])


def said_by_axolotl(names: Names) -> None:
    (row,) = map(json.loads, Path("tokenized.jsonl").read_text(encoding="utf-8").splitlines())
    assert list(row) == ["input_ids", "attention_mask", "labels"]
    assert {len(column) for column in row.values()} == {len(names["sample"].token_ids)}


SAID: dict[str, Callable[[Names], None]] = {
    "README.md": said_by_readme,
    "docs/any-model.md": said_by_any_model,
    "docs/build.md": said_by_build,
    "docs/client.md": said_by_client,
    "docs/columns.md": said_by_columns,
    "docs/gateway.md": said_by_gateway,
    "docs/images.md": said_by_images,
    "docs/input.md": said_by_input,
    "docs/parts.md": said_by_parts,
    "docs/reading.md": said_by_reading,
    "docs/recipes/axolotl.md": said_by_axolotl,
    "docs/recipes/prime-rl.md": said_by_trainers,
    "docs/recipes/slime.md": said_by_trainers,
    "docs/recipes/tinker.md": said_by_tinker,
    "docs/recipes/verl.md": said_by_trainers,
    "docs/rollouts.md": said_by_rollouts,
    "docs/stages.md": said_by_stages,
    "docs/start/agents.md": said_by_agents,
    "docs/start/rl.md": said_by_rl,
}
"""What holds of a page's names once its blocks have run."""

ELSEWHERE = {"docs/migrating.md": "tests/test_migrating.py", "docs/architecture.md": "tests/test_readme.py"}
"""Pages whose blocks a test of their own runs, since it holds the rest of the page to them."""

WITH_PYTHON = [page for page in pages() if any(blocks(page, "python"))]
UNRUN = [block for page in WITH_PYTHON for block in blocks(page, "python") if block.reason]


def _small() -> isc.Renderer:
    return isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())


@pytest.mark.parametrize("page", [page for page in WITH_PYTHON if page not in ELSEWHERE])
def test_the_python_of_a_page_runs_as_it_stands(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(furnish(tmp_path))
    names = run_page(page)
    if page in SAID:
        SAID[page](names)


def test_every_page_that_is_named_here_is_there(root: Path) -> None:
    assert {*SAID, *ELSEWHERE} <= set(WITH_PYTHON)
    for page, test in ELSEWHERE.items():
        assert Path(page).stem in (root / test).read_text(encoding="utf-8")


@pytest.mark.parametrize("block", UNRUN, ids=lambda block: block.place)
def test_a_block_that_does_not_run_says_why_and_names_what_isc_has(block: Block) -> None:
    assert block.reason is not None
    assert any(f"needs {what}" in block.reason for what in NOT_RUN), block.reason
    for node in ast.walk(ast.parse(block.code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "isc":
            module = importlib.import_module(str(node.module))
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == [], block.place
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "isc":
            assert hasattr(isc, node.attr), f"{block.place}: isc.{node.attr}"
