"""The page of tokens in a real browser, at two widths: what it says of every token, its keys, its size, its colours."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import isc
from browser.driving import press, wait
from isc import viewer

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

Opened = Callable[..., "Chrome"]

HOSTILE = (
    "</script><script>document.title='forged'</script><img src=x onerror=\"document.title='forged'\"> \u202e\u200b\x1b"
)
TOKENS = """
return [...document.querySelectorAll(".chunk .t")].map((token) => [
  token.at, token.classList.contains("b"), token.classList.contains("l"), token.closest(".message").dataset.role,
  token.textContent, token.closest(".message").querySelector("h2").textContent,
]);
"""
CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")


def example(root: Path, small: isc.Renderer) -> isc.TrainingSample:
    given = json.loads((root / "examples" / "tools.json").read_text())
    return isc.build_training_sample(small, given["messages"], given["tools"])


def episode(small: isc.Renderer, turns: int = 3) -> isc.rollout.Episode:
    """An episode of short turns, each token less likely than the one before."""
    (said,) = small.encoder.encode_batch(["I look at the é file."])
    ids = [*said, small.get_stop_token_ids()[0]]
    rollout = isc.rollout.Rollout.start(small, [{"role": "user", "content": HOSTILE}])
    for _ in range(turns):
        rollout = rollout.after_completion(ids, [-0.4 * place for place in range(len(ids))])
        rollout = rollout.after_messages([{"role": "tool", "name": "read", "content": "a\tb \u202e\n" * 3}])
    return rollout.finish()


@cache
def long_render(tokens: int) -> isc.RenderedTokens:
    """Many messages of lines of words, put together without being encoded."""
    encoder = isc.encoders.embedded(isc.Qwen3().specials)
    (line,) = encoder.encode_batch(["All of these words are a line of some length.\n"])
    message = tuple(line) * 25
    count = tokens // len(message) + 1
    runs = tuple(isc.Run(len(message), place, True) for place in range(count))
    roles = ("user", "assistant") * (count // 2 + 1)
    return isc.RenderedTokens(message * count, runs, roles[:count], (None,) * count)


def test_every_token_is_there_once_with_its_owner_its_part_and_its_training(
    root: Path, small: isc.Renderer, opened: Opened
) -> None:
    sample = example(root, small)
    rendered = sample.rendered
    shown = opened(viewer.html(sample)).execute_script(TOKENS)
    roles = [rendered.message_roles[owner] if owner >= 0 else "nobody" for owner in rendered.message_indices]
    assert [token[:4] for token in shown] == [
        [at, *columns] for at, columns in enumerate(zip(rendered.is_content, sample.loss_mask, roles, strict=True))
    ]
    for at, *_, text, heading in shown[:700]:
        said = small.encoder.decode_bytes(rendered.token_ids[at : at + 1])
        if said.isascii():
            assert text == said.decode(), at
        assert heading.startswith(str(rendered.message_indices[at]).replace("-1", "–")), at


def test_what_a_conversation_says_stays_text(small: isc.Renderer, opened: Opened) -> None:
    chromium = opened(viewer.html(episode(small), title=HOSTILE, subtitle=HOSTILE))
    assert chromium.execute_script("return [document.images.length, document.scripts.length]") == [0, 2]
    assert chromium.title != "forged"
    text = chromium.execute_script("return document.getElementById('main').textContent")
    assert "<img src=x" in text.replace("|", "")
    assert not set(text) & set("\u202e\u200b\x1b")
    assert "U+001B" in text
    assert "AE=⟨U+202E⟩" in text


def test_pointing_at_a_token_tells_what_is_known_of_it(small: isc.Renderer, opened: Opened) -> None:
    from selenium.webdriver import ActionChains

    shown = episode(small)
    chromium = opened(viewer.html(shown))
    at = next(place for place, logprob in enumerate(shown.logprobs) if logprob == -0.8)
    chromium.execute_script("viewer.show(2)")
    token = chromium.execute_script(
        f"return [...document.querySelectorAll('.chunk .t')].find((token) => token.at === {at})"
    )
    ActionChains(chromium).move_to_element(token).perform()
    wait(chromium, "!document.getElementById('card').hidden")
    facts = dict(chromium.execute_script(FACTS))
    token_id = shown.token_ids[at]
    assert facts["token"] == str(at)
    assert facts["id"] == str(token_id)
    assert bytes.fromhex(facts["bytes"]) == small.encoder.decode_bytes((token_id,))
    assert facts["owner"] == "message 1, assistant"
    assert facts["part"].startswith("body, sampled")
    assert facts["trained on"] == "yes"
    assert facts["log-prob"] == "-0.8000 (44.9 %)"
    card = chromium.execute_script("return document.getElementById('card').getBoundingClientRect().toJSON()")
    size = chromium.execute_script("return [innerWidth, innerHeight]")
    assert card["left"] >= 0
    assert card["right"] <= size[0]
    assert card["bottom"] <= size[1]


def test_keys_walk_messages_and_tokens(root: Path, small: isc.Renderer, opened: Opened) -> None:
    from selenium.webdriver.common.keys import Keys

    sample = example(root, small)
    chromium = opened(viewer.html(sample))
    current = "return document.querySelector('.message.current')?.at"
    press(chromium, "j", "j", "j")
    wait(chromium, "viewer.going === 0")
    assert chromium.execute_script(current) == 2
    top = chromium.execute_script("return document.querySelector('.message.current').getBoundingClientRect().top")
    assert 0 <= top < 150
    press(chromium, "k")
    assert chromium.execute_script(current) == 1
    press(chromium, Keys.ARROW_RIGHT)
    first = sample.rendered.message_token_spans()[1][0][0]
    held = "const on = document.querySelector('.t.on'); return [on.at, document.activeElement === on]"
    assert chromium.execute_script(held) == [first, True]
    press(chromium, Keys.ARROW_LEFT)
    assert chromium.execute_script(held) == [first - 1, True]
    described = "return document.getElementById(document.activeElement.getAttribute('aria-describedby')).textContent"
    assert f"id{sample.token_ids[first - 1]}" in chromium.execute_script(described)
    press(chromium, Keys.ESCAPE)
    assert chromium.execute_script("return document.querySelector('.t.on')") is None


def test_scaffold_can_be_hidden_and_white_space_shown(root: Path, small: isc.Renderer, opened: Opened) -> None:
    chromium = opened(viewer.html(example(root, small)))
    visible = """
    return [...document.querySelectorAll(".message:nth-of-type(2) .t")].filter((t) => t.getClientRects().length)
      .map((t) => t.classList.contains("b"))
    """
    chromium.execute_script("viewer.show(1)")
    assert set(chromium.execute_script(visible)) == {True, False}
    press(chromium, "s")
    assert set(chromium.execute_script(visible)) == {True}
    assert chromium.execute_script("return document.getElementById('scaffold').ariaPressed") == "false"
    press(chromium, "s")
    assert set(chromium.execute_script(visible)) == {True, False}
    text = chromium.execute_script("return document.querySelector('.message').textContent")
    press(chromium, "w")
    wait(chromium, "document.documentElement.dataset.ready")
    assert chromium.execute_script("return document.querySelectorAll('.sp').length") > 100
    assert chromium.execute_script("return document.querySelector('.message').textContent") == text


def test_colours_are_offered_where_something_is_known(small: isc.Renderer, opened: Opened) -> None:
    chromium = opened(viewer.html(episode(small)))
    offered = "return [...document.querySelectorAll('#colour input')].map((input) => input.value)"
    assert chromium.execute_script(offered) == ["role", "trained", "logprob"]
    press(chromium, "c", "c")
    assert chromium.execute_script("return document.documentElement.dataset.colour") == "logprob"
    colours = """
    return [...document.querySelectorAll('.chunk .like')].slice(0, 9).map((t) => getComputedStyle(t).backgroundColor)
    """
    assert len(set(chromium.execute_script(colours))) >= 4
    chromium = opened(viewer.html(small.render([{"role": "user", "content": "hi"}])))
    assert chromium.execute_script(offered) == ["role"]
    assert not chromium.find_element("id", "colour").is_displayed()


def test_parts_are_told_where_a_render_was_asked_for_them(root: Path, small: isc.Renderer, opened: Opened) -> None:
    given = json.loads((root / "examples" / "tools.json").read_text())
    rendered = small.render(given["messages"], given["tools"], parts=True)
    chromium = opened(viewer.html(rendered))
    parts = [run.part or "" for run in rendered.runs for _ in range(run.length)]
    assert {"content", "tool_name", "tool_arguments"} <= set(parts)
    assert chromium.execute_script(PARTS) == parts
    chromium.execute_script("setColour('part')")
    checked, failures = chromium.execute_script(CONTRAST)
    assert checked > 100
    assert failures == []
    legend = chromium.execute_script("return document.getElementById('legend').textContent")
    assert all(part.replace("_", " ") in legend for part in parts)
    at = parts.index("tool_name")
    chromium.execute_script(f"viewer.hold([...document.querySelectorAll('.chunk .t')].find((t) => t.at === {at}))")
    assert dict(chromium.execute_script(FACTS))["part"] == "body, sampled: tool name"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_text_can_be_read_in_both_themes(small: isc.Renderer, opened: Opened, theme: str) -> None:
    chromium = opened(viewer.html(episode(small), title="Episode"), theme)
    ground = "return getComputedStyle(document.body).backgroundColor"
    before = chromium.execute_script(ground)
    for colour in ("role", "trained", "logprob"):
        chromium.execute_script(f"setColour('{colour}')")
        checked, failures = chromium.execute_script(CONTRAST)
        assert checked > 100
        assert failures == [], colour
    other = "dark" if theme == "light" else "light"
    chromium.execute_script(f"setTheme('{other}')")
    assert chromium.execute_script(ground) != before
    assert chromium.execute_script(CONTRAST)[1] == []
    chromium.execute_script("setTheme('auto')")
    assert chromium.execute_script(ground) == before


def test_no_page_is_wider_than_its_window(root: Path, small: isc.Renderer, opened: Opened) -> None:
    chromium = opened(viewer.html(example(root, small), title="a" * 300, subtitle="b " * 200))
    sizes = chromium.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert sizes[0] <= sizes[1]


def test_a_hundred_thousand_tokens_scroll(small: isc.Renderer, opened: Opened) -> None:
    rendered = long_render(100_000)
    chromium = opened(viewer.html(rendered, small))
    last = len(rendered.message_roles) - 1
    counts = "return [document.querySelectorAll('.chunk .t').length, document.querySelectorAll('.message').length]"
    assert chromium.execute_script(counts) == [len(rendered), last + 1]
    chromium.execute_script(f"viewer.show({last})")
    wait(chromium, "viewer.going === 0", 5)
    assert chromium.execute_script("return document.querySelector('.message.current').at") == last
    assert 1 <= chromium.execute_script(LAID_OUT) <= 60
    place: list[float] = chromium.execute_script(
        "const box = document.querySelector('.message.current').getBoundingClientRect(); return [box.top, innerHeight]"
    )
    assert 0 <= place[0] < place[1]
    frames: list[Any] = chromium.execute_async_script(SCROLL)
    assert max(frames) < 1000, "no frame of scrolling takes a second, on a busy machine either"


PARTS = """
return [...document.querySelectorAll(".chunk .t")].map((token) =>
  ([...token.classList].find((name) => name.startsWith("part-")) ?? "part-").slice(5));
"""
FACTS = """
return [...document.querySelectorAll("#card dt")].map((name) => [name.textContent, name.nextSibling.textContent]);
"""
LAID_OUT = """
return [...document.querySelectorAll(".chunk *:first-child")].filter((first) =>
  first.checkVisibility({ contentVisibilityAuto: true })).length;
"""
SCROLL = """
const done = arguments[0];
const frames = [];
let last = performance.now();
function step() {
  const now = performance.now();
  frames.push(now - last);
  last = now;
  if (frames.length === 30) return done(frames);
  scrollTo(0, Math.random() * document.documentElement.scrollHeight);
  requestAnimationFrame(step);
}
requestAnimationFrame(step);
"""


def test_what_a_screen_reader_meets_has_names(small: isc.Renderer, opened: Opened) -> None:
    chromium = opened(viewer.html(episode(small)))
    unnamed = """
    return [...document.querySelectorAll("button, a, input, section, nav, main, [role]")].filter((element) =>
      element.getClientRects().length && element.computedName === "" && element.tagName !== "MAIN" &&
      !element.textContent.trim()).map((element) => element.outerHTML.slice(0, 80));
    """
    assert chromium.execute_script(unnamed) == []
    headings = chromium.execute_script("return [...document.querySelectorAll('h1, h2')].map((h) => h.tagName)")
    assert headings.count("H1") == 1
    press(chromium, "?")
    assert chromium.find_element("id", "keys").is_displayed()
    chromium.find_element("css selector", "#keys button").click()
    assert not chromium.find_element("id", "keys").is_displayed()
