"""Configurations of `isc.compat`: in a program's own pydantic models, and from there to an isc family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydantic
import pytest
from msgspec.structs import replace
from transformers import PreTrainedTokenizerFast

import isc
from isc.compat import base, classes, configs, create_renderer, load_tokenizer
from isc.compat.configs import config_from_name
from isc.compat.tokenizer import LoadedTokenizer
from isc.compat.unthinking import keeping
from isc.encoding.encoders import embedded
from isc.errors import OptionError, TracedTemplateNotice, UnknownModelError
from isc.formats.deepseek_v4 import DeepSeekV4
from isc.formats.gemma4 import Gemma4
from isc.formats.glm5 import Glm5
from isc.formats.hy3 import Hy3
from isc.formats.inkling import Inkling
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
    "a path that is none": {"name": "custom", "import_path": "a.py"},
    "a retention that a field contradicts": {"name": "glm-5", "clear_thinking": True, "thinking_retention": "all"},
    "a field of older versions": {"name": "default", "preserve_all_thinking": True},
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


def model(directory: Path, template: str | None = None, specials: tuple[str, ...] = Qwen3.specials) -> LoadedTokenizer:
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
    assert ids.count(end) == 1
    assert tokenizer.decode([*ids, end]) == "na\u00efve <|im_end|><|im_end|>"
    assert tokenizer.decode([*ids, end], skip_special_tokens=True) == "na\u00efve "
    assert tokenizer.decode(end) == "<|im_end|>"
    with pytest.raises(OptionError, match="use a renderer"):
        tokenizer.encode("x", add_special_tokens=True)


def test_what_else_a_tokenizer_has_is_that_of_transformers(tmp_path: Path) -> None:
    tokenizer = model(tmp_path, CHATML)
    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    text = "na\u00efve <|im_end|>\n"
    assert tokenizer.encode(text) == theirs.encode(text, add_special_tokens=False)
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") == tokenizer.eos_token_id
    assert tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == (
        "<|im_start|>user\nx<|im_end|>"
    )
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = tokenizer.no_such_thing


MORE = (*Gemma4.specials, *Inkling.specials)


def named(name: str) -> Any:  # noqa: ANN401 - stands for a transformers tokenizer
    """A tokenizer that says it is of this model."""

    class Named:
        name_or_path = name
        backend_tokenizer = stand_in(
            tuple(dict.fromkeys((*Qwen3.specials, *Glm5().specials, *Hy3.specials, *DeepSeekV4.specials, *MORE)))
        )

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
    assert renderer.renderer.family == keeping(family)
    for field in configs.template_field_names(renderer.config):
        assert getattr(renderer.config, field) == getattr(family, field), field
    assert type(renderer) is classes.RENDERER_REGISTRY[renderer.config.name]


def test_a_field_that_changes_nothing_is_taken_where_the_family_does_not_have_it() -> None:
    renderer = create_renderer(named("x"), configs.Hy3RendererConfig(reasoning_effort="high"))
    assert renderer.renderer.family == Hy3(reasoning_effort="high")


def test_a_field_by_another_name_is_the_familys_option() -> None:
    config = configs.DeepSeekV4RendererConfig(enable_thinking=True, reasoning_effort="max")
    family = create_renderer(named("x"), config).renderer.family
    assert family == DeepSeekV4(thinking=True, reasoning_effort="max", variant="flash-0731")


def test_a_configuration_of_one_variant_takes_every_effort_of_it() -> None:
    family = create_renderer(named("x"), configs.DeepSeekV4RendererConfig()).renderer.family
    assert family == DeepSeekV4(reasoning_effort="low", variant="flash-0731")


def test_a_configuration_by_another_name_takes_the_models_variant() -> None:
    config = configs.Gemma4RendererConfig(enable_thinking=True)
    for name, family in (("google/gemma-4-E2B-it", Gemma4("e2b")), ("x", Gemma4())):
        assert create_renderer(named(name), config).renderer.family == replace(family, enable_thinking=True)


def test_an_effort_is_inklings() -> None:
    config = configs.InklingRendererConfig(reasoning_effort="low")
    assert create_renderer(named("x"), config).renderer.family == Inkling("low")


def test_retention_is_handed_on() -> None:
    config = configs.Qwen3RendererConfig(thinking_retention="all")
    assert create_renderer(named("x"), config).renderer.thinking_retention == "all"


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no such option": (configs.Qwen3RendererConfig(), {"foo": 1}, "no \\['foo'\\]. Allowed: enable_thinking"),
    "variants are no options": (configs.Qwen3RendererConfig(), {"variant": "hybrid"}, "no \\['variant'\\]"),
    "a sibling's option": (
        configs.Qwen35RendererConfig(),
        {"preserve_thinking": True},
        "Allowed: add_vision_id, enable",
    ),
    "the renderer's own option": (configs.Qwen35RendererConfig(), {"image_cache_max": 1}, "no \\['image_cache_max'\\]"),
    "options of an unknown format": (None, {"enable_thinking": False}, "no format is known"),
    "a wrong type": (configs.Qwen3RendererConfig(), {"enable_thinking": "perhaps"}, "valid boolean"),
    "None for what cannot be left open": (configs.Qwen3RendererConfig(), {"enable_thinking": None}, "valid boolean"),
    "a field that no template reads": (
        configs.Gemma4RendererConfig(preserve_thinking=True),
        {},
        "gemma-4 has no option 'preserve_thinking'",
    ),
    "a parser of a format": (configs.DefaultRendererConfig(tool_parser="glm"), {}, "where the format has a family"),
}


@pytest.mark.parametrize(("config", "given", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_honoured_is_refused(
    config: configs.BaseRendererConfig | None, given: dict[str, Any], problem: str
) -> None:
    with pytest.raises((OptionError, pydantic.ValidationError), match=problem):
        create_renderer(named("x"), config, chat_template_kwargs=given)


def test_a_format_without_a_family_takes_the_models_template(tmp_path: Path) -> None:
    tokenizer = model(tmp_path, CHATML)
    with pytest.warns(TracedTemplateNotice, match="'prime-qwen3'.*calls are left in the content"):
        renderer = create_renderer(tokenizer, configs.PrimeQwen3RendererConfig())
    family = renderer.renderer.family
    assert isinstance(family, TracedTemplate)
    assert family.options == {}
    rendered = renderer.render([{"role": "user", "content": "hi"}])
    assert renderer.renderer.encoder.decode_bytes(rendered.token_ids) == b"<|im_start|>user\nhi<|im_end|>"
    assert sum(rendered.is_content) == 1


def test_a_notice_says_that_calls_can_be_read(tmp_path: Path) -> None:
    with pytest.warns(TracedTemplateNotice, match="calls are read as json"):
        create_renderer(model(tmp_path, JSON_CALLS), configs.PrimeQwen3RendererConfig())


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
    with (
        pytest.raises(UnknownModelError, match="no chat template"),
        pytest.warns(TracedTemplateNotice, match="no format"),
    ):
        create_renderer(tokenizer)
    for config in (configs.PrimeQwen3RendererConfig(), configs.DefaultRendererConfig()):
        with pytest.raises(UnknownModelError, match="no chat template"):
            create_renderer(tokenizer, config)


TOY = """
from typing import Literal

from isc.compat.configs import BaseRendererConfig


class ToyConfig(BaseRendererConfig):
    name: Literal["toy"] = "toy"
    effort: int = 1
    size: int = 2
    _template_fields = frozenset({"effort"})
    _internal_fields = frozenset({"size"})


class Toy:
    config_class = ToyConfig

    def __init__(self, tokenizer, config):
        self.tokenizer, self.config = tokenizer, config
"""


def test_a_renderer_of_the_callers_own(tmp_path: Path) -> None:
    file = tmp_path / "toy.py"
    file.write_text(TOY, encoding="utf-8")
    config = Trainer.model_validate(
        {"renderer": {"name": "custom", "import_path": f"{file}:Toy", "size": 3, "thinking_retention": "all"}}
    ).renderer
    toy = create_renderer("a tokenizer", config, chat_template_kwargs={"effort": 4})
    assert (toy.tokenizer, toy.config.effort, toy.config.size) == ("a tokenizer", 4, 3)
    assert toy.config.thinking_retention == "all"
    with pytest.raises(OptionError, match="Allowed: effort"):
        create_renderer("a tokenizer", config, chat_template_kwargs={"size": 4})
    with pytest.raises(pydantic.ValidationError):
        configs.CustomRendererConfig.model_validate({"import_path": f"{file}:Toy", "unknown": 1})
    with pytest.raises(TypeError, match="config_class"):
        configs.CustomRendererConfig(import_path="json.JSONDecoder")
    with pytest.raises(FileNotFoundError):
        configs.CustomRendererConfig(import_path=f"{tmp_path}/missing.py:Toy")


def test_a_field_is_of_the_template_or_of_the_renderer() -> None:
    with pytest.raises(TypeError, match=r"missing=..unclassified"):

        class _Unclear(configs.BaseRendererConfig):
            unclassified: bool = False


def test_a_class_of_the_callers_own_in_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(base.RENDERER_REGISTRY, "qwen3.5", lambda tokenizer, config: (tokenizer, config))
    monkeypatch.setitem(base.MODEL_RENDERER_MAP, "mine/model", "qwen3.5")
    tokenizer = named("mine/model")
    config = configs.AutoRendererConfig(thinking_retention="all")
    given, resolved = create_renderer(tokenizer, config, chat_template_kwargs={"enable_thinking": None})
    assert given is tokenizer
    assert resolved == configs.Qwen35RendererConfig(thinking_retention="all")


def test_a_renderer_needs_no_configuration_class() -> None:
    assert create_renderer(named("Qwen/Qwen3-8B")).renderer.family == Qwen3()
    assert create_renderer(embedded(Qwen3.specials), configs.Qwen3RendererConfig()).renderer.family == Qwen3()
