"""A tiny Qwen3 of random weights: it samples token by token with a key-value cache, and scores whole sequences."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch
from msgspec import Struct
from transformers import Qwen3Config, Qwen3ForCausalLM

LONGEST = 4096


class Sample(Struct, frozen=True):
    """What was sampled: ids, the model's own log-probability of each, and whether a stop token ended it.

    A part of it has not `ended`, unless it is the last.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    stopped: bool
    ended: bool = True

    def pieces(self) -> Iterator[Sample]:
        """Yield it token by token."""
        for position in range(len(self.token_ids)):
            yield self._part(position, position + 1)

    def prefixes(self) -> Iterator[Sample]:
        """Yield what there was of it after each token."""
        for end in range(1, len(self.token_ids) + 1):
            yield self._part(0, end)

    def _part(self, start: int, end: int) -> Sample:
        last = end == len(self.token_ids)
        return Sample(self.token_ids[start:end], self.logprobs[start:end], self.stopped, last)


class TinyModel:
    """Two layers of width 64, the same weights for the same seed. Spread wide enough for context to matter."""

    def __init__(self, vocabulary: int, seed: int = 0) -> None:
        torch.set_num_threads(1)  # the model is too small to share out
        torch.manual_seed(seed)
        config = Qwen3Config(
            vocab_size=vocabulary,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            max_position_embeddings=LONGEST,
            initializer_range=0.3,
            tie_word_embeddings=False,
        )
        self.vocabulary = vocabulary
        self._network = Qwen3ForCausalLM(config)
        self._network.eval()  # type: ignore[no-untyped-call]  # transformers leaves it untyped

    @torch.inference_mode()
    def sample(
        self,
        prompt_ids: Sequence[int],
        draft: Sequence[int | None],
        max_tokens: int,
        stop_ids: Collection[int],
        dice: torch.Generator,
    ) -> Sample:
        """A completion, up to a stop token.

        Args:
            prompt_ids: What it follows.
            draft: Ids that are taken instead of sampled, by position; None, and all after the draft, is sampled at
                temperature 1. Either way the log-probability is the model's own for that token at that place.
            max_tokens: How many at most.
            stop_ids: The ids that end it; the one that does is part of it.
            dice: Randomness.
        """
        token_ids: list[int] = []
        logprobs: list[float] = []
        given, cache = torch.tensor([list(prompt_ids)]), None
        while len(token_ids) < max_tokens:
            seen = self._network(given, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache, scores = seen.past_key_values, seen.logits[0, -1].log_softmax(-1)
            drafted = draft[len(token_ids)] if len(token_ids) < len(draft) else None
            chosen = int(torch.multinomial(scores.exp(), 1, generator=dice)) if drafted is None else drafted
            token_ids.append(chosen)
            logprobs.append(float(scores[chosen]))
            if chosen in stop_ids:
                return Sample(tuple(token_ids), tuple(logprobs), stopped=True)
            given = torch.tensor([[chosen]])
        return Sample(tuple(token_ids), tuple(logprobs), stopped=False)

    @torch.inference_mode()
    def scores(self, token_ids: Sequence[int]) -> tuple[float, ...]:
        """The log-probability of each token after those before it, in one pass; 0 for the first."""
        ids = torch.tensor([list(token_ids)])
        logits = self._network(ids, use_cache=False).logits[0, :-1].log_softmax(-1)
        return (0.0, *logits.gather(1, ids[0, 1:, None])[:, 0].tolist())
