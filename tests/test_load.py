"""Loading from directories and from tokenizers at hand; what a renderer is when it is pickled or shared."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
import tiktoken
from tokenizers import Tokenizer

import isc
from isc.encoding.encoders import VocabularyEncoder, embedded, from_file
from isc.formats.catalogue import check_family_module
from isc.formats.qwen3 import Qwen3
from isc.traced.template import TracedTemplate
from tokenizer_files import qwen3_file, transformers_tokenizer

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Wie heißt du? 👋"},
    {"role": "assistant", "content": "Qwen.", "reasoning_content": "A name is asked for."},
]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A model's directory that holds a tokenizer and nothing else."""
    (tmp_path / "tokenizer.json").write_text(qwen3_file(), encoding="utf-8")
    return tmp_path


def _template(reference: Path, model: str = "Qwen--Qwen3-8B") -> bytes:
    return (reference / "templates" / model / "chat_template.jinja").read_bytes()


def test_a_directory_loads_with_a_given_family(directory: Path, small: isc.Renderer) -> None:
    assert isc.load(directory, family=Qwen3()).render(CHAT) == small.render(CHAT)


def test_options_of_the_renderer_are_kept(directory: Path) -> None:
    renderer = isc.load(directory, Qwen3(), thinking_retention="all", body_specials="reject")
    assert (renderer.thinking_retention, renderer.body_specials) == ("all", "reject")


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("Qwen--Qwen3-8B", Qwen3()),
        ("Qwen--Qwen3-30B-A3B-Instruct-2507", Qwen3(variant="instruct_2507")),
        ("Qwen--Qwen3-30B-A3B-Thinking-2507", Qwen3(variant="thinking_2507")),
    ],
)
def test_a_known_template_in_its_own_file_finds_the_family(
    model: str, family: Qwen3, directory: Path, reference: Path
) -> None:
    (directory / "chat_template.jinja").write_bytes(_template(reference, model))
    assert isc.load(directory).family == family


def test_a_known_template_in_the_configuration_finds_the_family(directory: Path, reference: Path) -> None:
    configuration = {"chat_template": _template(reference).decode()}
    (directory / "tokenizer_config.json").write_bytes(msgspec.json.encode(configuration))
    assert isc.load(directory).family == Qwen3()


def test_a_changed_template_is_used_as_it_is_and_that_is_said(directory: Path, reference: Path) -> None:
    (directory / "chat_template.jinja").write_bytes(_template(reference) + b" ")
    with pytest.warns(isc.TracedTemplateNotice, match="its own chat template is used"):
        renderer = isc.load(directory)
    assert isinstance(renderer.family, TracedTemplate)
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "you"}]
    known = isc.load(directory, Qwen3()).render(messages)
    assert renderer.render(messages).runs[:-1] == known.runs[:-1]


def test_no_template_is_a_short_error_that_says_how_to_pass_a_family(directory: Path) -> None:
    (directory / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(isc.UnknownModelError) as caught:
        isc.load(directory)
    message = str(caught.value)
    assert "`isc families` lists the families and their models" in message
    assert f"isc.load({str(directory)!r}, family=...)" in message
    assert len(message) < 250 + 2 * len(str(directory))
    assert len(message.splitlines()) == 3
    assert not any(family.__name__ in message for family in isc.list_families().values())


@pytest.mark.parametrize(
    ("files", "config", "told"),
    [
        (
            ["encoding/encoding_dsv32.py", "modeling_x.py"],
            {"model_type": "deepseek_v5"},
            "(encoding/encoding_dsv32.py)",
        ),
        (["chat_format.py"], {"model_type": "kimi_k9"}, "(chat_format.py)"),
        (["modeling_x.py", "configuration_x.py"], {"model_type": "x"}, None),
        ([], {"model_type": "deepseek_v3"}, None),
    ],
)
def test_a_model_that_ships_its_format_as_python_is_told_so(
    files: list[str], config: dict[str, str], told: str | None, directory: Path
) -> None:
    (directory / "config.json").write_bytes(msgspec.json.encode(config))
    for file in files:
        (directory / file).parent.mkdir(exist_ok=True)
        (directory / file).write_text("raise SystemExit")
    with pytest.raises(isc.UnknownModelError, match="has no chat template") as caught:
        isc.load(directory)
    message = str(caught.value)
    assert ("Python" in message) is (told is not None)
    assert told is None or f"ships its chat format as Python {told}, which isc never runs" in message
    assert not any(f"{name!r}" in message for name in isc.list_families())


@pytest.mark.parametrize(
    ("config", "family"),
    [
        ({"model_type": "gpt_oss"}, "gpt-oss"),
        ({"model_type": "x", "architectures": ["KimiK25ForConditionalGeneration"]}, "kimi-k2.5"),
        ({"model_type": "deepseek_v3", "_name_or_path": "deepseek-ai/DeepSeek-R1"}, "deepseek-r1"),
    ],
)
def test_the_family_that_serves_a_model_without_a_template_is_named(
    config: dict[str, object], family: str, directory: Path
) -> None:
    (directory / "config.json").write_bytes(msgspec.json.encode(config))
    with pytest.raises(isc.UnknownModelError) as caught:
        isc.load(directory)
    assert str(caught.value).endswith(f"isc.load({str(directory)!r}, family={family!r})")
    assert isc.load(directory, family).family == isc.list_families()[family]()


@pytest.mark.parametrize(
    ("config", "family"),
    [
        ({"model_type": "deepseek_v32"}, isc.DeepSeekV32()),
        ({"architectures": ["DeepseekV4ForCausalLM"]}, isc.DeepSeekV4()),
        ({"model_type": "kimi_k3"}, isc.KimiK3()),
        ({"_name_or_path": "deepseek-ai/DeepSeek-V4-Flash-0731"}, isc.DeepSeekV4(variant="flash-0731")),
    ],
)
def test_a_model_whose_format_is_python_is_loaded_by_its_name_or_kind(
    config: dict[str, object], family: isc.Family, directory: Path
) -> None:
    (directory / "config.json").write_bytes(msgspec.json.encode(config))
    (directory / "encoding").mkdir()
    (directory / "encoding" / "encoding_x.py").write_text("raise SystemExit")
    assert isc.load(directory).family == family
    assert isc.load(directory, thinking=True).family == family.with_options({"thinking": True})
    with pytest.raises(isc.OptionError, match="no chat template of this name"):
        isc.load(directory, template="default")


def test_a_family_is_given_by_its_name(directory: Path) -> None:
    assert isc.load(directory, "qwen3").family == Qwen3()
    assert isc.load(directory, family="qwen3", enable_thinking=False).family == Qwen3(enable_thinking=False)
    encoder = isc.encoders.embedded(Qwen3().specials)
    assert isc.create_renderer(encoder, "qwen3").family == Qwen3()
    wrong: Any
    for wrong, problem in (("qwen33", "did you mean qwen3"), (5, "not 5"), (Qwen3, r"make a value of it: Qwen3\(\)")):
        with pytest.raises(isc.OptionError, match=problem):
            isc.create_renderer(encoder, wrong)


def test_a_misspelled_model_name_is_answered_with_near_ones() -> None:
    with pytest.raises(isc.UnknownModelError, match=r"did you mean .*Qwen/Qwen3-8B"):
        isc.family_for("Qwen/qwen3-8b")


def test_a_missing_tokenizer_is_an_error_that_names_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(isc.LoadError) as caught:
        isc.load(tmp_path, Qwen3())
    assert str(caught.value).startswith(f"{tmp_path} has no tokenizer.json")


@pytest.mark.parametrize("name", ["absent", "a/b/c", "file.txt"])
@pytest.mark.parametrize("family", [None, Qwen3()])
def test_what_is_no_directory_is_an_error_that_says_so(name: str, family: Qwen3 | None, tmp_path: Path) -> None:
    (tmp_path / "file.txt").touch()
    with pytest.raises(isc.LoadError, match="is not a directory"):
        isc.load(tmp_path / name, family)


def test_a_corrupt_tokenizer_is_an_error_that_names_the_file(directory: Path) -> None:
    (directory / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(isc.EncoderError) as caught:
        isc.load(directory, Qwen3())
    assert str(caught.value).startswith(f"{directory / 'tokenizer.json'}: not a tokenizer.json")


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer_config.json"])
def test_a_file_that_is_not_utf_8_is_an_error_that_names_it(name: str, directory: Path) -> None:
    (directory / name).write_bytes(b"\xff\xfe")
    with pytest.raises(isc.LoadError, match=f"{name} of {directory} is not UTF-8"):
        isc.load(directory)


def test_a_tokenizer_without_a_needed_special_is_an_error_that_names_it(directory: Path) -> None:
    text = qwen3_file().replace("<|im_end|>", "<|other|>")
    (directory / "tokenizer.json").write_text(text, encoding="utf-8")
    with pytest.raises(isc.MissingSpecialError, match=r"<\|im_end\|>"):
        isc.load(directory, Qwen3()).render(CHAT)


def test_a_changed_file_is_read_again(directory: Path) -> None:
    before = isc.load(directory, Qwen3()).encoder
    (directory / "tokenizer.json").write_text(qwen3_file("<|more|>"), encoding="utf-8")
    after = isc.load(directory, Qwen3()).encoder
    assert "<|more|>" in after.specials.keys() - before.specials.keys()


def test_a_transformers_tokenizer_tells_its_family_by_its_template(reference: Path) -> None:
    tokenizer = transformers_tokenizer(qwen3_file())
    tokenizer.chat_template = _template(reference).decode()
    assert isc.create_renderer(tokenizer).family == Qwen3()


def test_a_tokenizer_that_does_not_tell_its_family_is_an_error() -> None:
    problem = r"(?s)a Tokenizer without a model name.*by name: isc\.create_renderer\(tokenizer, family="
    with pytest.raises(isc.UnknownModelError, match=problem):
        isc.create_renderer(Tokenizer.from_str(qwen3_file()))


def test_a_name_in_place_of_a_tokenizer_is_sent_to_load() -> None:
    with pytest.raises(isc.EncoderError, match=r"isc\.load takes a model's name"):
        isc.create_renderer("Qwen/Qwen3-8B")


def test_a_renderer_from_a_directory_pickles_small_and_equal(directory: Path) -> None:
    renderer = isc.load(directory, Qwen3(enable_thinking=False), thinking_retention="all")
    pickled = pickle.dumps(renderer)
    again = pickle.loads(pickled)
    assert len(pickled) < 2000
    assert (again.family, again.thinking_retention) == (renderer.family, "all")
    assert again.render(CHAT, None, True) == renderer.render(CHAT, None, True)


def test_a_renderer_from_a_relative_directory_unpickles_elsewhere(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory.parent)
    renderer = isc.load(directory.name, Qwen3())
    pickled = pickle.dumps(renderer)
    monkeypatch.chdir("/")
    assert pickle.loads(pickled).render(CHAT) == renderer.render(CHAT)


def test_a_renderer_on_the_embedded_vocabulary_pickles_small_and_equal(small: isc.Renderer) -> None:
    pickled = pickle.dumps(small)
    assert len(pickled) < 2000
    assert pickle.loads(pickled).render(CHAT) == small.render(CHAT)


def test_a_renderer_on_a_tokenizer_object_pickles_equal(small: isc.Renderer) -> None:
    renderer = isc.create_renderer(Tokenizer.from_str(qwen3_file()), Qwen3())
    assert pickle.loads(pickle.dumps(renderer)).render(CHAT) == small.render(CHAT)


def test_a_renderer_on_a_tiktoken_encoding_pickles_equal() -> None:
    specials = {text: 256 + position for position, text in enumerate(Qwen3().specials)}
    ranks = {bytes([byte]): byte for byte in range(256)}
    encoding = tiktoken.Encoding("bytes", pat_str=r"\S+|\s+", mergeable_ranks=ranks, special_tokens=specials)
    renderer = isc.create_renderer(encoding, Qwen3())
    assert pickle.loads(pickle.dumps(renderer)).render(CHAT) == renderer.render(CHAT)


def test_a_renderer_can_be_copied_deeply(small: isc.Renderer) -> None:
    assert copy.deepcopy(small).render(CHAT) == small.render(CHAT)


def test_threads_that_share_a_renderer_render_what_one_does(small: isc.Renderer) -> None:
    chats = [[{"role": "user", "content": f"{'word ' * (k % 7)}{k}"}, *CHAT] for k in range(250)]
    alone = [small.render(chat) for chat in chats]

    def render_all(start: int) -> bool:
        order = [(start * 31 + k) % len(chats) for k in range(len(chats))]
        return all(small.render(chats[k]) == alone[k] for k in order)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(render_all, range(8))) == [True] * 8


def test_the_same_file_is_read_once(directory: Path) -> None:
    first, second = (from_file(directory / "tokenizer.json") for _ in range(2))
    assert first._vocabulary is second._vocabulary


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ({}, "has no FAMILY"),
        ({"FAMILY": 3}, "must be a subclass of isc.Family, not 3"),
        ({"FAMILY": isc.Family}, "FAMILY must be a frozen Struct with a tag"),
        ({"FAMILY": isc.UserMessage}, "FAMILY must be a subclass of isc.Family"),
        ({"FAMILY": Qwen3}, "has no MODELS"),
        ({"FAMILY": Qwen3, "MODELS": {}}, "has no TEMPLATES"),
        ({"FAMILY": Qwen3, "MODELS": {"some/model": "qwen3"}, "TEMPLATES": {}}, "some/model.*must be given a family"),
    ],
)
def test_a_module_that_is_no_family_is_named(names: dict[str, object], problem: str) -> None:
    module = ModuleType("isc.formats.broken")
    module.__dict__.update(names)
    with pytest.raises(isc.FamilyError, match=rf"isc\.formats\.broken.*{problem}"):
        check_family_module(module)


def test_every_known_model_has_a_family_that_is_discovered() -> None:
    assert type(isc.family_for("Qwen/Qwen3-8B")) in isc.list_families().values()


def test_the_embedded_vocabulary_takes_on_any_specials() -> None:
    make: Callable[[tuple[str, ...]], VocabularyEncoder] = embedded
    assert list(make(("[gMASK]", "<sop>")).specials) == ["[gMASK]", "<sop>"]
