"""Values show themselves in one short line, also in tracebacks that show local variables, and as HTML in notebooks."""

from __future__ import annotations

import copy
import io
import pickle
import re
import traceback
from functools import cache
from html.parser import HTMLParser

import msgspec
import pytest
from rich.console import Console
from rich.traceback import Traceback

import isc
from isc.client.generation import Generation, Usage
from isc.rendered import Array
from isc.viewer import notebook

COUNT = 128_000
HOSTILE = "</div></style><script>alert(1)</script> \u202e \u200b <|im_end|> é🌅\tx"


@cache
def long_values() -> dict[str, object]:
    """One value of each kind, of 128,000 tokens where it can be."""
    renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
    started = isc.rollout.Rollout.start(renderer, [{"role": "user", "content": "hi"}])
    (said,) = renderer.encoder.encode_batch(["word " * COUNT])
    ids = (*said, renderer.get_stop_token_ids()[0])
    rollout = started.after_completion(ids, [-0.5] * len(ids))
    episode = rollout.finish()
    asked, answer = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "w " * 9}
    step = isc.build_trajectory_step(renderer, [asked], [answer])
    appended = renderer.append(episode.token_ids, [{"role": "tool", "content": "1"}])
    array = Array("<f4", (COUNT,), bytes(4 * COUNT))
    place = isc.PlaceholderRange(0, 9)
    media = isc.MultiModalData({"image": ("a",)}, {"image": (place,)}, {}, {"image": ({"x": array},)})
    call = isc.fold([isc.Segment("<tool_call>", "special"), isc.Segment("x" * COUNT)], renderer.encoder)
    generation = Generation(ids, ids, (-0.5,) * len(ids), "word " * COUNT, "stop", "1", Usage(1, 2))
    return {
        "renderer": renderer,
        "rendered": episode.rendered,
        "sample": isc.TrainingSample(episode.rendered, episode.loss_spans * 5000),
        "episode": episode,
        "rollout": rollout,
        "completion": rollout.completion,
        "step": step,
        "parsed": rollout.response,
        "appended": appended,
        "array": array,
        "media": media,
        "generation": generation,
        "call": renderer.parse_response(call.token_ids).tool_calls,
    }


@pytest.mark.parametrize("name", long_values())
def test_a_value_is_one_short_line_whatever_it_holds(name: str) -> None:
    text = repr(long_values()[name])
    assert "\n" not in text
    assert len(text) < 500
    assert re.search(r"(\d[\d,]*, ){20}", text) is None


def test_a_line_tells_what_matters() -> None:
    values = long_values()
    episode = values["episode"]
    assert isinstance(episode, isc.rollout.Episode)
    trained = episode.trainable_tokens
    assert repr(episode) == f"Episode(tokens={len(episode.rendered)}, trained={trained}, messages=2, rerenders=0)"
    assert repr(values["step"]).startswith("TrajectoryStep(prompt=")
    assert "prompt=" in repr(values["rollout"])
    assert "reasoning_content=None" in repr(values["parsed"])
    assert "characters" in repr(values["parsed"])
    short = isc.ParsedResponse("hi")
    assert repr(short) == "ParsedResponse(content='hi', reasoning_content=None, tool_calls=(), reasoning_complete=True)"
    renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3(), body_specials="reject")
    assert repr(renderer).endswith("body_specials='reject')")
    assert "sampling_cuts" not in repr(renderer)


def fail(value: object) -> None:
    raise LookupError


def failed(value: object) -> LookupError:
    """An error from a function that holds the value and nothing else."""
    with pytest.raises(LookupError) as caught:
        fail(value)
    trace = caught.value.__traceback__
    return caught.value.with_traceback(trace.tb_next if trace is not None else None)


@pytest.mark.parametrize("name", long_values())
def test_tracebacks_with_local_variables_stay_short(name: str) -> None:
    error = failed(long_values()[name])
    plain = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), capture_locals=True)
    screen = io.StringIO()
    trace = Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True, width=100)
    Console(file=screen, width=100).print(trace)
    assert "value = " in "".join(plain.format())
    assert len("".join(plain.format())) < 1000
    assert "value" in screen.getvalue()
    assert len(screen.getvalue()) < 6000


def test_how_values_show_themselves_is_no_part_of_them(small: isc.Renderer) -> None:
    rendered = small.render([{"role": "user", "content": "hi"}])
    assert rendered.decoder is small.encoder
    read = msgspec.json.decode(msgspec.json.encode(rendered), type=isc.RenderedTokens)
    assert read == rendered
    assert read.decoder is None
    assert hash(read) == hash(rendered)
    assert pickle.loads(pickle.dumps(rendered)) == copy.deepcopy(rendered) == rendered
    assert pickle.loads(pickle.dumps(rendered)).decoder is None
    parsed = small.parse_response(rendered.token_ids)
    assert msgspec.json.decode(msgspec.json.encode(parsed), type=isc.ParsedResponse) == parsed


def test_what_is_put_together_keeps_its_decoder(small: isc.Renderer) -> None:
    asked = [{"role": "user", "content": "hi"}]
    prompt = small.render(asked, add_generation_prompt=True)
    stop = small.get_stop_token_ids()
    extended = small.extend(prompt, (7, *stop), [{"role": "tool", "content": "1"}])
    bridged = small.bridge_to_next_turn(prompt.token_ids, (7, *stop), [{"role": "tool", "content": "1"}])
    rollout = isc.rollout.Rollout.start(small, asked).after_completion((7, *stop))
    for value in (extended, bridged, rollout.finish().rendered, prompt + isc.RenderedTokens((), ())):
        assert value is not None
        assert value.decoder is small.encoder


class Shown(HTMLParser):
    """What a notebook would show: texts by class of their element, and which elements there are."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.tokens: list[tuple[set[str], str, str]] = []
        self._token: tuple[set[str], str, str] | None = None
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        classes = set((given.get("class") or "").split())
        self._token = (classes, given.get("title") or "", "") if "t" in classes else None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._token:
            self.tokens.append((*self._token[:2], data))
            self._token = None


def test_a_notebook_shows_every_token_with_its_owner(small: isc.Renderer) -> None:
    chat = [{"role": "user", "content": HOSTILE}, {"role": "assistant", "content": HOSTILE}]
    sample = isc.build_training_sample(small, chat)
    html = sample._repr_html_()
    assert html is not None
    shown = Shown(html)
    assert shown.tags == {"div", "style", "p", "small", "span"}
    assert "script" not in shown.tags
    assert not set(html) & set("\u202e\u200b")
    assert len(shown.tokens) == len(sample.token_ids)
    assert [("b" in classes, "l" in classes) for classes, *_ in shown.tokens] == list(
        zip(sample.rendered.is_content, sample.loss_mask, strict=True)
    )
    for at, (_, title, _) in enumerate(shown.tokens):
        assert title.startswith(f"token {at}, id {sample.token_ids[at]}, {sample.rendered.message_indices[at]} ")


def test_a_notebook_shows_the_beginning_of_what_is_long() -> None:
    html = long_values()["episode"]._repr_html_()  # type: ignore[attr-defined]
    shown = Shown(html)
    assert len(shown.tokens) == notebook.MOST_TOKENS
    assert "more tokens" in shown.text
    assert len(html) < 500_000


def test_a_notebook_shows_renderers_and_what_was_parsed(small: isc.Renderer) -> None:
    table = small._repr_html_()
    assert table is not None
    assert "Qwen3(" in Shown(table).text
    assert "<|im_end|>" in Shown(table).text
    ids = isc.fold([isc.Segment("<tool_call>", "special"), isc.Segment(HOSTILE)], small.encoder).token_ids
    parsed = small.parse_response(ids)
    table = parsed._repr_html_()
    assert table is not None
    assert "call, unclosed_block" in Shown(table).text
    assert Shown(table).tags == {"div", "style", "table", "tr", "th", "td"}


def test_a_value_without_a_decoder_is_shown_by_its_ids(small: isc.Renderer) -> None:
    rendered = small.render([{"role": "user", "content": "hi"}])
    read = msgspec.json.decode(msgspec.json.encode(rendered), type=isc.RenderedTokens)
    html = read._repr_html_()
    assert html is not None
    assert [int(text) for *_, text in Shown(html).tokens] == list(rendered.token_ids)
