"""RenderedTokens on disk and between processes: equal when it comes back, small, and quick."""

from __future__ import annotations

import pickle
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given

import isc
from isc import MultiModalData, PlaceholderRange, RenderedTokens, Run
from test_rendered import renders

TOKENS = 128_000
WITH_MEDIA = RenderedTokens(
    (1, 2, 3),
    (Run(1, -1, False), Run(2, 0, True)),
    ("user",),
    (None,),
    MultiModalData({"image": ("abc",)}, {"image": (PlaceholderRange(1, 2),)}),
)

FORMS: dict[str, Callable[[RenderedTokens], object]] = {
    "JSON": lambda value: msgspec.json.decode(msgspec.json.encode(value), type=RenderedTokens),
    "MessagePack": lambda value: msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=RenderedTokens),
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "builtins": lambda value: msgspec.convert(msgspec.to_builtins(value), RenderedTokens),
}


@pytest.mark.parametrize("form", FORMS)
@given(rendered=renders())
def test_what_comes_back_is_equal(form: str, rendered: RenderedTokens) -> None:
    again = FORMS[form](rendered)
    assert isinstance(again, RenderedTokens)
    assert again == rendered
    assert again.is_content == rendered.is_content


@pytest.mark.parametrize("form", FORMS)
def test_media_come_back_equal(form: str) -> None:
    assert FORMS[form](WITH_MEDIA) == WITH_MEDIA


@pytest.mark.parametrize("form", FORMS)
def test_a_value_whose_views_were_read_comes_back_equal(form: str, small: isc.Renderer) -> None:
    rendered = small.render([{"role": "user", "content": "hi"}], add_generation_prompt=True)
    assert rendered.is_content
    assert rendered.sampled_mask
    assert FORMS[form](rendered) == rendered


def test_views_are_not_written(small: isc.Renderer) -> None:
    rendered = small.render([{"role": "user", "content": "hi"}])
    before = msgspec.json.encode(rendered)
    assert rendered.message_indices
    assert msgspec.json.encode(rendered) == before


def test_json_holds_ids_and_runs_and_nothing_that_is_not_there() -> None:
    plain = RenderedTokens((5, 6), (Run(2, -1, False),))
    assert msgspec.json.encode(plain) == b'{"token_ids":[5,6],"runs":[[2,-1,false,null]]}'


@pytest.fixture(scope="module")
def long() -> RenderedTokens:
    """128,000 tokens of a large vocabulary in an agent's conversation: a run every 200 tokens."""
    source = random.Random(1)
    ids = tuple(source.randrange(1000, 152_000) for _ in range(TOKENS))
    runs = tuple(Run(200, k // 2, bool(k % 2)) for k in range(TOKENS // 200))
    messages = len(runs) // 2
    return RenderedTokens(ids, runs, ("user", "assistant") * (messages // 2), (None,) * messages)


def _milliseconds(work: Callable[[], object]) -> float:
    """The median of a few."""
    taken: list[float] = []
    for _ in range(9):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return 1000 * statistics.median(taken)


def test_128_000_tokens_are_at_most_a_megabyte_of_json(long: RenderedTokens) -> None:
    assert len(msgspec.json.encode(long)) <= 1_000_000


def test_128_000_tokens_are_written_in_milliseconds(long: RenderedTokens) -> None:
    assert _milliseconds(lambda: msgspec.json.encode(long)) < 25  # 5 on a machine of its own


def test_128_000_tokens_are_read_in_milliseconds(long: RenderedTokens) -> None:
    text = msgspec.json.encode(long)
    assert _milliseconds(lambda: msgspec.json.decode(text, type=RenderedTokens)) < 100


def test_a_token_takes_at_most_45_bytes_with_everything_that_belongs_to_it(long: RenderedTokens) -> None:
    runs = sum(map(sys.getsizeof, long.runs))
    tables = sys.getsizeof(long.runs) + sys.getsizeof(long.message_roles) + sys.getsizeof(long.message_tool_names)
    ids = sys.getsizeof(long.token_ids) + sum(map(sys.getsizeof, long.token_ids))
    assert (ids + runs + tables + sys.getsizeof(long)) / TOKENS <= 45


def test_a_rendered_token_takes_at_most_45_bytes(small: isc.Renderer) -> None:
    source = random.Random(2)
    words = ("server", "returned", "error", "while", "reading", "this", "file", "request", "was", "not", "found")
    chat = [
        {"role": role, "content": " ".join(source.choices(words, k=250))}
        for _ in range(100)
        for role in ("user", "assistant")
    ]
    small.render(chat)
    tracemalloc.start()
    try:
        rendered = small.render(chat)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(rendered) > 40_000
    assert taken / len(rendered) <= 45
