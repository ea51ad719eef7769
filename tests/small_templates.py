"""A ChatML template and a few messages, for tests of what a traced template is as a family."""

from __future__ import annotations

from typing import Any

from isc.traced.template import TracedTemplate

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIALS = ("<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|eos|>", "<think>", "</think>")
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
USER = {"role": "user", "content": "U"}
ASSISTANT = {"role": "assistant", "content": "A"}
SYSTEM = {"role": "system", "content": "S"}
TALK = [SYSTEM, USER, ASSISTANT, {"role": "user", "content": "V"}]


def template(source: str, **options: Any) -> TracedTemplate:  # noqa: ANN401 - as `TracedTemplate`
    return TracedTemplate(source, specials=SPECIALS, **options)
