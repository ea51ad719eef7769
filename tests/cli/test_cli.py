"""The command line as a user meets it: what it reads and prints, what errors look like, which exit codes there are."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.cells import cell_len

import isc
from command_line import written
from isc.cli import Exit, commands, main
from isc.cli.formats import choose, described, entries
from isc.formats.catalogue import models
from tokenizer_files import qwen3_file

COMMANDS = ("show", "render", "build", "check", "families", "decode")

pytestmark = pytest.mark.usefixtures("eighty_columns")


@pytest.fixture
def error(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command says that must fail: a line, or of an unknown model or format no more than three."""

    def run(*arguments: object) -> str:
        assert main([str(argument) for argument in arguments]) == Exit.FAILED
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("isc: ")
        _, *more = captured.err.splitlines()
        assert len(more) <= 2 * ("model" in captured.err)
        assert all(re.match("     [^ ]", line) for line in more)
        return captured.err

    return run


@pytest.mark.parametrize("form", ["list", "object", "indented", "one of lines", "with a byte order mark"])
def test_conversations_are_read_in_every_form(tmp_path: Path, form: str, output: Callable[..., str]) -> None:
    messages = [{"role": "user", "content": "hello"}]
    text = {
        "list": json.dumps(messages),
        "object": json.dumps({"messages": messages}),
        "indented": json.dumps({"messages": messages}, indent=2),
        "one of lines": "\n".join(["", json.dumps(messages), "not JSON"]),
        "with a byte order mark": "\ufeff" + json.dumps(messages),
    }[form]
    (tmp_path / "in").write_text(text)
    assert "⟦hello⟧" in re.sub("(?<=[a-z])│", "", output("show", tmp_path / "in", "--family", "qwen3"))


def test_standard_input_lines_and_tools(
    root: Path, tmp_path: Path, output: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    conversations = root / "examples" / "conversations.jsonl"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(conversations.read_bytes())))
    piped = output("show", "-", "--line", 2, "--family", "qwen3")
    shown = output("show", conversations, "--line", 2, "--family", "qwen3")
    assert piped.startswith("standard input:2 as qwen3, loss assistant\n")
    assert piped.splitlines()[1:] == shown.splitlines()[1:]
    place = written(tmp_path / "in", {"role": "user", "content": "hi"})
    (tmp_path / "tools").write_text(json.dumps([{"name": "look_up", "parameters": {}}]))
    without = output("show", place, "--family", "qwen3")
    offered = output("show", place, "--tools", tmp_path / "tools", "--family", "qwen3")
    assert "nobody's: opening" in offered
    assert "nobody" not in without


def test_a_model_s_directory_gives_its_own_ids(reference: Path, root: Path, output: Callable[..., str]) -> None:
    model = reference / "tokenizers" / "qwen3"
    text = output("show", root / "examples/chat.json", "--model", model, "--family", "qwen3", "--ids")
    assert "embedded" not in text
    assert " 151644 " in text


def test_options_of_the_family_are_honoured(output: Callable[..., str], root: Path) -> None:
    arguments = ("show", root / "examples/chat.json", "--family", "qwen3", "--generation-prompt")
    assert output(*arguments).endswith("  <|im_start|>│assistant│↵│\n")
    assert output(*arguments, "--option", "enable_thinking=false").endswith("<think>│↵\n  ↵│\n  </think>│↵\n  ↵│\n")
    assert described(choose("Qwen/Qwen3-4B-Thinking-2507", None)[0].family) == "qwen3 variant=thinking_2507"
    assert (
        described(choose("qwen3", None, ["enable-thinking=0", "variant=hybrid"])[0].family)
        == "qwen3 enable_thinking=false"
    )


@pytest.mark.parametrize(
    ("family", "options", "value"),
    [
        ("gpt-oss", ["builtin_tools=python, browser"], isc.GptOss(builtin_tools=("python", "browser"))),
        ("gpt-oss", ['builtin_tools=["python"]'], isc.GptOss(builtin_tools=("python",))),
        ("gpt-oss", ["builtin_tools="], isc.GptOss()),
        ("gpt-oss", ["conversation_start_date="], isc.GptOss()),
        ("gpt-oss", ["conversation_start_date=null"], isc.GptOss()),
        ("gpt-oss", ["conversation-start-date=2025-08-05"], isc.GptOss(conversation_start_date="2025-08-05")),
        ("gpt-oss", ["model_identity="], isc.GptOss(model_identity="")),
        ("gpt-oss", ["model_identity=[a], b"], isc.GptOss(model_identity="[a], b")),
        ("llama-3", ["builtin_tools="], isc.Llama3()),
        ("llama-3", ["builtin_tools=[]"], isc.Llama3(builtin_tools=())),
        ("llama-3", ['custom_tools=[{"name": "f"}]'], isc.Llama3(custom_tools=({"name": "f"},))),
        ("kimi-k2.5", ["preserve_thinking=true", "variant=k2.6"], isc.KimiK25(True, True, "k2.6")),
    ],
)
def test_every_option_can_be_given_as_a_word(family: str, options: list[str], value: isc.Family) -> None:
    assert choose(family, None, options)[0].family == value


@pytest.fixture
def finetune(tmp_path: Path) -> Path:
    """A model with a template of its own that reads `shout` and `words`."""
    template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
        "{{ '!' if shout is defined and shout }}{{ ' ' + (words | join('+')) if words }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    place = tmp_path / "finetune"
    place.mkdir()
    (place / "tokenizer.json").write_text(qwen3_file(), encoding="utf-8")
    (place / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}', encoding="utf-8")
    (place / "chat_template.jinja").write_text(template, encoding="utf-8")
    return place


@pytest.mark.filterwarnings("ignore::isc.TracedTemplateNotice")
@pytest.mark.parametrize(
    ("option", "options"),
    [
        ("shout=true", {"shout": True}),
        ("shout=False", {"shout": False}),
        ("shout=", {"shout": None}),
        ('words=["a", "b"]', {"words": ["a", "b"]}),
        ("words=ab", {"words": "ab"}),
    ],
)
def test_options_of_a_model_s_own_template_are_honoured(
    finetune: Path, option: str, options: dict[str, Any], output: Callable[..., str], root: Path
) -> None:
    renderer = choose(None, str(finetune), [option])[0]
    assert renderer.family == isc.load(finetune, **options).family
    assert renderer.family.template_arguments() == options
    shown = output("show", root / "examples/chat.json", "--model", finetune, "--option", option)
    assert described(renderer.family) in shown.replace("\n", " ")
    assert '"status":"fail"' not in output(
        "check", finetune, "--option", option, "--without-tools", "--built-in-count", "2", "--json"
    )


@pytest.mark.filterwarnings("default::isc.TracedTemplateNotice")
@pytest.mark.parametrize("command", ["show {chat} --model {model}", "build {chat} -o {new} --model {model}"])
def test_that_a_template_is_traced_is_told_once_in_a_line(
    command: str, finetune: Path, tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"chat": root / "examples/conversations.jsonl", "model": finetune, "new": tmp_path / "out.jsonl"}
    main(command.format_map(places).split())
    told = [line for line in capsys.readouterr().err.splitlines() if "traced" in line]
    assert told == [
        f"isc: {finetune} is of no known family: its own chat template is used, traced (isc check judges it)"
    ]


@pytest.mark.filterwarnings("ignore::isc.TracedTemplateNotice")
@pytest.mark.parametrize("command", [["show", "{chat}", "--model"], ["render", "{chat}", "--model"], ["check"]])
def test_an_option_that_a_template_never_reads_is_refused(
    command: list[str], finetune: Path, error: Callable[..., str], root: Path
) -> None:
    chat = str(root / "examples/chat.json")
    arguments = [word.format(chat=chat) for word in command]
    found = error(*arguments, str(finetune), "--option", "shuot=true")
    assert "this template: there is no option 'shuot', only shout, words; did you mean 'shout'?" in found
    with pytest.raises(isc.OptionError, match="did you mean 'shout'"):
        isc.load(finetune, shuot=True)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["show", "{chat}"], "pass --family with one of"),
        (["show", "{chat}", "--family", "gpt"], "family='gpt': no family has this name; did you mean gpt-oss?"),
        (["show", "{chat}", "--family", "qwen3-8b"], "did you mean qwen3"),
        (["show", "{chat}", "--family", "./my-model"], "a directory or a hub id is given as the model"),
        (["show", "{chat}", "--family", "qwen3", "--option", "thinking=1"], "variant; did you mean 'enable_thinking'?"),
        (["show", "{chat}", "--family", "qwen3", "--option", "variant=x"], "variant='x' is none of 'hybrid'"),
        (["show", "{chat}", "--model", "/nowhere"], "/nowhere is not a directory"),
        (["show", "{chat}", "--model", "{examples}s"], "examples?"),
        (["show", "{chat}", "--model", "{examples}"], "'{examples}', which has no chat template"),
        (["show", "/nowhere/chat.json", "--family", "qwen3"], "/nowhere/chat.json: No such file"),
        (["show", "{examples}", "--family", "qwen3"], "Is a directory"),
        (["show", "{examples}/README.md", "--family", "qwen3"], "README.md: not JSON"),
        (["show", "{examples}/conversations.jsonl", "--line", "99", "--family", "qwen3"], "no conversation on line 99"),
        (["show", "{bad}", "--family", "qwen3"], "bad.json: messages[0].role: must be one of"),
        (["show", "{chat}", "--tools", "{chat}", "--family", "qwen3"], "chat.json: tools are a list"),
        (["show", "{chat}", "--ides", "--family", "qwen3"], "--ides"),
        (["show", "--ides"], "There is no option --ides"),
        (["show"], "FILE"),
        (["shwo"], "Did you mean"),
        (["--hlep"], "There is no option --hlep; did you mean --help? (isc --help)"),
        (["show", "{chat}", "--famly=qwen3"], "There is no option --famly; did you mean --family? (isc show --help)"),
        (["build", "--famly", "qwen3", "{chat}", "-o", "{new}"], "no option --famly; did you mean --family?"),
        (["render", "--family", "qwen3"], "name a file"),
        (["render", "/nowhere", "--family", "qwen3", "-o", "{new}"], "/nowhere: No such file"),
        (["render", "{chat}", "--family", "qwen3", "-o", "{chat}"], "exists already"),
        (["build", "{chat}", "-o", "{new}.txt", "--loss", "assistant", "--family", "qwen3"], "zst or .parquet"),
        (["build", "{chat}", "-o", "{new}.jsonl", "--loss", "tools", "--family", "qwen3"], "mean 'tool-bodies'?"),
        (["build", "-o", "{new}.jsonl", "--loss", "assistant", "--family", "qwen3"], "name a file"),
        (["build", "{examples}", "-o", "{new}.jsonl", "--loss", "assistant", "--family", "qwen3"], "name its files"),
        (["build", "{new}/*.json", "-o", "{new}.jsonl", "--loss", "assistant", "--family", "qwen3"], "no file has"),
        (["build", "{chat}", "-o", "{new}.jsonl", "--columns", "label", "--family", "qwen3"], 'mean "labels"?'),
        (["build", "{chat}", "-o", "{new}.jsonl", "--format", "sharegtp", "--family", "qwen3"], 'mean "sharegpt"?'),
        (["build", "{chat}", "-o", "{new}.jsonl", "--turns", "each", "--loss", "all", "--family", "qwen3"], "loss all"),
        (["build", "{chat}", "-o", "{new}.jsonl", "--loss", "assistant", "--workers", "0"], ">= 1"),
        (["build", "/nowhere", "-o", "{new}.jsonl", "--loss", "assistant", "--family", "qwen3"], "No such file"),
    ],
)  # fmt: skip
def test_an_error_is_one_line_that_says_what_to_do(
    root: Path, tmp_path: Path, arguments: list[str], problem: str, error: Callable[..., str]
) -> None:
    bad = written(tmp_path / "bad.json", {"role": "robot", "content": "hi"})
    places = {"chat": root / "examples/chat.json", "examples": root / "examples", "bad": bad, "new": tmp_path / "new"}
    assert problem.format_map(places) in error(*(argument.format_map(places) for argument in arguments))
    assert [path.name for path in tmp_path.iterdir()] == ["bad.json"]


def test_rendered_tokens_come_one_a_line(
    root: Path, capsysbinary: pytest.CaptureFixture[bytes], small: isc.Renderer
) -> None:
    chat, lines = root / "examples/chat.json", root / "examples/conversations.jsonl"
    assert main(["render", str(chat), str(lines), "--family", "qwen3", "--generation-prompt"]) == Exit.OK
    captured = capsysbinary.readouterr()
    given = [json.loads(chat.read_text()), *map(json.loads, lines.read_text().splitlines())]
    found = [msgspec.json.decode(line, type=isc.RenderedTokens) for line in captured.out.splitlines()]
    assert found == [small.render(item["messages"], item.get("tools"), True) for item in given]
    assert b"embedded vocabulary" in captured.err


def test_what_cannot_be_rendered_is_named_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "new" / "out.jsonl"
    source.write_text('[{"role": "user", "content": "hi"}]\n{"messages"\n[{"role": "robot"}]\n')
    assert main(["render", str(source), "-o", str(target), "--family", "qwen3"]) == Exit.REJECTED
    errors = capsys.readouterr().err
    assert f"{source}:2: not JSON" in errors
    assert f"{source}:3: messages[0].role" in errors
    assert len(target.read_text().splitlines()) == 1
    source.write_text("x\n")
    assert main(["render", str(source), "-o", str(target), "--family", "qwen3", "--overwrite"]) == Exit.FAILED
    assert [path.name for path in target.parent.iterdir()] == ["out.jsonl"]


def test_families_are_listed_with_options_and_models(output: Callable[..., str]) -> None:
    text = output("families")
    assert max(map(cell_len, text.splitlines())) <= 80
    assert set(isc.list_families()) == {entry.name for entry in entries()}
    listed = {entry["name"]: entry for entry in json.loads(output("families", "--json"))}
    assert set(listed) == set(isc.list_families())
    assert {"name": "enable_thinking", "values": "true | false", "default": True} in listed["qwen3"]["options"]
    assert listed["qwen3"]["models"]["Qwen/Qwen3-4B-Thinking-2507"] == {"variant": "thinking_2507"}
    for entry in listed.values():
        assert all(model in text for model in entry["models"])
        assert all(option["name"] in text for option in entry["options"])
        assert not [
            option for option in entry["options"] if {"typing", "msgspec"} & set(re.split(r"\W", option["values"]))
        ]


def help_examples(*command: str) -> list[str]:
    """The examples that a command's help shows, as shell lines."""
    shown = subprocess.run(
        [sys.executable, "-m", "isc.cli", *command, "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert max(map(len, shown.splitlines())) <= 80
    lines = shown[shown.index("For example:") : shown.index("╭")].replace("\\ ", "\\").splitlines()
    joined = re.sub(r"\\\s*\n", " ", "\n".join(line.strip() for line in lines))
    return [line for line in joined.splitlines() if "isc " in line]


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS if name != "check")], ids=" ".join)
def test_the_examples_of_the_help_run(root: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    shutil.copytree(root / "examples", tmp_path / "examples")
    found = help_examples(*command)
    assert len(found) >= 2
    for example in found:
        line = re.sub(r"\bisc (?=[a-z])", f"{sys.executable} -m isc.cli ", example)
        done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (example, done.stderr)


def test_a_reader_that_leaves_gets_no_traceback(root: Path) -> None:
    more_than_a_pipe_holds = "examples/tools.json " * 20
    for command in ("show examples/tools.json --ids", f"render {more_than_a_pipe_holds}"):
        line = f"{sys.executable} -m isc.cli {command} --family qwen3 | head -c 10; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", line], cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == Exit.BROKEN_PIPE
        assert "Traceback" not in done.stderr
        assert "BrokenPipe" not in done.stderr


def test_ctrl_c_has_its_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "run", interrupted)
    assert main(["families"]) == Exit.INTERRUPTED
    assert capsys.readouterr().err == "isc: interrupted\n"


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(_: list[str]) -> int:
        raise OSError(28, "No space left on device", "out.jsonl")

    monkeypatch.setattr(commands, "run", full)
    assert main(["families"]) == Exit.FAILED
    assert capsys.readouterr().err == "isc: out.jsonl: No space left on device\n"


@pytest.mark.parametrize("missing", ["cyclopts", "rich"])
def test_without_the_extra_the_command_says_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from isc.cli import main; sys.exit(main(['families']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == Exit.FAILED
    assert done.stderr == f'isc: the command line needs {missing}: pip install "isc[cli]"\n'


def test_the_library_does_not_load_what_only_the_command_line_needs() -> None:
    code = "import sys, isc, isc.cli, isc.build; print({'rich', 'cyclopts', 'pyarrow'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_version_and_help_without_a_command(output: Callable[..., str]) -> None:
    assert output("--version").strip() == isc.__version__
    text = output()
    assert all(name in text for name in COMMANDS)
    assert "Exit codes" in text


def test_a_warning_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def warned(_: list[str]) -> int:
        warnings.warn("using `tokenizers`", UserWarning, stacklevel=1)
        return Exit.OK

    monkeypatch.setattr(commands, "run", warned)
    assert main([]) == Exit.OK
    assert capsys.readouterr().err == "isc: warning: using `tokenizers`\n"


def test_what_is_proven_is_listed_for_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["families", "--models"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    about = ["text", "ids", "attribution", "sampled", "bridge", "calls", "reasoning", "images"]
    assert head.split() == ["model", "family", *about]
    assert [line.split()[0] for line in lines] == sorted(models())
    (row,) = [line for line in lines if line.startswith("Qwen/Qwen3-8B ")]
    words = ["qwen3", "template", "own ids", "laws, traced", "laws, traced", "tool cycle", "inverse", "inverse", "none"]
    assert re.split(r"  +", row)[1:] == words
    assert main(["families", "--models", "--json"]) == 0
    assert {row["model"] for row in json.loads(capsys.readouterr().out)} == set(models())
