"""Rows of every form become the conversation they mean; what no form holds is refused with what was found."""

from __future__ import annotations

import json
from typing import Any

import pytest

import isc
from isc.build.conversations import InputError
from isc.build.forms import KEYS, Form, conversation, form_of
from isc.build.nulls import null_keys, without_nulls
from isc.build.samples import Batch, Loss, Settings, build_batch

ASKED = {"role": "user", "content": "rain?"}
CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Ulm"}}}],
}
RESULT = {"role": "tool", "content": "yes"}
SAID = {"role": "assistant", "content": "It rains."}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
CALL = '{"name": "weather", "arguments": {"city": "Ulm"}}'

SAME: list[tuple[Form, dict[str, Any], list[dict[str, Any]]]] = [
    ("messages", {"messages": [ASKED, SAID], "id": 1}, [ASKED, SAID]),
    ("messages", {"messages": json.dumps([ASKED, SAID])}, [ASKED, SAID]),
    ("prompt-completion", {"prompt": "rain?", "completion": "It rains.", "id": 1}, [ASKED, SAID]),
    ("prompt-completion", {"prompt": [ASKED, CALLED, RESULT], "completion": [SAID]}, [ASKED, CALLED, RESULT, SAID]),
    ("prompt-completion", {"prompt": [ASKED], "completion": "It rains."}, [ASKED, SAID]),
    (
        "sharegpt",
        {
            "conversations": [
                {"from": "human", "value": "rain?"},
                {"from": "function_call", "value": CALL},
                {"from": "observation", "value": "yes"},
                {"from": "gpt", "value": "It rains."},
            ]
        },
        [ASKED, CALLED, RESULT, SAID],
    ),
    (
        "sharegpt",
        {
            "system": "Be brief.",
            "conversations": [
                {"from": "user", "value": "rain?"},
                {"from": "function_call", "value": f"[{CALL}, {CALL}]"},
                {"from": "tool", "value": "yes"},
                {"from": "assistant", "value": "It rains.", "weight": 0},
            ],
        },
        [
            {"role": "system", "content": "Be brief."},
            ASKED,
            {**CALLED, "tool_calls": [*CALLED["tool_calls"], *CALLED["tool_calls"]]},  # type: ignore[misc]
            RESULT,
            {**SAID, "weight": 0},
        ],
    ),
    ("sharegpt", {"conversations": [ASKED, SAID]}, [ASKED, SAID]),
    ("alpaca", {"instruction": "rain?", "input": "", "output": "It rains."}, [ASKED, SAID]),
    ("alpaca", {"instruction": "rain?", "output": "It rains.", "input": None}, [ASKED, SAID]),
    (
        "alpaca",
        {"instruction": "Now", "input": "here", "output": "x", "system": "s", "history": [["rain?", "It rains."]]},
        [
            {"role": "system", "content": "s"},
            ASKED,
            SAID,
            {"role": "user", "content": "Now\nhere"},
            {"role": "assistant", "content": "x"},
        ],
    ),
]


@pytest.mark.parametrize(("form", "row", "messages"), SAME)
def test_a_row_is_the_conversation_it_means(form: Form, row: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    assert form_of(row) == form
    for tools in (TOOLS, json.dumps(TOOLS)):
        for given in ({**row, "tools": tools}, json.dumps({**row, "tools": tools}).encode()):
            read = conversation(given, form)
            assert read.messages == messages
            assert read.tools == TOOLS
            assert dict(read.fields) == ({"id": 1} if "id" in row else {})
    assert conversation({**row, "tools": ""}, form).tools is None


def test_only_the_completion_of_a_prompt_is_trained_on(small: isc.Renderer) -> None:
    row = {"prompt": [ASKED, SAID, ASKED], "completion": [SAID]}
    assert conversation(row, "prompt-completion").untrained == frozenset((0, 1, 2))
    batch = Batch(1, (json.dumps(row).encode(),), form="prompt-completion")
    (built,) = build_batch(small, Settings(Loss(True)), False, batch).rows.splitlines()
    labels = json.loads(built)["labels"]
    wanted = isc.build_training_sample(small, [ASKED, SAID, ASKED, SAID], message_loss_mask=[0, 0, 0, 1])
    assert labels == list(wanted.labels)
    assert wanted.trainable_tokens < isc.build_training_sample(small, [ASKED, SAID, ASKED, SAID]).trainable_tokens


@pytest.mark.parametrize(
    ("form", "row", "problem"),
    [
        ("messages", {"text": "hi"}, "a conversation is .* or a bare list of messages"),
        ("messages", {"conversations": []}, "that is the form sharegpt: pass --format sharegpt"),
        ("sharegpt", {"messages": []}, "that is the form messages: pass --format messages"),
        ("messages", {"messages": "[1"}, "not JSON"),
        ("messages", {"messages": {"role": "user"}}, "messages must be a list"),
        ("messages", {"messages": [], "tools": "{}"}, "tools must be a list"),
        ("sharegpt", {"conversations": [{"from": "robot", "value": ""}]}, r"\[0\].from must be one of human"),
        ("sharegpt", {"conversations": [{"value": ""}]}, r"conversations\[0\] must be"),
        ("sharegpt", {"conversations": [{"from": "function_call", "value": "call"}]}, r"\[0\].value: not JSON"),
        ("sharegpt", {"conversations": [{"from": "function_call", "value": "{}"}]}, r"\[0\].value must be"),
        ("sharegpt", {"system": "a", "conversations": [{"from": "system", "value": "b"}]}, "keep one of them"),
        ("prompt-completion", {"prompt": 1, "completion": ""}, "prompt must be a text or a list"),
        ("alpaca", {"instruction": "a", "output": None}, "output must be a text"),
        ("alpaca", {"instruction": "a", "output": "b", "history": ["ab"]}, r"history\[0\] must be"),
        ("alpaca", {"instruction": "a", "output": "b", "weight": 0}, "weight = 0 stands at the row"),
        ("alpaca", {"instruction": "a", "output": "b", "loss": False}, "loss = False stands at the row"),
        ("prompt-completion", {"prompt": "a", "completion": "b", "loss": [1, 0]}, r"loss = \[1, 0\]"),
        ("messages", {"messages": [ASKED], "step_loss_mask": [1, 0]}, "where no message holds it"),
    ],
)  # fmt: skip
def test_what_a_form_cannot_hold_is_refused(form: Form, row: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        conversation(row, form)


@pytest.mark.parametrize("key", ["step_loss_mask", "message_loss_mask", "weight"])
def test_a_mask_beside_the_messages_is_that_of_the_messages(small: isc.Renderer, key: str) -> None:
    row = {"messages": [ASKED, SAID, ASKED, SAID], key: [1, 0, 1, 1]}
    built = build_batch(small, Settings(Loss(True)), False, Batch(1, (json.dumps(row).encode(),)))
    wanted = isc.build_training_sample(small, row["messages"], message_loss_mask=[1, 0, 1, 1])  # type: ignore[arg-type]
    assert json.loads(built.rows)["labels"] == list(wanted.labels)
    assert sum(built.tally.flagged.values()) == 1


def test_no_form_has_the_keys_of_another() -> None:
    """Else a row would be told by the order of the table."""
    for form, keys in KEYS.items():
        assert form_of(dict.fromkeys(keys)) == form


PADDED = {"city": "Ulm", "day": None, "more": {"a": None, "b": [{"c": None}, None]}}


def test_null_keys_are_counted_and_dropped_in_arguments_and_tools_alone() -> None:
    def called(arguments: object) -> list[dict[str, Any]]:
        return [{"role": "assistant", "name": None, "tool_calls": [{"id": None, "function": {"arguments": arguments}}]}]

    tools = [
        {"name": "f", "parameters": {"enum": None, "properties": {"x": {"type": "string", "enum": None}, "y": None}}}
    ]
    read = conversation({"messages": called(PADDED), "tools": tools})
    assert null_keys(read) == {"arguments": 3, "tools": 3}
    without = without_nulls(read)
    assert without.messages == called({"city": "Ulm", "more": {"b": [{}, None]}})
    assert without.tools == [{"name": "f", "parameters": {"properties": {"x": {"type": "string"}}}}]
    assert null_keys(without) == {}
    written = conversation({"messages": called('{"day": null}')})
    assert null_keys(written) == {}, "somebody wrote that null"
    legacy = conversation({"messages": [{"role": "assistant", "function_call": {"name": "f", "arguments": PADDED}}]})
    assert without_nulls(legacy).messages[0]["function_call"]["arguments"] == {"city": "Ulm", "more": {"b": [{}, None]}}
