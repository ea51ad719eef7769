"""Independent references: the models' own templates through transformers' renderer, their own tokenizers."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeAlias

import tiktoken
from tiktoken.load import load_tiktoken_bpe
from tokenizers import AddedToken, Tokenizer

from image_files import expanded
from isc.encoding.encoders import VocabularyEncoder, from_file, from_rank_file
from isc.encoding.rank_files import KIMI_K2
from isc.testing import Conversation

_HARMONY_SPECIALS = 199_998


@lru_cache(maxsize=64)
def template_of(path: Path) -> tuple[str, str]:
    """A template and its sha256."""
    text = path.read_text(encoding="utf-8")
    return text, hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=8)
def tokenizer_of(path: Path) -> Tokenizer:
    """A tokenizer as `tokenizers` reads it, specials recognized."""
    return Tokenizer.from_file(str(path / "tokenizer.json"))


def encoder_of(reference: Path, name: str) -> VocabularyEncoder:
    """The encoder of a tokenizer of the reference by its name, e.g. `qwen3`."""
    place = reference / "tokenizers" / name
    if (place / "tokenizer.json").is_file():
        return from_file(place / "tokenizer.json")
    kimi = json.loads((place / "kimi_special_tokens.json").read_text(encoding="utf-8"))
    ranks = reference / "tokenizers" / "kimi-k2" / "tiktoken.model"  # kimi-k2.5 has the same
    return from_rank_file(ranks, kimi["pat_str"], kimi["special_tokens"], KIMI_K2.limits)


@lru_cache(maxsize=2)
def ranks_of(path: Path) -> tiktoken.Encoding:
    """Kimi's tokenizer as `tiktoken` reads it; Kimi K2.5 has the ranks of K2."""
    kimi = json.loads((path / "kimi_special_tokens.json").read_text(encoding="utf-8"))
    ranks = load_tiktoken_bpe(str(path.parent / "kimi-k2" / "tiktoken.model"))
    return tiktoken.Encoding(
        path.name, pat_str=kimi["pat_str"], mergeable_ranks=ranks, special_tokens=kimi["special_tokens"]
    )


def encoded_by_ranks(path: Path, text: str) -> tuple[Sequence[int], Sequence[tuple[int, int]]]:
    """Ids of a text, specials recognized, and the characters each came from."""
    encoding = ranks_of(path)
    ids = encoding.encode(text, allowed_special="all")
    owners = [place for place, character in enumerate(text) for _ in character.encode()]
    ends = list(accumulate(len(encoding.decode_single_token_bytes(token_id)) for token_id in ids))
    return ids, [(owners[start], owners[end - 1] + 1) for start, end in zip([0, *ends], ends, strict=False)]


@lru_cache(maxsize=8)
def stand_in(specials: tuple[str, ...]) -> Tokenizer:
    """The vocabulary that isc carries itself, as `tokenizers` reads it, with these specials added."""
    tokenizer = Tokenizer.from_str(files("isc").joinpath("data/vocabulary.json").read_text(encoding="utf-8"))
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in specials])
    return tokenizer


def write_harmony_ranks(reference: Path, place: Path) -> None:
    """Write into a directory the rank file that `openai-harmony` looks for, which checks its sha256."""
    path = reference / "tokenizers" / "gpt-oss" / "tokenizer.json"
    vocabulary = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
    bytes_of = {character: byte for byte, character in _byte_characters()}
    with (place / "o200k_base.tiktoken").open("wb") as ranks:
        for text, rank in sorted(vocabulary.items(), key=lambda item: item[1]):
            if rank < _HARMONY_SPECIALS:
                ranks.write(base64.b64encode(bytes(map(bytes_of.__getitem__, text))) + b" %d\n" % rank)


def _byte_characters() -> Iterator[tuple[int, str]]:
    """How a byte-level vocabulary spells each byte: printable ones as themselves, the others from U+0100 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    yield from ((byte, chr(byte)) for byte in printable)
    yield from ((byte, chr(256 + place)) for place, byte in enumerate(others))


Adaptation: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""What is done to a message that isc renders and a template cannot, before the template gets it."""


def parts_joined(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Lists of text parts joined: text-only templates render such a list as nothing."""
    if isinstance(message.get("content"), list):
        return {**message, "content": "".join(part["text"] for part in message["content"])}
    return message


def parts_joined_but_in_results(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """`parts_joined`, for templates that print what a tool returns as JSON, whatever it is."""
    return message if message["role"] == "tool" else parts_joined(message)


def none_as_empty(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """No content as empty content: some templates iterate over whatever is not a string."""
    return {**message, "content": ""} if message.get("content") is None else message


def reasoning_as_thinking(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Reasoning under the other name that templates read it by."""
    renamed = {"thinking" if key == "reasoning_content" else key: value for key, value in message.items()}
    return {key: value for key, value in renamed.items() if key != "thinking" or value is not None}


def arguments_as_objects(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments given as JSON text as what the text says: some templates iterate over them."""
    calls = [
        {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
        if isinstance(call["function"]["arguments"], str)
        else call
        for call in message.get("tool_calls") or ()
    ]
    return {**message, "tool_calls": calls} if calls else message


def arguments_as_text(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments given as objects as JSON text: some templates only concatenate them."""
    calls = [
        {**call, "function": {**call["function"], "arguments": json.dumps(arguments, ensure_ascii=False)}}
        if isinstance(arguments := call["function"]["arguments"], Mapping)
        else call
        for call in message.get("tool_calls") or ()
    ]
    return {**message, "tool_calls": calls} if calls else message


def empty_as_none_beside_calls(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Empty content of a turn with calls as no content: some templates render one or the other."""
    return {**message, "content": message.get("content") or None} if message.get("tool_calls") else message


FormatEncoder: TypeAlias = Callable[..., str]
"""What a model ships instead of a template: from messages, tools, `add_generation_prompt` and options to a text."""

Preparation: TypeAlias = Callable[[Conversation], tuple[Conversation, Mapping[str, Any]]]
"""What a model's own tokenizer makes of a conversation before its template gets it, with what it passes besides."""


def unprepared(conversation: Conversation) -> tuple[Conversation, Mapping[str, Any]]:
    """The conversation as it is: what all tokenizers do but a few."""
    return conversation, {}


def as_the_template_takes_it(
    messages: Sequence[Mapping[str, Any]], adaptations: Sequence[Adaptation] = (parts_joined,)
) -> list[dict[str, Any]]:
    """Messages, each adapted in turn."""
    return [_adapted(message, adaptations) for message in messages]


def _adapted(message: Mapping[str, Any], adaptations: Sequence[Adaptation]) -> dict[str, Any]:
    for adapt in adaptations:
        message = adapt(message)
    return dict(message)


class TemplateReference:
    """A model's chat template by `transformers`, or the encoder it ships instead; its ids by `tokenizers`."""

    def __init__(
        self,
        template: Path,
        tokenizer: Path | None,
        adaptations: Sequence[Adaptation] = (parts_joined,),
        specials: tuple[str, ...] = (),
        prepare: Preparation = unprepared,
        now: str = "",
        processor: Mapping[str, Any] | None = None,
        twin: FormatEncoder | None = None,
        **options: Any,  # noqa: ANN401 - a template's own
    ) -> None:
        self.template, self.digest = template_of(template)
        self.tokenizer = tokenizer
        self.specials = specials
        self.adaptations = adaptations
        self.prepare = prepare
        self.options = options
        self.processor = processor
        self.twin = twin
        self.clock = f"{{% macro strftime_now(pattern) %}}{now}{{% endmacro %}}" if now else ""

    def text(
        self,
        conversation: Conversation,
        *,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
    ) -> str:
        """What the model's template renders."""
        if self.twin is not None:
            assert not continue_final_message, "only transformers leaves a message open"
            return self._encoded(conversation, add_generation_prompt=add_generation_prompt)
        from transformers.utils.chat_template_utils import render_jinja_template

        (messages, tools), variables = self.prepare(conversation)
        rendered = render_jinja_template(
            [as_the_template_takes_it(messages, self.adaptations)],
            tools=[*tools] if tools is not None else None,
            chat_template=self.clock + self.template,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            **{**self.options, **variables},
        )
        text = str(rendered[0][0])
        return text if self.processor is None else expanded(text, messages, self.processor)

    def _encoded(self, conversation: Conversation, *, add_generation_prompt: bool) -> str:
        """What the model's encoder makes of a conversation; nobody told it of BOS and EOS."""
        assert self.twin is not None
        messages, tools = conversation
        options = {name: value for name, value in self.options.items() if name not in ("bos_token", "eos_token")}
        return self.twin(messages, tools, add_generation_prompt=add_generation_prompt, **options)

    def encode(self, text: str) -> tuple[Sequence[int], Sequence[tuple[int, int]]]:
        """Ids of a text, specials recognized, and the characters each came from."""
        if self.tokenizer and not (self.tokenizer / "tokenizer.json").is_file():
            return encoded_by_ranks(self.tokenizer, text)
        tokenizer = tokenizer_of(self.tokenizer) if self.tokenizer else stand_in(self.specials)
        found = tokenizer.encode(text, add_special_tokens=False)
        return found.ids, found.offsets
