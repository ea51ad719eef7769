"""Where a model's chat templates stand, held to what transformers reads from the same directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from isc._sources import Source, _meant, templates_of
from loopback_hub import Model, serve
from tokenizer_files import qwen3_file, transformers_tokenizer

LAYOUTS: dict[str, dict[str, object]] = {
    "a file": {"chat_template.jinja": "A"},
    "the configuration": {"tokenizer_config.json": {"chat_template": "A"}},
    "a list in the configuration": {
        "tokenizer_config.json": {
            "chat_template": [{"name": "default", "template": "A"}, {"name": "tool_use", "template": "B"}]
        }
    },
    "a file over the configuration": {"chat_template.jinja": "A", "tokenizer_config.json": {"chat_template": "C"}},
    "more files": {
        "chat_template.jinja": "A",
        "additional_chat_templates/tool_use.jinja": "B",
        "additional_chat_templates/rag.jinja": "C",
        "additional_chat_templates/notes.txt": "D",
    },
    "more files alone": {"additional_chat_templates/tool_use.jinja": "B"},
    "none": {},
}


def written(directory: Path, layout: Mapping[str, object]) -> Path:
    for name, content in {"tokenizer_config.json": {}, **layout}.items():
        place = directory / name
        place.parent.mkdir(parents=True, exist_ok=True)
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", **content} if isinstance(content, dict) else None
        place.write_text(json.dumps(settings) if settings else str(content))
    (directory / "tokenizer.json").write_text(qwen3_file())
    return directory


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_directory_s_templates_are_those_that_transformers_reads(layout: str, tmp_path: Path) -> None:
    directory = written(tmp_path / "model", LAYOUTS[layout])
    tokenizer = type(transformers_tokenizer(qwen3_file())).from_pretrained(directory)
    assert Source(str(directory)).chat_templates() == templates_of(tokenizer.chat_template)


def test_the_template_of_a_processor_is_the_last_resort(tmp_path: Path) -> None:
    directory = written(tmp_path / "model", {"chat_template.json": {"chat_template": "P"}})
    assert Source(str(directory)).chat_templates() == {"default": "P"}
    written(directory, {"tokenizer_config.json": {"chat_template": "A"}})
    assert Source(str(directory)).chat_template() == "A"


def test_one_template_of_another_name_is_the_one_that_is_used(tmp_path: Path) -> None:
    assert Source(str(written(tmp_path / "one", LAYOUTS["more files alone"]))).chat_template() == "B"
    two = {"additional_chat_templates/tool_use.jinja": "B", "additional_chat_templates/rag.jinja": "C"}
    assert Source(str(written(tmp_path / "two", two))).chat_template() is None


def test_a_repository_s_templates_are_found(tmp_path: Path) -> None:
    files = {
        "tokenizer_config.json": b"{}",
        "chat_template.jinja": b"A",
        "additional_chat_templates/tool_use.jinja": b"B",
    }
    with serve({"someone/named": Model({"main": files})}) as hub:
        found = hub_templates(hub.endpoint, tmp_path)
        assert found == {"default": "A", "tool_use": "B"}
    assert hub_templates(hub.endpoint, tmp_path) == found, "the hub is gone, what was fetched is there"


def hub_templates(endpoint: str, home: Path) -> object:
    """The templates of someone/named, read by a process of its own: the hub's client reads its settings at import."""
    code = "import json; from isc._sources import Source; print(json.dumps(Source('someone/named').chat_templates()))"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment = kept | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("given", "proposed"),
    [("Qwen/Qwen3-8B", ""), ("Qwen/Qwen3-8b", "; did you mean Qwen/Qwen3-8B?"), ("some/thing", "")],
)
def test_what_was_given_is_not_what_was_meant(given: str, proposed: str) -> None:
    """A known model that can only not be fetched is not proposed in its own place."""
    assert _meant(given) == proposed
