"""Vocabularies that put a space before a text: at its beginning, and never where a text goes on from another.

The oracle is `tokenizers`: its encoding of a whole text, and what it decodes ids to.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

import isc
from isc.encoding.encoders import from_tokenizer_json
from isc.testing import laws
from texts import hostile
from tokenizer_files import prefixed, text_of, with_added_tokens

KINDS = ("prepend", "always", "first", "unigram", "byte-level")
SPECIALS: tuple[str | dict[str, Any], ...] = (
    "<s>",
    "</s>",
    {"content": "<|user|>", "rstrip": True},
    {"content": "<|assistant|>", "rstrip": True},
    {"content": "<|end|>", "rstrip": True},
)
TEMPLATES = {
    "no special at all": (
        "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }}\n{% else %}"
        "{{ m.role }}: {{ m.content }}\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}the answer: {% endif %}"
    ),
    "Llama 2": (
        "{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }} </s>"
        "{% else %}<s>[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}"
    ),
    "Mistral": (
        "<s>{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }}</s>"
        "{% else %}[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}"
    ),
    "Zephyr": (
        "{% for m in messages %}<|{{ m.role }}:>\n{{ m.content }}</s>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant:>\n{% endif %}"
    ),
    "Phi-3": (
        "<s>{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    ),
}
EXAMPLES = 8  # of each of 25 pairs
kinds = pytest.mark.parametrize("kind", KINDS)
templates = pytest.mark.parametrize("template", TEMPLATES)

words = st.sampled_from(["The tea", "the dog", " the", "user", "It's ", "\n", "[/INST]", "", " ", "漢字 é"])
contents = st.lists(st.one_of(words, hostile), max_size=3).map(lambda found: "".join(found).replace("▁", ""))


@cache
def loaded(kind: str, template: str) -> tuple[Tokenizer, isc.Renderer]:
    vocabulary = prefixed(kind)
    added = with_added_tokens(vocabulary, SPECIALS)["added_tokens"]
    document = text_of(vocabulary | {"added_tokens": [*vocabulary["added_tokens"], *added]})
    encoder = from_tokenizer_json(document)
    stop = "<|end|>" if template == "Phi-3" else "</s>"
    traced = isc.template.TracedTemplate(
        TEMPLATES[template], bos_token="<s>", eos_token=stop, specials=tuple(encoder.specials), stop_tokens=(stop,)
    )
    return Tokenizer.from_str(document), isc.create_renderer(encoder, traced)


def turns(texts: Sequence[str]) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


def text(renderer: isc.Renderer, messages: list[dict[str, Any]], *, prompted: bool) -> str:
    return "".join(segment.text for segment in renderer.segments(messages, None, prompted))


@kinds
@templates
@settings(max_examples=EXAMPLES)
@given(texts=st.lists(contents, min_size=1, max_size=5), prompted=st.booleans())
def test_uncut_ids_are_those_of_the_whole_text(kind: str, template: str, texts: list[str], prompted: bool) -> None:
    tokenizer, renderer = loaded(kind, template)
    whole = text(renderer, turns(texts), prompted=prompted)
    ids = renderer.render_ids(turns(texts), None, prompted, sampling_cuts="none", body_specials="parse")
    assert list(ids) == tokenizer.encode(whole, add_special_tokens=False).ids


@kinds
@templates
@settings(max_examples=EXAMPLES)
@given(texts=st.lists(contents, min_size=1, max_size=5), prompted=st.booleans())
def test_cut_ids_decode_to_what_the_reference_decodes_its_own_to(
    kind: str, template: str, texts: list[str], prompted: bool
) -> None:
    tokenizer, renderer = loaded(kind, template)
    whole = text(renderer, turns(texts), prompted=prompted)
    ids = renderer.render_ids(turns(texts), None, prompted, body_specials="parse")
    theirs = tokenizer.encode(whole, add_special_tokens=False).ids
    decoded, expected = (tokenizer.decode(list(found), skip_special_tokens=False) for found in (ids, theirs))
    assert decoded == expected
    spoken = whole if kind != "byte-level" else f" {whole}" if not whole.startswith(" ") else whole
    spelled = any(special in whole for special in renderer.encoder.specials)  # a special that a body spells is parsed
    if template == "no special at all" and not spelled and not whole.startswith(" "):
        assert decoded == spoken


@kinds
@pytest.mark.parametrize("template", ["Llama 2", "Mistral", "Zephyr"])
@settings(max_examples=EXAMPLES)
@given(texts=st.lists(contents, min_size=1, max_size=5))
def test_the_laws_of_attribution_hold(kind: str, template: str, texts: list[str]) -> None:
    _, renderer = loaded(kind, template)
    laws.ownership(renderer, (turns(texts), None))
    laws.body(renderer, (turns(texts), None))
    laws.homomorphism(renderer, (turns(texts), None))
    laws.sampled(renderer, (turns(texts), None))


@kinds
@pytest.mark.parametrize("template", ["Llama 2", "Mistral", "Zephyr", "Phi-3"])
@pytest.mark.parametrize("said", ["The tea", "dog ", "漢", ""])
def test_a_bridge_is_the_fresh_render(kind: str, template: str, said: str) -> None:
    """What was sampled, as a fresh render has it, then new messages: text after text, and text after a special."""
    _, renderer = loaded(kind, template)
    prompt = renderer.render(turns(["the question"]), None, True)
    answered = renderer.render(turns(["the question", said]))
    sampled = tuple(k for k, drawn in zip(answered.token_ids, answered.sampled_mask, strict=True) if drawn)
    assert prompt.token_ids + sampled == answered.token_ids[: len(prompt) + len(sampled)]
    bridged = renderer.extend(prompt, sampled, [{"role": "user", "content": "The dog"}])
    assert bridged is not None
    fresh = renderer.render(turns(["the question", said, "The dog"]), None, True)
    assert bridged.token_ids == fresh.token_ids


def test_what_follows_a_cut_is_a_continuation() -> None:
    """`[/INST] The tea` has one space, and `The` after a line break none."""
    for kind in KINDS:
        tokenizer, renderer = loaded(kind, "Zephyr")
        ids = renderer.render_ids(turns(["hi", "The tea"]))
        assert "\nThe tea" in tokenizer.decode(list(ids), skip_special_tokens=False)
        tokenizer, renderer = loaded(kind, "Llama 2")
        rendered = renderer.render(turns(["hi", "The tea"]))
        sampled = [k for k, drawn in zip(rendered.token_ids, rendered.sampled_mask, strict=True) if drawn]
        assert renderer.encoder.decode_bytes(sampled).decode() == " The tea </s>"


@kinds
def test_position_zero_is_no_continuation(kind: str) -> None:
    tokenizer, renderer = loaded(kind, "no special at all")
    encoder = renderer.encoder
    ids, _ = isc.attribute_text_segments(encoder, [("the dog", False)])
    assert list(ids) == tokenizer.encode("the dog", add_special_tokens=False).ids
    assert encoder.decode_bytes(ids) == b" the dog"
    after_text = isc.fold([isc.Segment("the dog")], encoder, after=isc.Segment("x"))
    assert encoder.decode_bytes(after_text.token_ids) == b"the dog"


def test_the_first_of_a_text_alone_is_told_from_every_text_after_a_special() -> None:
    stream = [isc.Segment("<s>", "special"), isc.Segment("the")]
    decoded = {kind: loaded(kind, "Llama 2")[1].encoder for kind in KINDS}
    found = {kind: encoder.decode_bytes(isc.fold(stream, encoder).token_ids) for kind, encoder in decoded.items()}
    assert found == {kind: b"<s>the" if kind == "first" else b"<s> the" for kind in KINDS}


@kinds
@pytest.mark.parametrize("template", ["Llama 2", "Zephyr", "Phi-3"])
def test_a_trajectory_follows_its_prompt(kind: str, template: str) -> None:
    _, renderer = loaded(kind, template)
    messages = turns(["hi", "The tea", "the", "dog"])
    step = isc.build_trajectory_step(renderer, messages[:1], messages[1:])
    fresh = renderer.render_ids(messages)
    assert step.rendered.token_ids == fresh[: len(step.rendered)]
    assert len(step.rendered) >= len(fresh) - 2  # what follows the last close
