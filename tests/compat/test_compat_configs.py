"""Configurations of `isc.compat`: in a program's own pydantic models, and from there to an isc family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydantic
import pytest

import isc
from isc.compat import configs, create_renderer, load_tokenizer
from isc.compat.configs import config_from_name
from isc.compat.renderer import Tokenizer
from isc.encoding.encoders import embedded
from isc.errors import OptionError, TracedTemplateNotice, UnknownModelError
from isc.formats.glm5 import Glm5
from isc.formats.qwen3 import Qwen3
from isc.formats.qwen3_5 import Qwen35
from isc.traced.template import TracedTemplate
from references import stand_in

CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
JSON_CALLS = CHATML.replace(
    "<|im_end|>",
    "{% for c in m.tool_calls or () %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}<|im_end|>",
)


class Trainer(pydantic.BaseModel):
    """A program's configuration, as verifiers' and prime-rl's are made."""

    renderer: configs.RendererConfig | None = None


@pytest.mark.parametrize("name", configs.CONFIGS)
def test_a_configuration_is_chosen_by_name_and_survives_json(name: str) -> None:
    found = Trainer.model_validate({"renderer": {"name": name}}).renderer
    assert found == configs.CONFIGS[name]()
    assert Trainer.model_validate_json(Trainer(renderer=found).model_dump_json()).renderer == found


BAD: dict[str, dict[str, Any]] = {
    "no such renderer": {"name": "qwen4"},
    "no name": {"enable_thinking": True},
    "no such field": {"name": "qwen3", "foo": 1},
    "a wrong type": {"name": "qwen3", "enable_thinking": "perhaps"},
    "a wrong policy": {"name": "qwen3", "thinking_retention": "none"},
    "custom without a path": {"name": "custom"},
}


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD)
def test_what_no_configuration_is_pydantic_refuses(fields: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        Trainer.model_validate({"renderer": fields})


def test_configurations_are_values() -> None:
    first = configs.Qwen3RendererConfig()
    assert hash(first) == hash(configs.Qwen3RendererConfig())
    with pytest.raises(pydantic.ValidationError):
        first.enable_thinking = False


def test_a_configuration_from_a_name() -> None:
    assert config_from_name("auto") is None
    assert config_from_name("glm-5") == configs.GLM5RendererConfig()
    for name in ("nothing", "custom"):
        with pytest.raises(OptionError, match="is called"):
            config_from_name(name)


def model(directory: Path, template: str | None = None, specials: tuple[str, ...] = Qwen3.specials) -> Tokenizer:
    """A model's directory, loaded."""
    stand_in(specials).save(str(directory / "tokenizer.json"))
    text = json.dumps({"eos_token": "<|im_end|>", "bos_token": None})
    (directory / "tokenizer_config.json").write_text(text, encoding="utf-8")
    if template is not None:
        (directory / "chat_template.jinja").write_text(template, encoding="utf-8")
    return load_tokenizer(str(directory))


def test_a_tokenizer_without_transformers(tmp_path: Path) -> None:
    tokenizer = model(tmp_path, CHATML)
    assert (tokenizer.name_or_path, tokenizer.chat_template) == (str(tmp_path), CHATML)
    assert (tokenizer.bos_token, tokenizer.eos_token) == (None, "<|im_end|>")
    end = tokenizer.eos_token_id
    assert end is not None
    ids = tokenizer.encode("na\u00efve <|im_end|>")
    assert end not in ids
    assert tokenizer.decode([*ids, end]) == "na\u00efve <|im_end|><|im_end|>"
    assert tokenizer.decode([*ids, end], skip_special_tokens=True) == "na\u00efve <|im_end|>"
    with pytest.raises(OptionError, match="use a renderer"):
        tokenizer.encode("x", add_special_tokens=True)


def named(name: str) -> Any:  # noqa: ANN401 - stands for a transformers tokenizer
    """A tokenizer that says it is of this model."""

    class Named:
        name_or_path = name
        backend_tokenizer = stand_in(tuple(dict.fromkeys((*Qwen3.specials, *Glm5().specials))))

    return Named()


FOUND: dict[str, tuple[Any, str, dict[str, Any] | None, isc.Family]] = {
    "by name": (None, "Qwen/Qwen3-8B", None, Qwen3()),
    "by name, with arguments": (None, "Qwen/Qwen3-8B", {"enable_thinking": False}, Qwen3(enable_thinking=False)),
    "auto": (configs.AutoRendererConfig(), "Qwen/Qwen3.5-2B", None, Qwen35(enable_thinking=False)),
    "None leaves it to the model": (
        configs.Qwen35RendererConfig(),
        "Qwen/Qwen3.5-2B",
        {},
        Qwen35(enable_thinking=False),
    ),
    "said explicitly": (configs.Qwen35RendererConfig(enable_thinking=True), "Qwen/Qwen3.5-2B", None, Qwen35()),
    "the variant is the model's": (
        configs.Qwen3RendererConfig(),
        "Qwen/Qwen3-4B-Thinking-2507",
        None,
        Qwen3(variant="thinking_2507"),
    ),
    "another format than the model's": (
        configs.GLM5RendererConfig(clear_thinking=False),
        "Qwen/Qwen3-8B",
        None,
        Glm5(clear_thinking=False),
    ),
    "arguments over fields": (
        configs.GLM5RendererConfig(),
        "x",
        {"enable_thinking": False},
        Glm5(enable_thinking=False),
    ),
    "caches are without effect": (configs.Qwen35RendererConfig(image_cache_max=7), "x", None, Qwen35()),
}
"""Configuration, model name and template arguments, and the family they ask for."""


@pytest.mark.parametrize(("config", "name", "given", "family"), FOUND.values(), ids=FOUND)
def test_a_configuration_is_a_family(
    config: configs.BaseRendererConfig | None,
    name: str,
    given: dict[str, Any] | None,
    family: isc.Family,
) -> None:
    renderer = create_renderer(named(name), config, chat_template_kwargs=given)
    assert renderer.renderer.family == family
    assert renderer.config == config


def test_retention_is_handed_on() -> None:
    config = configs.Qwen3RendererConfig(thinking_retention="all")
    assert create_renderer(named("x"), config).renderer.thinking_retention == "all"


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no such option": (configs.Qwen3RendererConfig(), {"foo": 1}, "qwen3 has no option 'foo'; it has enable_thinking"),
    "variants are no options": (configs.Qwen3RendererConfig(), {"variant": "hybrid"}, "no option 'variant'"),
    "a wrong type": (configs.Qwen3RendererConfig(), {"enable_thinking": "no"}, "Expected `bool`"),
    "a custom renderer": (configs.CustomRendererConfig(import_path="a.b"), {}, "write an isc family"),
    "a parser of a format": (configs.DefaultRendererConfig(tool_parser="glm"), {}, "where the format has a family"),
}


@pytest.mark.parametrize(("config", "given", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_honoured_is_refused(
    config: configs.BaseRendererConfig, given: dict[str, Any], problem: str
) -> None:
    with pytest.raises(OptionError, match=problem):
        create_renderer(named("x"), config, chat_template_kwargs=given)


def test_a_format_without_a_family_takes_the_models_template(tmp_path: Path) -> None:
    tokenizer = model(tmp_path, CHATML)
    with pytest.warns(TracedTemplateNotice, match="'gemma4'.*calls are left in the content"):
        renderer = create_renderer(tokenizer, configs.Gemma4RendererConfig(enable_thinking=True))
    family = renderer.renderer.family
    assert isinstance(family, TracedTemplate)
    assert family.options == {"enable_thinking": True, "preserve_thinking": False}
    rendered = renderer.render([{"role": "user", "content": "hi"}])
    assert renderer.renderer.encoder.decode_bytes(rendered.token_ids) == b"<|im_start|>user\nhi<|im_end|>"
    assert sum(rendered.is_content) == 1


def test_a_notice_says_that_calls_can_be_read(tmp_path: Path) -> None:
    with pytest.warns(TracedTemplateNotice, match="calls are read as json"):
        create_renderer(model(tmp_path, JSON_CALLS), configs.Gemma4RendererConfig())


def test_the_default_renderer_is_the_models_template(tmp_path: Path) -> None:
    config = configs.DefaultRendererConfig.model_validate(
        {"tool_parser": "qwen3", "reasoning_parser": "think", "add_more": 1}
    )
    renderer = create_renderer(model(tmp_path, CHATML), config, chat_template_kwargs={"and_more": 2})
    family = renderer.renderer.family
    assert isinstance(family, TracedTemplate)
    assert family.options == {"add_more": 1, "and_more": 2}
    specials = renderer.renderer.encoder.specials
    call = renderer.renderer.render(
        [{"role": "user", "content": '<think>hm</think>a<tool_call>{"name": "f", "arguments": {}}</tool_call>'}],
        body_specials="parse",
    )
    said = [*(t for t, body in zip(call.token_ids, call.is_content, strict=True) if body), specials["<|im_end|>"]]
    parsed = renderer.parse_response(said)
    assert (parsed.reasoning_content, parsed.content) == ("hm", "a")
    assert [found.name for found in parsed.tool_calls] == ["f"]


def test_without_a_family_and_a_template_there_is_no_renderer(tmp_path: Path) -> None:
    tokenizer = model(tmp_path)
    for config in (None, configs.DeepSeekV4RendererConfig(), configs.DefaultRendererConfig()):
        with pytest.raises(UnknownModelError, match="no chat template"):
            create_renderer(tokenizer, config)


def test_a_renderer_needs_no_configuration_class() -> None:
    assert create_renderer(named("Qwen/Qwen3-8B")).renderer.family == Qwen3()
    assert create_renderer(embedded(Qwen3.specials), configs.Qwen3RendererConfig()).renderer.family == Qwen3()
