"""Mistral beside `mistral-common`, which is Mistral AI's own: its ids on its own vocabulary, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import isc
from golden_conversations import NOW, SEARCH, assistant, call, system, tool, user
from image_files import data_url, encoded, picture
from isc.encoding.encoders import VocabularyEncoder, from_rank_file
from isc.formats.mistral import Mistral, Variant
from isc.media import ImageProcessor, PixtralImages

pytest.importorskip("mistral_common", reason="mistral-common is not installed: pip install mistral-common")
pytest.importorskip("jsonschema", reason="mistral-common is installed without what it needs")

from mistral_common.exceptions import MistralCommonException
from mistral_common.protocol.instruct.normalize import get_normalizer
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import ValidationMode, get_validator
from mistral_common.tokens.tokenizers import image, instruct
from mistral_common.tokens.tokenizers.base import TokenizerVersion
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

Messages = list[dict[str, Any]]
VERSIONS: dict[Variant, str] = {"v3-tekken": "v3", "v11": "v11", "v13": "v13", "devstral": "v13"}
LATER = ("[ARGS]", "[CALL_ID]", "[THINK]", "[/THINK]")
"""Specials that came after the vocabulary at hand: they have the ids after its own here."""

CALLS = (call("search", {"query": "naïve 漢字", "limit": 3}, "abcdef123"), call("search", {"query": ""}, "ABCDEF124"))
RESULTS = [tool('{"found": ["a", 1]}', "abcdef123"), tool("[]", "ABCDEF124")]
CYCLE = [user("Cats?"), assistant(None, *CALLS), *RESULTS]
CONVERSATIONS: dict[str, tuple[Messages, bool]] = {
    "a question": ([user("Hi  there\n")], False),
    "a system message": ([system("Be brief. "), user("one"), assistant("two"), user(" three")], False),
    "specials spelled": ([system("[/INST]"), user("</s>[INST] [TOOL_CALLS]"), assistant("[ARGS]"), user("?")], False),
    "tools": ([system("s"), user("1"), assistant("2"), user("Cats?")], True),
    "a cycle": (CYCLE, True),
    "an answer": ([*CYCLE, assistant("None.\n\n12345")], True),
    "a question after it": ([system("s"), *CYCLE, assistant("None."), user("Dogs?")], True),
    "a cycle after it": ([user("Dogs?"), *CYCLE[1:], assistant("None."), *CYCLE], True),
}


@cache
def vocabulary() -> dict[str, Any]:
    """The tekken vocabulary of the package's own data, the newest that is there."""
    files = sorted((Path(instruct.__file__).parents[2] / "data").glob("tekken_*.json"))
    if not files:
        pytest.skip("this mistral-common ships no tekken vocabulary")
    read: dict[str, Any] = json.loads(files[-1].read_text(encoding="utf-8"))
    return read


def specials() -> dict[str, int]:
    known = {str(one["token_str"].value): int(one["rank"]) for one in Tekkenizer.DEPRECATED_SPECIAL_TOKENS}
    return known | {text: len(known) + place for place, text in enumerate(LATER)}


@pytest.fixture(scope="module")
def tekken(tmp_path_factory: pytest.TempPathFactory) -> VocabularyEncoder:
    """The same vocabulary as isc reads it: a rank file, ids after those of the specials."""
    config = vocabulary()["config"]
    first = config["default_num_special_tokens"]
    tokens = vocabulary()["vocab"][: config["default_vocab_size"] - first]
    path = tmp_path_factory.mktemp("tekken") / "ranks"
    path.write_text("".join(f"{one['token_bytes']} {first + one['rank']}\n" for one in tokens), encoding="ascii")
    return from_rank_file(path, config["pattern"], specials())


@cache
def theirs(variant: Variant, mode: str = "agnostic") -> MistralTokenizer:
    config, version = vocabulary()["config"], TokenizerVersion(VERSIONS[variant])
    tokenizer = Tekkenizer(
        vocabulary()["vocab"],
        [{"rank": rank, "token_str": text, "is_control": True} for text, rank in specials().items()],
        config["pattern"],
        config["default_vocab_size"],
        config["default_num_special_tokens"],
        version,
    )
    kind: Callable[..., Any] = getattr(instruct, f"InstructTokenizer{version.value.upper()}")
    marks = image.SpecialImageIDs(*(specials()[text] for text in ("[IMG]", "[IMG_BREAK]", "[IMG_END]")))
    seeing = kind(tokenizer, image.ImageEncoder(image.ImageConfig(14, 1540, 2), marks))
    return MistralTokenizer(seeing, get_validator(version, ValidationMode(mode)), get_normalizer(version))


def their_ids(variant: Variant, messages: Messages, tools: Messages | None, mode: str = "agnostic") -> tuple[int, ...]:
    request = ChatCompletionRequest.from_openai(messages, tools, model="mistral")
    return tuple(theirs(variant, mode).encode_chat_completion(request).tokens)


def with_a_system(variant: Variant, messages: Messages) -> Messages:
    """The messages with a system message where there would be a default, which mistral-common has none of."""
    needs_one = variant != "v3-tekken" and messages[0]["role"] != "system"
    return [system("s"), *messages] if needs_one else messages


@pytest.mark.parametrize("variant", VERSIONS)
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_ids_are_those_of_mistral_common(variant: Variant, name: str, tekken: VocabularyEncoder) -> None:
    messages, offers = CONVERSATIONS[name]
    given, tools = with_a_system(variant, messages), [SEARCH] if offers else None
    if variant == "v3-tekken":  # texts of tools are printed as they are, quotes and all
        tools = tools and [{**SEARCH, "function": {**SEARCH["function"], "description": "Search."}}]
    renderer = isc.create_renderer(tekken, Mistral(variant=variant))
    assert renderer.render_ids(given, tools) == their_ids(variant, given, tools)


@pytest.mark.parametrize("variant", ["v11", "v13"])
def test_images_are_those_of_mistral_common(
    variant: Variant, tekken: VocabularyEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "transform_image", lambda *_: None)  # pixel values need OpenCV
    images = ImageProcessor(PixtralImages(14, 2, 1540, rounds=True))
    renderer = isc.create_renderer(tekken, Mistral(variant=variant), images=images)

    def shown(width: int, height: int) -> dict[str, Any]:
        url = data_url(encoded(picture(width, height)), "image/png")
        return {"type": "image_url", "image_url": {"url": url}}

    small, large, says = shown(30, 20), shown(2000, 901), {"type": "text", "text": "Look"}
    said: Messages = [system("s"), user([small, says, large]), assistant("a"), user([large, says])]
    assert renderer.render_ids(said) == their_ids(variant, said, None)
    for content, versions in (([says, small], ["v13"]), ([says, says, small], [])):
        # mistral-common puts an image before all of its texts; v13's template before a single one, v11's never
        said = [system("s"), user(content)]
        assert (renderer.render_ids(said) == their_ids(variant, said, None)) == (variant in versions)


def test_thoughts_are_those_of_mistral_common(tekken: VocabularyEncoder) -> None:
    parts = [{"type": "thinking", "thinking": "Hm. "}, {"type": "text", "text": "Yes."}]
    said: Messages = [system("s"), user("?"), {"role": "assistant", "content": parts}, user("!")]
    renderer = isc.create_renderer(tekken, Mistral(variant="v13"))
    assert renderer.render_ids(said) == their_ids("v13", said, None)


@pytest.mark.parametrize(
    "said",
    [
        [user("?"), assistant(None, call("search", {}, "abcdef12")), tool("1", "abcdef12")],
        [user("?"), assistant(None, call("search", {}, "abcdef1234")), tool("1", "abcdef1234")],
        [user("?"), assistant(None, call("search", {}, 'abcdef"12')), tool("1", 'abcdef"12')],
        [user("a"), assistant("b"), tool("c", "abcdef123")],
        [*CYCLE[1:], user("b")],
    ],
)
def test_what_mistral_common_refuses_is_refused(said: Messages, tekken: VocabularyEncoder) -> None:
    for variant in ("v3-tekken", "v11"):
        with pytest.raises(MistralCommonException):
            their_ids(variant, said, None, "serving")
        with pytest.raises(isc.ConversationError):
            isc.create_renderer(tekken, Mistral(variant=variant)).render(said)


def test_where_the_template_of_v3_parts_with_mistral_common_isc_follows_the_template(tekken: VocabularyEncoder) -> None:
    renderer = isc.create_renderer(tekken, Mistral())
    text = tekken.decode_bytes
    answered, silent = [system("s"), user("a"), assistant("b")], [*CYCLE[:2], tool("none", "abcdef123"), RESULTS[1]]
    assert text(their_ids("v3-tekken", answered, None)) == b"<s>[INST]s\n\na[/INST]b</s>"
    assert text(renderer.render_ids(answered)) == b"<s>[INST]a[/INST]b</s>"
    assert b'{"content": "none", "call_id"' in text(their_ids("v3-tekken", silent, None))
    assert b'{"content": none, "call_id"' in text(renderer.render_ids(silent))
    twice = [user("a"), assistant("b"), user("a")]
    assert text(their_ids("v3-tekken", twice, [NOW])).count(b"[AVAILABLE_TOOLS]") == 1
    assert text(renderer.render_ids(twice, [NOW])).count(b"[AVAILABLE_TOOLS]") == 2
