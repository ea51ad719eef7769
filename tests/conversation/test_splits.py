"""Splits: by what is said, the same everywhere, in the shares that are asked for."""

from __future__ import annotations

import hashlib
import json

import pytest

import isc

SHARES = {"train": 0.7, "val": 0.2, "test": 0.1}


def test_shares_are_what_is_asked_for() -> None:
    found = [isc.split_of([{"role": "user", "content": str(number)}], SHARES) for number in range(5000)]
    for name, share in SHARES.items():
        assert abs(found.count(name) / 5000 - share) < 0.02


def test_the_split_is_told_by_the_hash_of_what_is_said() -> None:
    """Computed once more by hand: another Python or another day has to find the same."""
    messages = [{"role": "user", "content": "hé"}, {"role": "assistant", "content": "hello"}]
    text = json.dumps(messages, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    place = int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) / 2**64
    bounds = [("train", 0.7), ("val", 0.9), ("test", 1.0)]
    assert isc.split_of(messages, SHARES) == next(name for name, bound in bounds if place < bound)


def test_order_of_keys_flags_and_keys_without_a_value_make_no_difference() -> None:
    for number in range(50):
        plain = [{"role": "assistant", "content": str(number)}]
        same = [{"weight": 0, "name": None, "content": str(number), "role": "assistant"}]
        assert isc.split_of(plain, SHARES) == isc.split_of(same, SHARES)


def test_a_split_of_share_nothing_gets_nothing() -> None:
    shares = {"none": 0.0, "all": 1.0, "last": 0.0}
    assert {isc.split_of([{"role": "user", "content": str(k)}], shares) for k in range(100)} == {"all"}


@pytest.mark.parametrize("shares", [{"train": 0.9}, {"a": 1.5, "b": -0.5}, {}])
def test_shares_that_are_none_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(isc.OptionError, match="must add up to 1"):
        isc.split_of([], shares)
