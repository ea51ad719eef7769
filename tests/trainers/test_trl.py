"""Rows of a build in TRL's `SFTTrainer`: the labels that reach the loss are those of isc's spans, padded and packed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling, SFTTrainer

import isc
from command_line import EXAMPLE, rows, run
from isc.conversation.columns import IGNORED
from isc.encoding.encoders import embedded
from references import stand_in

SPECIALS = isc.Qwen3().specials
LENGTH = 2048
Trained = tuple[tuple[int, ...], tuple[int, ...]]
"""What is trained of one sample: the ids it has, and its labels."""


class Recorder(SFTTrainer):
    """The trainer, which keeps what its loss is computed from."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        self.batches = [*getattr(self, "batches", []), {n: inputs[n].tolist() for n in ("input_ids", "labels")}]
        return super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[no-untyped-call]


def model() -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(embedded(SPECIALS)) + 8,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=LENGTH,
    )
    return Qwen3ForCausalLM(config)


def tokenizer() -> PreTrainedTokenizerFast:
    made = PreTrainedTokenizerFast(tokenizer_object=stand_in(SPECIALS))  # type: ignore[no-untyped-call]
    made.pad_token = made.eos_token = "<|endoftext|>"
    return made


def trained(columns: Sequence[dict[str, Any]], place: Path, **options: Any) -> Recorder:  # noqa: ANN401
    """Train for three steps on these rows."""
    arguments = SFTConfig(
        output_dir=str(place),
        max_steps=3,
        per_device_train_batch_size=2,
        max_length=LENGTH,
        report_to=[],
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        bf16=False,
        **options,
    )
    dataset = Dataset.from_list([*columns])
    trainer = Recorder(model(), arguments, train_dataset=dataset, processing_class=tokenizer())
    trainer.train()
    assert len(trainer.batches) == 3
    return trainer


def rows_of(batches: Sequence[dict[str, list[list[int]]]]) -> Iterator[Trained]:
    """Each row of the batches, as it is padded."""
    for batch in batches:
        for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
            yield tuple(ids), tuple(labels)


def begins(row: Trained, wanted: Trained) -> bool:
    length = len(wanted[0])
    return row[0][:length] == wanted[0] and row[1][:length] == wanted[1] and set(row[1][length:]) <= {IGNORED}


@pytest.fixture(scope="module")
def samples() -> list[isc.TrainingSample]:
    renderer = isc.create_renderer(embedded(SPECIALS), isc.Qwen3())
    lines = [json.loads(line) for line in EXAMPLE.read_text(encoding="utf-8").splitlines()]
    return [isc.build_training_sample(renderer, line["messages"], line.get("tools")) for line in lines]


@pytest.mark.parametrize("which", ["labels", "trl"])
def test_labels_that_reach_the_loss_are_those_of_the_spans(
    samples: list[isc.TrainingSample], which: str, tmp_path: Path
) -> None:
    source, output = EXAMPLE, tmp_path / "rows.jsonl"
    assert run(source, output, "--columns", which) == 0
    trainer = trained(rows(output), tmp_path / "run")
    wanted = [(sample.token_ids, sample.labels) for sample in samples]
    seen = list(rows_of(trainer.batches))
    assert len(seen) == 6
    assert all(any(begins(row, one) for one in wanted) for row in seen)
    assert any("loss" in entry for entry in trainer.state.log_history)


def test_rows_are_packed_with_their_labels(samples: list[isc.TrainingSample], tmp_path: Path) -> None:
    trainer = trained([dict(sample.columns("labels")) for sample in samples], tmp_path / "run", packing=True)
    by_ids = {sample.token_ids: sample.labels for sample in samples}
    for ids, labels in rows_of(trainer.batches):
        place = 0
        while place < len(ids):
            sample = next((one for one in by_ids if ids[place : place + len(one)] == one), None)
            if sample is None:
                break
            wanted = by_ids[sample]
            assert labels[place + 1 : place + len(sample)] == wanted[1:], "the first label of a pack is never trained"
            place += len(sample)
        assert set(labels[place:]) <= {IGNORED}, "what is no sample is padding"
        assert place, "a pack begins with a sample"


def test_packs_of_a_build_go_into_a_collator_for_flash_attention(tmp_path: Path) -> None:
    """Its positions are those of the rows, and nothing is trained on that stands behind another sample's tokens."""
    assert run(EXAMPLE, tmp_path / "rows.jsonl", "--pack", str(LENGTH)) == 0
    packs: list[dict[str, Any]] = list(rows(tmp_path / "rows.jsonl"))
    assert 1 < len(packs) < 14
    collator = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    batch = collator([{name: row[name] for name in ("input_ids", "labels", "seq_lengths")} for row in packs])
    for name in ("input_ids", "labels", "position_ids"):
        assert batch[name].tolist() == [[value for row in packs for value in row[name]]]
    trainer = trained([{n: row[n] for n in ("input_ids", "labels", "seq_lengths")} for row in packs], tmp_path / "run")
    seen = list(rows_of(trainer.batches))
    assert all(any(begins(row, (tuple(one["input_ids"]), tuple(one["labels"]))) for one in packs) for row in seen)


def test_a_loss_mask_alone_would_train_on_every_token(samples: list[isc.TrainingSample], tmp_path: Path) -> None:
    """Why `labels` is the default: TRL does not read `loss_mask`."""
    batch = trained([dict(sample.columns("mask")) for sample in samples], tmp_path / "run").batches[0]
    trained_on = [sum(label != IGNORED for label in labels) for labels in batch["labels"]]
    assert set(trained_on) <= {len(sample.token_ids) for sample in samples}
    assert all(count not in {sample.trainable_tokens for sample in samples} for count in trained_on)
