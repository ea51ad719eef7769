"""Independent references: the models' own templates through transformers' renderer, their own tokenizers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from isc.testing import Conversation


@lru_cache(maxsize=64)
def template_of(path: Path) -> tuple[str, str]:
    """A template and its sha256."""
    text = path.read_text(encoding="utf-8")
    return text, hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=8)
def tokenizer_of(path: Path) -> Tokenizer:
    """A tokenizer as `tokenizers` reads it, specials recognized."""
    return Tokenizer.from_file(str(path / "tokenizer.json"))


def as_the_template_takes_it(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages with lists of text parts joined: text-only templates render such a list as nothing."""
    return [
        {**message, "content": "".join(part["text"] for part in message["content"])}
        if isinstance(message.get("content"), list)
        else dict(message)
        for message in messages
    ]


class TemplateReference:
    """A model's chat template by `transformers`, its ids by `tokenizers`."""

    def __init__(self, template: Path, tokenizer: Path | None, **options: Any) -> None:  # noqa: ANN401 - a template's own
        self.template, self.digest = template_of(template)
        self.tokenizer = tokenizer
        self.options = options

    def text(self, conversation: Conversation, *, add_generation_prompt: bool) -> str:
        """What the model's template renders."""
        from transformers.utils.chat_template_utils import render_jinja_template

        messages, tools = conversation
        rendered = render_jinja_template(
            [as_the_template_takes_it(messages)],
            tools=[*tools] if tools is not None else None,
            chat_template=self.template,
            add_generation_prompt=add_generation_prompt,
            **self.options,
        )
        return str(rendered[0][0])

    def encode(self, text: str) -> tuple[Sequence[int], Sequence[tuple[int, int]]]:
        """Ids of a text, specials recognized, and the characters each came from."""
        assert self.tokenizer is not None
        found = tokenizer_of(self.tokenizer).encode(text, add_special_tokens=False)
        return found.ids, found.offsets
