"""The project's pages of Markdown, their blocks of code, and a directory in which these can be run."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tokenizers import Tokenizer

from tokenizer_files import qwen3_file

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^(?P<fence>```+)(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=fence)\s*$", re.DOTALL | re.MULTILINE)
NOT_RUN = re.compile(r'title="not run here: (?P<reason>[^"]+)"')
CHATML = """\
{%- if tools %}{{ '<|im_start|>system\\n' }}
{%- for tool in tools %}{{ (tool | tojson) + '\\n' }}{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}
{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' and message.reasoning_content %}
{{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n' }}{% endif %}
{%- if message.content %}{{ message.content }}{% endif %}
{%- for call in message.tool_calls or [] %}
{{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
{%- if call.function.arguments is string %}{{ call.function.arguments }}{% else %}
{{- call.function.arguments | tojson }}{% endif %}{{ '}\\n</tool_call>' }}
{%- endfor %}{{ '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
MODELS = ("path/to/model", "Qwen/Qwen3-8B")
"""Names of models in pages: directories where the blocks run, so that they load without a network."""


@dataclass(frozen=True)
class Block:
    """A block of code in a page; `reason` says why tests do not run it, where they do not."""

    page: str
    line: int
    language: str
    reason: str | None
    code: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """Every page, by its path in the repository."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> Iterator[Block]:
    """The blocks of one language in a page, in order."""
    text = text_of(page)
    for fenced in FENCE.finditer(text):
        found, _, marks = fenced["info"].strip().partition(" ")
        if found == language:
            reason = NOT_RUN.search(marks)
            line = text.count("\n", 0, fenced.start()) + 2
            yield Block(page, line, found, reason["reason"] if reason else None, fenced["code"])


def furnish(place: Path) -> Path:
    """Put into a directory what the blocks name: the examples, and models."""
    shutil.copytree(ROOT / "examples", place / "examples")
    for name in MODELS:
        model = place / name
        model.mkdir(parents=True)
        (model / "tokenizer.json").write_text(qwen3_file(), encoding="utf-8")
        (model / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
        (model / "generation_config.json").write_text(json.dumps({"eos_token_id": _stop()}), encoding="utf-8")
    return place


def _stop() -> int:
    stop = Tokenizer.from_str(qwen3_file()).token_to_id("<|im_end|>")
    assert stop is not None
    return stop


def script(place: str) -> ModuleType:
    """A script of the project as a module, by its path."""
    name = Path(place).stem
    specification = importlib.util.spec_from_file_location(name, ROOT / place)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


def run_page(page: str) -> dict[str, Any]:
    """Run a page's Python in order, as one program; returns its names."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page, "python"):
        if block.reason is None:
            code = "\n" * (block.line - 1) + block.code
            exec(compile(code, page, "exec", dont_inherit=True), names)
    return names
