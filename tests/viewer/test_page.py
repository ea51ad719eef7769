"""The page as text: nothing of a conversation is markup, the policy fits the page, and the data says what isc says."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import isc
from image_files import data_url, encoded, picture
from isc import viewer

HOSTILE = (
    "</script><script>alert(1)</script><!-- <script> --> & \u2028\u2029\u202e\u200b\x00\x1b é🌅 <|im_end|> $data ]]>"
)


class Elements(HTMLParser):
    """The elements of a page, and what stands in its scripts and its style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.inside: dict[str, str] = {}
        self.policy = ""
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        assert not any(name.startswith("on") or name in ("src", "style") for name in given)
        assert tag != "a" or (given.get("href") or "").startswith("#")
        if tag == "meta" and given.get("http-equiv"):
            self.policy = given["content"] or ""
        self._open = {"style": "style", "title": "title"}.get(tag, "")
        if tag == "script":
            self._open = given.get("id") or "script"

    def handle_data(self, data: str) -> None:
        if self._open:
            self.inside[self._open] = self.inside.get(self._open, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._open = ""


def shown_data(page: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(Elements(page).inside["data"])
    return data


@pytest.fixture(scope="module")
def hostile(small: isc.Renderer) -> viewer.Page:
    messages = [
        {"role": "user", "content": HOSTILE},
        {"role": "assistant", "content": HOSTILE},
        {"role": "tool", "content": HOSTILE, "name": "<b>x</b>"},
    ]
    return viewer.html(isc.build_training_sample(small, messages), title=HOSTILE, subtitle=HOSTILE)


def test_a_hostile_conversation_adds_no_element(hostile: viewer.Page, small: isc.Renderer) -> None:
    tame = viewer.html(small.render([{"role": "user", "content": "hi"}]))
    assert Elements(hostile).tags == Elements(tame).tags
    assert hostile.count("</script") == 2
    assert "<script>alert" not in hostile


def test_nothing_invisible_of_a_conversation_stands_in_the_page(hostile: viewer.Page) -> None:
    data = Elements(hostile).inside["data"]
    assert data.isascii()
    assert not set(data) & set("<>&")
    assert not set("\u2028\u2029\u202e\u200b\x00\x1b") & set(hostile)


def test_the_policy_allows_the_style_and_the_script_of_the_page_and_nothing_else(hostile: viewer.Page) -> None:
    elements = Elements(hostile)
    rules = dict(rule.split(" ", 1) for rule in elements.policy.split("; "))
    assert rules.pop("default-src") == "'none'"
    for name, inside in (("style-src", "style"), ("script-src", "script")):
        digest = base64.b64encode(hashlib.sha256(elements.inside[inside].encode()).digest()).decode()
        assert rules.pop(name) == f"'sha256-{digest}'"
    assert set(rules.values()) == {"'none'"}


def test_no_address_of_any_other_place_stands_in_the_page(hostile: viewer.Page) -> None:
    assert re.findall(r"(?:https?:)?//[\w.]+\.\w+|@import|url\(", hostile) == []


def test_the_data_says_what_the_sample_says(small: isc.Renderer) -> None:
    sample = isc.build_training_sample(
        small, [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "é"}]
    )
    data = shown_data(viewer.html(sample))
    (sequence,) = data["sequences"]
    assert sequence["ids"] == list(sample.token_ids)
    assert [run[:3] for run in sequence["runs"]] == [
        [run.length, run.message, run.body] for run in sample.rendered.runs
    ]
    assert sequence["trained"] == [list(span) for span in sample.loss_spans]
    assert sequence["messages"] == [["user", None], ["assistant", None]]
    text = "".join(data["texts"][str(token_id)] for token_id in sample.token_ids)
    assert text.encode("utf-8", "surrogateescape") == small.encoder.decode_bytes(sample.token_ids)
    assert data["specials"] == sorted(set(sample.token_ids) & set(small.encoder.specials.values()))


@given(st.text(max_size=40))
def test_any_text_comes_back_from_the_page(text: str) -> None:
    renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
    try:
        rendered = renderer.render([{"role": "user", "content": text}])
    except isc.errors.ConversationError:
        assert any("\ud800" <= character <= "\udfff" for character in text)
        return
    data = shown_data(viewer.html(rendered, title=f"t{text}"))
    shown = "".join(data["texts"][str(token_id)] for token_id in rendered.token_ids)
    assert shown.encode("utf-8", "surrogateescape") == renderer.encoder.decode_bytes(rendered.token_ids)
    assert data["title"] == f"t{text}"


def test_a_value_of_a_file_is_shown_by_its_ids_or_with_a_renderer(small: isc.Renderer) -> None:
    rendered = small.render([{"role": "user", "content": "hi"}])
    read = isc.RenderedTokens(rendered.token_ids, rendered.runs, rendered.message_roles, rendered.message_tool_names)
    assert shown_data(viewer.html(read))["texts"] == {}
    assert viewer.html(read, small) == viewer.html(read, small.encoder) == viewer.html(rendered)


def test_a_notebook_shows_the_page_in_a_frame_without_access_to_the_notebook(hostile: viewer.Page) -> None:
    frame = hostile._repr_html_()
    parsed = HTMLFrame(frame)
    assert parsed.page == hostile
    assert parsed.sandbox == "allow-scripts"


class HTMLFrame(HTMLParser):
    """The frame of a page in a notebook."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.page = self.sandbox = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag == "iframe"
        self.page, self.sandbox = given["srcdoc"] or "", given["sandbox"] or ""
        assert unescape(self.page) is not None


def test_images_are_shown_in_place_of_their_tokens(vision: isc.Renderer) -> None:
    image = {"type": "image_url", "image_url": {"url": data_url(encoded(picture(64, 64)), "image/png")}}
    rendered = vision.render([{"role": "user", "content": [image, {"type": "text", "text": "what?"}]}])
    assert rendered.multi_modal_data is not None
    (place,) = rendered.multi_modal_data.placeholders["image"]
    (sequence,) = shown_data(viewer.html(rendered))["sequences"]
    assert sequence["media"][str(place.offset)][0] == place.length
    assert sequence["media"][str(place.offset)][1].startswith("image 1 ")
