"""The model's own files as an independent reference: its template by plain Jinja, ids by `tokenizers` or `tiktoken`.

Nothing of isc's tracing or folding is used here, so that the two can be held against each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache, partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from isc._later import Later
from isc.encoding.rank_files import Limits, chunks, format_of, read_ranks
from isc.errors import ConversationError
from isc.testing.twins import Conversation
from isc.types import Json, Span

if TYPE_CHECKING:
    import tiktoken
    from jinja2 import Template
    from jinja2.ext import Extension
    from jinja2.parser import Parser
    from tokenizers import Tokenizer
else:
    tiktoken = Template = Extension = Parser = Tokenizer = Later

Encode: TypeAlias = Callable[[str], tuple[Sequence[int], Sequence[Span]]]
Prepare: TypeAlias = Callable[[Conversation], Mapping[str, Json]]


class FileReference:
    """A chat template and a vocabulary, taken as `apply_chat_template` takes them (transformers 5).

    Args:
        template: The text of the chat template.
        vocabulary: Where tokenizer.json or a rank file lies.
        options: The template's keyword arguments, `bos_token` and `eos_token` among them.
        now: The moment that `strftime_now` tells.
        specials: What a rank file lacks; a tokenizer.json has its own.
        prepare: What the model's own tokenizer makes of tools before the template, by the template's variables.
        with_tools: The text of the chat template for conversations with tools; None for the same.
    """

    def __init__(
        self,
        template: str,
        vocabulary: Path,
        options: Mapping[str, Json],
        now: datetime,
        specials: Mapping[str, int] = {},
        prepare: Prepare = lambda _: {},
        with_tools: str | None = None,
    ) -> None:
        self.template = template
        self.with_tools = template if with_tools is None else with_tools
        self.vocabulary = vocabulary
        self.specials = specials
        self.options = options
        self.now = now
        self.prepare = prepare

    def text(self, conversation: Conversation, *, add_generation_prompt: bool) -> str:
        """Return the text that the template renders.

        Raises:
            ConversationError: The template refuses the conversation, or cannot render it.
        """
        return self._rendered(conversation, add_generation_prompt=add_generation_prompt, marked=False)

    def generation(self, conversation: Conversation) -> tuple[str, list[Span]]:
        """Return the text that the template renders, and the characters of its `{% generation %}` blocks.

        Raises:
            ConversationError: See `text`.
        """
        marked = self._rendered(conversation, add_generation_prompt=False, marked=True)
        pieces = _MARK.split(marked)
        ends = list(accumulate(map(len, pieces)))
        return "".join(pieces), list(zip(ends[::2], ends[1::2], strict=False))

    def _rendered(self, conversation: Conversation, *, add_generation_prompt: bool, marked: bool) -> str:
        messages, tools = conversation
        variables = {
            "messages": [_with_reasoning(message) for message in messages],
            "tools": tools,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
            **self.prepare(conversation),
        }
        compiled = _compiled(self.with_tools if tools else self.template, self.now, marked=marked)
        try:
            return compiled.render(**self.options, **variables)
        except Exception as error:  # whatever a template runs into with what it was not written for
            raise ConversationError("messages", f"the chat template refuses them: {error}") from error

    def encode(self, text: str) -> tuple[Sequence[int], Sequence[Span]]:
        """Return the ids of a text, specials recognized, and the characters of each."""
        return self._coding[0](text)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of ids, specials in it, as the vocabulary's own library decodes them."""
        return self._coding[1](list(token_ids))

    @cached_property
    def _coding(self) -> tuple[Encode, Callable[[list[int]], str]]:
        return _coding_of(self.vocabulary, self.specials)


def _coding_of(vocabulary: Path, specials: Mapping[str, int]) -> tuple[Encode, Callable[[list[int]], str]]:
    """Return functions that encode and decode texts, specials included, by a model's tokenizer.json or rank file."""
    if vocabulary.suffix == ".json":
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(vocabulary))
        return partial(_by_tokenizers, tokenizer), partial(tokenizer.decode, skip_special_tokens=False)
    import tiktoken

    rank_format = format_of(vocabulary)
    encoding = tiktoken.Encoding(
        vocabulary.name,
        pat_str=rank_format.pattern,
        mergeable_ranks=read_ranks(vocabulary),
        special_tokens=dict(specials),
    )
    return partial(_by_tiktoken, encoding, rank_format.limits), encoding.decode


def _by_tokenizers(tokenizer: Tokenizer, text: str) -> tuple[Sequence[int], Sequence[Span]]:
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return encoding.ids, encoding.offsets


def _by_tiktoken(encoding: tiktoken.Encoding, limits: Limits | None, text: str) -> tuple[Sequence[int], Sequence[Span]]:
    pieces = (text,) if limits is None else chunks(text, limits)
    ids = [token_id for piece in pieces for token_id in encoding.encode(piece, allowed_special="all")]
    characters = [place for place, character in enumerate(text) for _ in character.encode()]
    ends = list(accumulate(len(encoding.decode_single_token_bytes(token_id)) for token_id in ids))
    return ids, [(characters[start], characters[end - 1] + 1) for start, end in zip((0, *ends), ends, strict=False)]


@lru_cache(maxsize=8)
def _compiled(template: str, now: datetime, *, marked: bool) -> Template:
    """Compile a chat template; the last 8 are kept."""
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_generation_tag(_EDGES if marked else ("", "")), loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = now.strftime
    return environment.from_string(template)


def _with_reasoning(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message with its reasoning under both names that templates read."""
    names = ("reasoning_content", "thinking", "reasoning")
    reasoning = next((message[name] for name in names if message.get(name) is not None), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _tojson(value: Any, ensure_ascii: bool = False, **layout: Any) -> str:  # noqa: ANN401 - the filter's own arguments
    return json.dumps(value, ensure_ascii=ensure_ascii, **layout)


def _raise(message: str) -> str:
    raise ValueError(message)


_EDGES = ("\ue000isc generation\ue001", "\ue000isc said\ue001")
_MARK = re.compile("|".join(map(re.escape, _EDGES)))


def _generation_tag(edges: tuple[str, str]) -> type[Extension]:
    """Make the extension for `{% generation %}`, which renders its body between two edges. Jinja is imported here."""
    from jinja2 import nodes
    from jinja2.ext import Extension

    class Generation(Extension):
        """The tag with which templates mark what the model says."""

        tags = {"generation"}

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("rendered"), [], [], body).set_lineno(line)

        @staticmethod
        def rendered(caller: Callable[[], str]) -> str:
            return edges[0] + caller() + edges[1]

    return Generation
