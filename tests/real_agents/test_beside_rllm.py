"""The same episode recorded by isc and by rllm-model-gateway, a proxy that asks engines in text and notes their ids."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from rllm_model_gateway import GatewayConfig, create_app
from rllm_model_gateway.models import TraceRecord, WorkerConfig

from gateway_running import running, saying
from isc.gateway import GatewayClient
from real_agents.text_engine import serving, text_engine
from rerendered_episode import SAID, SAMPLED, kept, others

TEXTS = [f"{text}<|im_end|>" for text in SAID]
TRAINED = [id_ for ids in SAMPLED for id_ in ids]


def traces(template: str, *, reasoning: bool) -> list[TraceRecord]:
    """The episode as rllm-model-gateway records it: each call by itself."""
    with serving(text_engine(TEXTS, template)) as engine:
        workers = [WorkerConfig(url=f"{engine}/v1")]
        with serving(create_app(GatewayConfig(workers=workers, store_worker="memory", sync_traces=True))) as url:
            kept(f"{url}/sessions/run-1/v1", reasoning=reasoning)
            told = httpx.get(f"{url}/sessions/run-1/traces", timeout=30).json()
    return [TraceRecord.model_validate(one) for one in told]


FIGURES = {True: (28, 1, 1289, 341), False: (35, 0, 1261, 341)}
"""By whether the agent keeps reasoning, those of docs/gateway.md.

How many of the sampled ids are others in the last prompt and its completion, how many prompts go on from the ids
before, how many tokens all calls have by themselves, how many isc's one sample has.
"""


@pytest.mark.parametrize("reasoning", FIGURES)
def test_the_same_episode_side_by_side(tmp_path: Path, reference: Path, reasoning: bool) -> None:
    with running(tmp_path / "runs.sqlite", saying(*TEXTS)) as gateway:
        kept(gateway.base(), reasoning=reasoning)
        with GatewayClient(gateway.url) as trainer:
            (rewarded,) = trainer.samples("run-1").samples
    sample = rewarded.sample
    assert [id_ for id_, counts in zip(sample.token_ids, sample.loss_mask, strict=True) if counts] == TRAINED

    template = (reference / "templates" / "Qwen--Qwen3-8B" / "chat_template.jinja").read_text(encoding="utf-8")
    calls = traces(template, reasoning=reasoning)
    assert [tuple(one.completion_token_ids) for one in calls] == SAMPLED  # each call alone is exact
    sequences = [[*one.prompt_token_ids, *one.completion_token_ids] for one in calls]
    assert sequences[0] == list(sample.token_ids[: len(sequences[0])])
    goes_on = [sequences[k + 1][: len(sequences[k])] == sequences[k] for k in range(len(calls) - 1)]
    figures = others(TRAINED, sequences[-1]), sum(goes_on), sum(map(len, sequences)), len(sample.token_ids)
    assert figures == FIGURES[reasoning]
