"""Loading from the hub, for real: a loopback server, the hub's own client, a process of its own for each situation."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import isc
from hub_client import CHAT, Call, Outcome, outcomes
from isc.encoding.encoders import from_tokenizer_json
from loopback_hub import BROKEN, GATED, Hub, Model, serve
from tokenizer_files import qwen3_file

KNOWN = "Qwen/Qwen3-8B"
VISION = "Qwen/Qwen3-VL-8B-Instruct"
SECONDS = 3.0


TEMPLATE = b"{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def _file(name: str, content: bytes | str) -> Model:
    return Model({"main": {name: content if isinstance(content, bytes) else content.encode()}})


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    good = qwen3_file()
    later = qwen3_file("<|later|>").replace("<|im_end|>", "<|im_stop|>").replace("<|later|>", "<|im_end|>")
    models = {
        KNOWN: Model({"main": {"tokenizer.json": good.encode()}, "v2": {"tokenizer.json": later.encode()}}),
        VISION: Model({"main": {"tokenizer.json": qwen3_file(*isc.Qwen3VL().specials[-4:]).encode()}}),
        "someone/untold": _file("tokenizer.json", good),
        "someone/empty": _file("README.md", "nothing else"),
        "someone/gated": Model(refused=GATED),
        "someone/broken": Model(refused=BROKEN),
        "someone/cut": Model({"main": {"tokenizer.json": good.encode()}}, cut=True),
        "someone/corrupt": _file("tokenizer.json", good[:5000]),
        "someone/corrupt-configuration": _file("tokenizer_config.json", "{"),
        "someone/ranks": Model({"main": {"tiktoken.model": b"IQ== 0\n", "tokenizer_config.json": b"{}"}}),
        "someone/other": Model({"main": {"chat_template.jinja": TEMPLATE, "tokenizer.json": good.encode()}}),
    }
    with serve(models) as found:
        yield found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub")


def _environment(endpoint: str, home: Path, **more: str) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "TRANSFORMERS"))
    }
    return kept | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"} | more


def _run(calls: Mapping[str, Call], environment: Mapping[str, str]) -> dict[str, Outcome]:
    return dict(zip(calls, outcomes(list(calls.values()), environment), strict=True))


def _given(name: str) -> Call:
    return Call(f"someone/{name}", "qwen3")


@pytest.fixture(scope="module")
def online(hub: Hub, home: Path) -> dict[str, Outcome]:
    """Every load that the hub can answer, with an empty cache at first."""
    calls = {
        "known": Call(KNOWN),
        "vision": Call(VISION),
        "revision": Call(KNOWN, revision="v2"),
        "no revision": Call(KNOWN, revision="v3"),
        "untold": Call("someone/untold"),
        "other": Call("someone/other"),
        "nothing untold": Call("someone/nothing"),
        "gated untold": Call("someone/gated"),
        "corrupt configuration": Call("someone/corrupt-configuration"),
        **{name: _given(name) for name in ("nothing", "empty", "gated", "broken", "cut", "corrupt", "ranks")},
        "no name": Call("not a hub id", "qwen3"),
    }
    return _run(calls, _environment(hub.endpoint, home))


@pytest.fixture(scope="module")
def offline(online: dict[str, Outcome], hub: Hub, home: Path) -> dict[str, Outcome]:
    """The same cache under `HF_HUB_OFFLINE`."""
    calls = {"known": Call(KNOWN), "revision": Call(KNOWN, revision="v2"), "empty": _given("empty")}
    calls |= {"ranks": _given("ranks"), "vision": Call(VISION)}
    calls |= {"never seen": Call("Qwen/Qwen3-4B"), "untold": Call("someone/never-seen")}
    return _run(calls, _environment(hub.endpoint, home, HF_HUB_OFFLINE="1"))


@pytest.fixture(scope="module")
def unreachable(online: dict[str, Outcome], home: Path) -> dict[str, Outcome]:
    """The same cache, and nobody listening at the hub's address."""
    calls = {"known": Call(KNOWN), "never seen": Call("Qwen/Qwen3-4B"), "untold": Call("someone/never-seen")}
    return _run(calls, _environment("http://127.0.0.1:9", home))


def _expected(document: str) -> tuple[int, ...]:
    return isc.create_renderer(from_tokenizer_json(document), isc.Qwen3()).render_ids(CHAT)


def test_a_known_model_is_loaded_from_the_hub(online: dict[str, Outcome]) -> None:
    assert online["known"].error == ""
    assert online["known"].token_ids == _expected(qwen3_file())


def test_the_revision_that_was_asked_for_is_loaded(online: dict[str, Outcome]) -> None:
    assert online["revision"].error == ""
    assert len(online["revision"].token_ids) == len(online["known"].token_ids)
    assert online["revision"].token_ids != online["known"].token_ids


def test_nothing_but_the_tokenizer_is_fetched_of_a_known_model(online: dict[str, Outcome], hub: Hub) -> None:
    names = {request.rsplit("/", 1)[1] for request in hub.requests if f"/{KNOWN}/" in request}
    assert names == {"tokenizer.json"}


def test_a_renderer_from_the_hub_pickles_by_its_name(online: dict[str, Outcome]) -> None:
    assert online["known"].pickled_bytes < 2000
    assert online["known"].same_unpickled


def test_a_revision_survives_pickling(online: dict[str, Outcome]) -> None:
    assert online["revision"].pickled_bytes < 2000
    assert online["revision"].same_unpickled


REFUSED = {
    "nothing": ["tokenizer.json", "someone/nothing", "no such repository"],
    "nothing untold": ["someone/nothing", "no such repository"],
    "empty": ["tokenizer.json", "someone/empty", "has no"],
    "gated": ["tokenizer.json", "someone/gated", "gated"],
    "gated untold": ["someone/gated", "gated"],
    "broken": ["tokenizer.json", "someone/broken", "500"],
    "cut": ["tokenizer.json", "someone/cut", "could not be fetched"],
    "no revision": ["tokenizer.json", f"{KNOWN} at v3", "no such revision"],
    "no name": ["tokenizer.json", "not a hub id"],
    "ranks": ["tiktoken.model of someone/ranks", "no rank file that isc knows"],
    "corrupt configuration": ["tokenizer_config.json", "someone/corrupt-configuration", "not JSON"],
}


@pytest.mark.parametrize("situation", REFUSED)
def test_what_cannot_be_fetched_is_a_load_error_that_names_file_and_repository(
    situation: str, online: dict[str, Outcome]
) -> None:
    found = online[situation]
    assert found.error == "LoadError", found.message
    assert all(part in found.message for part in REFUSED[situation]), found.message
    assert found.message.count("\n") <= 2


def test_a_corrupt_tokenizer_is_an_encoder_error_that_names_file_and_repository(online: dict[str, Outcome]) -> None:
    found = online["corrupt"]
    assert found.error == "EncoderError"
    assert "tokenizer.json of someone/corrupt" in found.message
    assert "not a tokenizer.json" in found.message


def test_a_model_without_a_template_is_an_unknown_model(online: dict[str, Outcome]) -> None:
    found = online["untold"]
    assert found.error == "UnknownModelError"
    assert "isc.load('someone/untold', family=...)" in found.message


def test_a_model_whose_template_is_unknown_is_loaded_by_it(online: dict[str, Outcome]) -> None:
    assert online["other"].error == ""


def test_every_failure_but_a_cut_transfer_comes_within_seconds(online: dict[str, Outcome]) -> None:
    slow = {name: found.seconds for name, found in online.items() if found.seconds > SECONDS}
    assert slow.keys() <= {"cut"}


def test_a_transfer_that_is_always_cut_is_given_up(online: dict[str, Outcome]) -> None:
    assert online["cut"].seconds < 10  # the hub's client tries six times, a second apart


def test_a_cut_transfer_leaves_nothing_behind(online: dict[str, Outcome], hub: Hub, home: Path) -> None:
    assert online["cut"].error == "LoadError"
    hub.models["someone/cut"].cut = False
    (again,) = outcomes([_given("cut")], _environment(hub.endpoint, home))
    assert again.token_ids == online["known"].token_ids


def test_offline_a_cached_model_loads(online: dict[str, Outcome], offline: dict[str, Outcome]) -> None:
    assert offline["known"].token_ids == online["known"].token_ids


def test_offline_texts_of_a_model_with_images_need_no_settings_of_these(
    online: dict[str, Outcome], offline: dict[str, Outcome]
) -> None:
    assert offline["vision"].token_ids == online["vision"].token_ids != ()


def test_offline_a_cached_revision_loads(online: dict[str, Outcome], offline: dict[str, Outcome]) -> None:
    assert offline["revision"].token_ids == online["revision"].token_ids


def test_offline_a_cached_rank_file_is_found(offline: dict[str, Outcome]) -> None:
    assert "tiktoken.model of someone/ranks: no rank file that isc knows" in offline["ranks"].message


@pytest.mark.parametrize("situation", ["empty", "never seen", "untold"])
def test_offline_what_is_not_cached_is_a_load_error_that_says_so(situation: str, offline: dict[str, Outcome]) -> None:
    found = offline[situation]
    assert found.error == "LoadError"
    assert "not in the local cache" in found.message
    assert "HF_HUB_OFFLINE" in found.message
    assert found.seconds < SECONDS


def test_a_cached_model_loads_where_the_hub_is_unreachable(
    online: dict[str, Outcome], unreachable: dict[str, Outcome]
) -> None:
    assert unreachable["known"].token_ids == online["known"].token_ids
    assert unreachable["known"].seconds < SECONDS


@pytest.mark.parametrize("situation", ["never seen", "untold"])
def test_an_unreachable_hub_is_a_load_error_within_seconds(situation: str, unreachable: dict[str, Outcome]) -> None:
    found = unreachable[situation]
    assert found.error == "LoadError"
    assert "not in the local cache and could not be fetched" in found.message
    assert found.seconds < SECONDS
