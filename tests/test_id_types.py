"""Ids in every type that holds ids, and errors for what holds none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import isc
from arrays import HAS_TORCH, tensor, tensors
from isc.conversation.rollout import Rollout

USER = {"role": "user", "content": "time?"}
RESULT = {"role": "tool", "content": "12:00"}
KINDS: dict[str, Callable[[list[int]], Any]] = {
    "list": list,
    "tuple": tuple,
    "numpy int64": np.array,
    "numpy int32": lambda ids: np.array(ids, dtype=np.int32),
    "list of numpy": lambda ids: list(np.array(ids)),
    "tuple of numpy": lambda ids: tuple(np.array(ids)),
    "range-like": lambda ids: (token_id for token_id in ids),
}
if HAS_TORCH:
    KINDS |= {"torch": tensor, "list of torch": lambda ids: list(tensor(ids))}
USES: dict[str, Callable[[isc.Renderer, Any, Any], object]] = {
    "bridge": lambda renderer, prompt, said: renderer.bridge_to_next_turn(prompt, said, [RESULT]),
    "plan": lambda renderer, prompt, said: renderer.plan_bridge(prompt, said, [RESULT]),
    "parse": lambda renderer, prompt, said: renderer.parse_response(said, None, prompt),
    "extend": lambda renderer, _, said: renderer.extend(renderer.render([USER], None, True), said, [RESULT]),
    "extend to the end": lambda renderer, _, said: renderer.extend(renderer.render([USER], None, True), said),
    "append": lambda renderer, _, said: renderer.append(said, [RESULT], sampled_from=1),
    "rollout": lambda renderer, _, said: (
        Rollout.start(renderer, [USER]).after_completion(said).after_messages([RESULT]).after_completion([5]).finish()
    ),
    "unfold": lambda renderer, _, said: isc.unfold(said, renderer.encoder).segments,
    "decode": lambda renderer, _, said: renderer.encoder.decode_bytes(said),
    "columns": lambda _, __, said: isc.RenderedTokens.from_columns(
        said if hasattr(said, "__len__") else list(said), [0] * 3, [True] * 3, ["user"]
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use", USES)
def test_ids_of_every_type_are_the_same_ids(small: isc.Renderer, use: str, kind: str) -> None:
    prompt = list(small.render_ids([USER], None, True))
    said = [*small.render_ids([USER])[:2], small.get_stop_token_ids()[0]]
    expected = USES[use](small, tuple(prompt), tuple(said))
    found = USES[use](small, KINDS[kind](prompt), KINDS[kind](said))
    assert found == expected
    if isinstance(found, isc.RenderedTokens):
        assert {type(token_id) for token_id in found.token_ids} == {int}


@pytest.mark.parametrize("wrong", ["abc", b"abc", 5, None, [1.5], ["a"], [[1, 2]], {1: 2}, {1, 2}, np.array([[1]])])
@pytest.mark.parametrize("use", sorted(USES.keys() - {"columns"}))
def test_what_holds_no_ids_is_refused_by_name(small: isc.Renderer, use: str, wrong: Any) -> None:  # noqa: ANN401
    with pytest.raises(isc.OptionError, match=r"(ids|\]) must be a (sequence of token ids|token id)"):
        USES[use](small, (1,), wrong)


def test_log_probabilities_are_arrays_too(small: isc.Renderer) -> None:
    start = Rollout.start(small, [USER])
    expected = start.after_completion([5, 6], [-1.5, -0.5])
    for given in (np.array([-1.5, -0.5]), *tensors([-1.5, -0.5])):
        assert start.after_completion([5, 6], given) == expected


def test_isc_imports_neither_numpy_nor_torch() -> None:
    code = (
        "import sys, isc; r = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), 'qwen3');"
        "r.parse_response([1, 2]); print([name for name in ('numpy', 'torch') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
