"""Models with several chat templates: which one renders a chat, held to `apply_chat_template` of transformers."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import msgspec
import pytest

import isc
from isc.cli import Exit, main
from isc.cli.formats import identity
from isc.testing.conformance import check_model
from isc.traced.named import NamedTemplates
from isc.traced.template import TracedTemplate
from small_templates import CHATML, SPECIALS
from tokenizer_files import qwen3_file, transformers_tokenizer

TOOL_USE = (
    "{% if tools %}{{ '<|im_start|>system\n' }}{% for tool in tools %}{{ (tool | tojson) + '\n' }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endif %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + (m.content or '') }}"
    "{% for call in m.tool_calls or [] %}{{ '\n<tool_call>\n{\"name\": ' + (call.function.name | tojson) + "
    "', \"arguments\": ' + (call.function.arguments | tojson) + '}\n</tool_call>' }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
RAG = "{{ documents }}{% for m in messages %}{{ '[' + m.role + '] ' + m.content + '<|im_end|>' }}{% endfor %}"
TEMPLATES = {"default": CHATML, "tool_use": TOOL_USE, "rag": RAG}
TALK: list[dict[str, Any]] = [{"role": "user", "content": "U"}, {"role": "assistant", "content": "A"}]
TOOLS = [{"type": "function", "function": {"name": "get_time", "description": "x", "parameters": {"type": "object"}}}]
CALL = {"id": "call00000", "type": "function", "function": {"name": "get_time", "arguments": {"zone": "UTC"}}}


def tokenizer(templates: object) -> Any:  # noqa: ANN401 - transformers is not typed
    made = transformers_tokenizer(qwen3_file())
    made.chat_template = templates
    made.eos_token = "<|im_end|>"
    return made


def listed(templates: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "template": text} for name, text in templates.items()]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's directory with three templates in its configuration."""
    (tmp_path / "tokenizer.json").write_text(qwen3_file(), encoding="utf-8")
    settings = {"eos_token": "<|im_end|>", "chat_template": listed(TEMPLATES)}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("tools", [None, TOOLS])
@pytest.mark.parametrize("name", [None, "rag", "tool_use", "default"])
def test_a_chat_is_rendered_by_the_template_that_transformers_chooses(
    name: str | None, tools: list[dict[str, Any]] | None, model: Path
) -> None:
    theirs = tokenizer(TEMPLATES)
    expected = theirs.apply_chat_template(TALK, tools=tools, chat_template=name, tokenize=False)
    for renderer in (isc.load(model, template=name), isc.create_renderer(theirs, template=name)):
        assert "".join(segment.text for segment in renderer.segments(TALK, tools)) == expected


def test_a_template_in_a_file_of_its_own_is_chosen_too(model: Path) -> None:
    (model / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    (model / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    (model / "additional_chat_templates").mkdir()
    (model / "additional_chat_templates" / "tool_use.jinja").write_text(TOOL_USE, encoding="utf-8")
    family = isc.load(model).family
    assert isinstance(family, NamedTemplates)
    assert (family.without_tools.format.source, family.with_tools.format.source) == (CHATML, TOOL_USE)


@pytest.mark.parametrize("holder", [TEMPLATES, listed(TEMPLATES)], ids=["dict", "list"])
def test_a_tokenizer_holds_templates_as_a_dict_or_a_list(holder: object) -> None:
    family = isc.create_renderer(tokenizer(holder)).family
    assert isinstance(family, NamedTemplates)
    assert (family.without_tools.format.source, family.with_tools.format.source) == (CHATML, TOOL_USE)


def test_an_unknown_name_is_an_error_that_names_those_there_are(model: Path) -> None:
    problem = r"template='tool_usage': .* only default, rag, tool_use; did you mean 'tool_use'\?"
    with pytest.raises(isc.OptionError, match=problem):
        isc.load(model, template="tool_usage")
    with pytest.raises(isc.OptionError, match=problem):
        isc.create_renderer(tokenizer(TEMPLATES), template="tool_usage")


def test_several_templates_and_no_default_have_to_be_chosen_among(model: Path) -> None:
    several = {"tool_use": TOOL_USE, "rag": RAG}
    settings = {"eos_token": "<|im_end|>", "chat_template": listed(several)}
    (model / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    problem = "no default: choose with template=... one of rag, tool_use"
    sources: list[tuple[Any, Any]] = [(isc.load, model), (isc.create_renderer, tokenizer(several))]
    for load, source in sources:
        with pytest.raises(isc.OptionError, match=problem):
            load(source)
        assert isinstance(load(source, template="rag").family, TracedTemplate)


def test_a_family_and_a_template_are_not_given_at_once(model: Path) -> None:
    with pytest.raises(isc.OptionError, match="both choose the chat format"):
        isc.load(model, "qwen3", template="rag")


def test_a_default_that_is_a_known_family_s_is_not_the_family_where_tool_use_differs(
    model: Path, reference: Path
) -> None:
    known = (reference / "templates" / "Qwen--Qwen3-8B" / "chat_template.jinja").read_text(encoding="utf-8")
    for tool_use, is_known in ((known, True), (TOOL_USE, False)):
        settings = {"eos_token": "<|im_end|>", "chat_template": listed({"default": known, "tool_use": tool_use})}
        (model / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
        assert isinstance(isc.load(model).family, isc.Qwen3) is is_known


def test_calls_are_read_and_bridged_by_the_template_of_chats_with_tools(model: Path) -> None:
    renderer = isc.load(model)
    prompt = renderer.render_ids(TALK[:1], TOOLS, True)
    asked = [TALK[0], {"role": "assistant", "content": "A", "tool_calls": [CALL]}]
    sampled = renderer.render_ids(asked, TOOLS)[len(prompt) : -1]
    for tools in (None, TOOLS):
        (call,) = renderer.parse_response(sampled, tools).tool_calls
        assert (call.name, call.arguments) == ("get_time", {"zone": "UTC"})
    result = {"role": "tool", "content": "R", "tool_call_id": "call00000"}
    bridged = renderer.bridge_to_next_turn(prompt, sampled, [result], TOOLS)
    assert bridged is not None
    assert bridged.token_ids == renderer.render_ids([*asked, result], TOOLS, True)


def test_options_reach_the_templates_that_read_them() -> None:
    plain, tools = TracedTemplate(CHATML, specials=SPECIALS), TracedTemplate("{{ mood }}{{ tools }}", specials=SPECIALS)
    both = NamedTemplates(plain, tools)
    assert both.known_options == ("mood",)
    assert both.with_options({"mood": "gay"}).template_arguments() == {"mood": "gay"}
    with pytest.raises(isc.OptionError, match="there is no option 'mod', only mood; did you mean 'mood'"):
        both.with_options({"mod": "gay"})


def test_it_is_a_value_that_pickles_and_is_told_from_others(model: Path) -> None:
    family = isc.load(model).family
    assert pickle.loads(pickle.dumps(family)) == family
    assert hash(family) == hash(isc.load(model).family)
    assert identity(family) != identity(isc.load(model, template="tool_use").family)
    assert msgspec.json.decode(msgspec.json.encode(family), type=NamedTemplates) == family


def test_commands_choose_a_template_by_its_name(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model / "chat.json").write_text(json.dumps({"messages": TALK}), encoding="utf-8")
    assert main(["show", str(model / "chat.json"), "--model", str(model), "--template", "rag"]) == Exit.OK
    assert "<|im_start|>" not in capsys.readouterr().out
    assert main(["show", str(model / "chat.json"), "--model", str(model)]) == Exit.OK
    assert "<|im_start|>" in capsys.readouterr().out
    assert main(["show", str(model / "chat.json"), "--family", "qwen3", "--template", "rag"]) == Exit.FAILED
    assert "pass --model" in capsys.readouterr().err


def test_both_templates_are_checked(model: Path) -> None:
    report = check_model(str(model), None, lambda shape: ())
    failed = {outcome.check for outcome in report.outcomes if outcome.status == "fail"}
    assert "tools are shown" not in failed
    assert "everything said is shown" not in failed
    alone = check_model(str(model), None, lambda shape: (), template="default")
    assert "tools are shown" in {outcome.check for outcome in alone.outcomes if outcome.status == "fail"}


def test_a_template_that_ignores_its_tools_is_told_once() -> None:
    source = CHATML + "{# ignores tools #}"
    renderer = isc.create_renderer(isc.encoders.embedded(SPECIALS), TracedTemplate(source, specials=SPECIALS))
    with pytest.warns(isc.IgnoredToolsWarning, match="shows none of the tools"):
        renderer.render(TALK, TOOLS)
    with warnings.catch_warnings():
        warnings.simplefilter("error", isc.IgnoredToolsWarning)
        renderer.render(TALK[:1], TOOLS)


def test_a_template_that_shows_its_tools_is_not_told(recwarn: pytest.WarningsRecorder) -> None:
    template = TracedTemplate(TOOL_USE, specials=SPECIALS)
    isc.create_renderer(isc.encoders.embedded(SPECIALS), template).render(TALK, TOOLS)
    assert not [warning for warning in recwarn if warning.category is isc.IgnoredToolsWarning]
