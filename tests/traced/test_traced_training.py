"""Training samples of traced templates: the close that a last turn is left without, and rollouts kept as messages."""
# ruff: noqa: E501 - a template is one line here

from __future__ import annotations

import pytest

import isc
from isc.encoding.encoders import embedded
from isc.traced.template import TracedTemplate
from traced_references import TEMPLATES, traced_template

SPECIALS = ("<|user|>", "<|assistant|>", "<|close|>", "<|eos|>", "<|im_start|>", "<|im_end|>")
USER = {"role": "user", "content": "U"}
ASSISTANT = {"role": "assistant", "content": "A"}
BY_NEXT = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
IN_HISTORY = BY_NEXT.replace("{{ m.content }}", "{{ m.content }}{% if m.role == 'assistant' and not loop.last %}<|close|>{% endif %}")  # fmt: skip
UNCLOSED = "{% for m in messages %}{{ m.role }}: {{ m.content }}. {% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"  # fmt: skip


def renderer_of(source: str, eos_token: str = "") -> isc.Renderer:
    template = TracedTemplate(source, specials=SPECIALS, eos_token=eos_token)
    return isc.create_renderer(embedded(template.specials), template)


@pytest.mark.parametrize(("source", "close"), [(BY_NEXT, "<|user|>"), (IN_HISTORY, "<|close|>")])
def test_the_close_that_a_last_turn_is_left_without_is_added_and_trained(source: str, close: str) -> None:
    renderer = renderer_of(source, eos_token="<|eos|>")
    without = isc.build_training_sample(renderer, [USER, ASSISTANT])
    sample = isc.build_training_sample(renderer, [USER, ASSISTANT], ensure_final_stop=True)
    assert sample.token_ids == (*without.token_ids, renderer.encoder.specials[close])
    assert sample.loss_mask == (*without.loss_mask, True)
    closed = isc.build_training_sample(renderer_of(source.replace("{{ m.content }}", "{{ m.content }}<|eos|>"), eos_token="<|eos|>"), [USER, ASSISTANT], ensure_final_stop=True)  # fmt: skip
    assert closed.token_ids.count(renderer.encoder.specials["<|eos|>"]) == 2


def test_a_close_that_is_nowhere_is_refused() -> None:
    with pytest.raises(isc.OptionError, match=r"ensure_final_stop.*stop_tokens"):
        isc.build_training_sample(renderer_of(UNCLOSED), [USER, ASSISTANT], ensure_final_stop=True)


@pytest.mark.skipif(not TEMPLATES, reason="no reference templates; set ISC_REFERENCE to their directory")
@pytest.mark.parametrize("name", [name for name in TEMPLATES if "GLM-5.2/" in name or "Hy3/" in name])
def test_the_final_stop_of_reference_templates(name: str) -> None:
    template = traced_template(name)
    renderer = isc.create_renderer(embedded(template.specials), template)
    without = isc.build_training_sample(renderer, [USER, ASSISTANT])
    sample = isc.build_training_sample(renderer, [USER, ASSISTANT], ensure_final_stop=True)
    stops = {renderer.encoder.specials[text] for text in template.stop_tokens}
    assert sample.token_ids[:-1] == without.token_ids
    assert sample.token_ids[-1] in stops
    assert sample.loss_mask[-1]


def test_a_rollout_kept_as_messages_begins_where_its_prompt_ended() -> None:
    """A separator before each turn is of the prompt, and not said again by the turn."""
    source = (
        "{% for m in messages %}{% if not loop.first %}{{ '\n' }}{% endif %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '\n<|im_start|>assistant\n' }}{% endif %}"
    )
    renderer = renderer_of(source)
    step = isc.build_trajectory_step(renderer, [USER], [ASSISTANT, USER, ASSISTANT])
    assert step.rendered.token_ids == renderer.render([USER, ASSISTANT, USER, ASSISTANT]).token_ids
    assert step.rendered.sampled_mask == renderer.render([USER, ASSISTANT, USER, ASSISTANT]).sampled_mask
