"""What a proxy of text trains on: the history that an agent keeps, rendered anew by the model's own template.

The same episode, side by side: isc's sample has every id that was sampled, and the re-rendered one has others.
"""

from __future__ import annotations

from pathlib import Path

from gateway_running import running, saying
from isc.gateway import GatewayClient
from rerendered_episode import SAID, SAMPLED, kept, others, rerendered


def test_an_episode_rendered_anew_has_other_ids(tmp_path: Path, reference: Path) -> None:
    template = (reference / "templates" / "Qwen--Qwen3-8B" / "chat_template.jinja").read_text(encoding="utf-8")
    with running(tmp_path / "runs.sqlite", saying(*(f"{text}<|im_end|>" for text in SAID))) as gateway:
        history = kept(gateway.base())
        with GatewayClient(gateway.url) as trainer:
            (rewarded,) = trainer.samples("run-1").samples
        first = gateway.engines[0].generates[0].prompt_ids
    assert list(first) == rerendered(history[:1], template, generation=True)  # both begin alike
    sample = rewarded.sample
    trained = [id_ for id_, counts in zip(sample.token_ids, sample.loss_mask, strict=True) if counts]
    assert trained == [id_ for ids in SAMPLED for id_ in ids]
    without = [{name: value for name, value in one.items() if name != "reasoning_content"} for one in history]
    changed = others(trained, rerendered(history, template)), others(trained, rerendered(without, template))
    assert (len(trained), *changed) == (143, 28, 39)  # the figures of docs/gateway.md
