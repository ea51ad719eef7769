"""`isc.compat` on its own: values, conversions, renderers. Beside `renderers` itself it is tested in tests/peers."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import isc
from isc import compat
from isc.compat import FamilyRenderer, RenderedTokens, ToolCallParseStatus
from isc.errors import AttributionError, ConversationError, OptionError, TrajectoryError

CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What time is it?"},
    {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "now", "arguments": {}}, "id": "a"}]},
    {"role": "tool", "content": "12:00", "tool_call_id": "a"},
    {"role": "assistant", "content": "Noon."},
]


@pytest.fixture(scope="module")
def renderer(small: isc.Renderer) -> FamilyRenderer:
    return FamilyRenderer.of(small)


def test_columns_are_those_of_isc(renderer: FamilyRenderer, small: isc.Renderer) -> None:
    ours, expected = renderer.render(CHAT), small.render(CHAT)
    for name in ("token_ids", "message_indices", "sampled_mask", "is_content", "message_roles", "message_tool_names"):
        assert getattr(ours, name) == list(getattr(expected, name))
    assert ours.to_isc() == expected


def test_columns_are_lists_of_the_value_alone(renderer: FamilyRenderer) -> None:
    ours = renderer.render(CHAT)
    part = ours.token_ids[2:5]
    part.append(7)
    ours.token_ids.append(7)
    assert len(ours.token_ids) == len(renderer.render_ids(CHAT)) + 1


def test_methods_count_what_isc_counts(renderer: FamilyRenderer, small: isc.Renderer) -> None:
    ours, expected = renderer.render(CHAT), small.render(CHAT)
    assert tuple(ours.tokens_per_message()) == expected.tokens_per_message()
    assert tuple(ours.tokens_per_message(sampled_only=True)) == expected.tokens_per_message(sampled_only=True)
    assert ours.tokens_by_role() == expected.tokens_by_role()
    assert ours.message_token_spans() == [spans[0] for spans in expected.message_token_spans()]
    assert ours.role_token_spans() == {role: [*spans] for role, spans in expected.role_token_spans().items()}
    assert ours.content_token_spans_by_role() == {
        role: [*spans] for role, spans in expected.content_token_spans_by_role().items()
    }
    assert tuple(ours.content_mask_for_roles({"tool"})) == expected.content_mask_for_roles({"tool"})


SCATTERED = RenderedTokens([5, 6, 7, 8], [0, 1, 0, -1], [], [True, True, True, False], ["user", "tool"], [None, "f"])


def test_a_message_in_pieces_has_one_outer_span() -> None:
    assert SCATTERED.message_token_spans() == [(0, 3), (1, 2)]
    assert SCATTERED.content_token_spans_by_role() == {"user": [(0, 1), (2, 3)], "tool": [(1, 2)]}


def test_content_spans_of_neighbours_do_not_cross() -> None:
    """Two messages of one role, nothing between their contents."""
    rendered = RenderedTokens([5, 6, 7], [0, 1, 1], [False] * 3, [True] * 3, ["user", "user"], [None, None])
    assert rendered.content_token_spans_by_role() == {"user": [(0, 1), (1, 3)]}


def test_counts_take_as_many_messages_as_are_asked_for_and_known() -> None:
    assert SCATTERED.tokens_per_message(1) == [2]
    assert SCATTERED.tokens_per_message(9) == [2, 1]
    assert SCATTERED.tokens_per_message(sampled_only=True) == [0, 0]


def test_values_in_part_answer_what_they_can() -> None:
    """As verifiers builds one, to ask for spans."""
    assert RenderedTokens(message_indices=[1, 1, -1], message_roles=["user", "tool"]).message_token_spans() == [
        None,
        (0, 2),
    ]
    assert RenderedTokens(message_indices=[0, 0]).message_token_spans() == [(0, 2)]
    assert RenderedTokens([1], [0]).content_mask_for_roles({"user"}) == [False]
    assert RenderedTokens([1], [0], message_roles=["user"]).content_token_spans_by_role() == {}
    assert RenderedTokens().tokens_by_role() == {}


def test_columns_that_do_not_fit_are_refused_on_the_way_to_isc() -> None:
    with pytest.raises(AttributionError, match="differ in length"):
        RenderedTokens([1, 2], [0], [], [True], ["user"]).to_isc()


def test_media_become_lists() -> None:
    data = isc.MultiModalData({"image": ("h",)}, {"image": (isc.PlaceholderRange(1, 2),)})
    rendered = isc.RenderedTokens((1, 2, 3), (isc.Run(3, 0, True),), ("user",), (None,), data)
    found = RenderedTokens.of(rendered).multi_modal_data
    assert found is not None
    assert asdict(found) == {
        "mm_hashes": {"image": ["h"]},
        "mm_placeholders": {"image": [{"offset": 1, "length": 2}]},
        "mm_items": {},
    }
    assert not found.is_empty()
    assert compat.MultiModalData().is_empty()


def ids(renderer: FamilyRenderer, text: str) -> list[int]:
    """A text as ids, its specials as such."""
    messages = [{"role": "user", "content": text}]
    rendered = renderer.renderer.render(messages, body_specials="parse")
    return [token for token, body in zip(rendered.token_ids, rendered.is_content, strict=True) if body]


TOOLS = [{"name": "now", "description": "", "parameters": {}}]
READ = {
    '{"name": "now", "arguments": {"a": [1, {"b": 2}]}}\n</tool_call>': ("now", {"a": [1, {"b": 2}]}, "ok"),
    '{"name": "other", "arguments": {}}\n</tool_call>': ("other", {}, "ok"),
    '{"name": "now", "arguments": {"a": 1}}': (None, None, "unclosed_block"),
    "{\n</tool_call>": (None, None, "invalid_json"),
    '{"arguments": {}}\n</tool_call>': (None, {}, "missing_name"),
}
"""What follows `<tool_call>`, and the name, arguments and status of the call it is read as."""


@pytest.mark.parametrize("text", READ)
def test_a_call_that_cannot_be_run_has_no_name(renderer: FamilyRenderer, text: str) -> None:
    """Verifiers runs whatever has one; a call of a tool that was not offered is the environment's to answer."""
    parsed = renderer.parse_response(ids(renderer, f"Well.\n<tool_call>\n{text}<|im_end|>"), tools=TOOLS)
    [call] = parsed.tool_calls
    assert (parsed.content, parsed.reasoning_content, parsed.reasoning_complete) == ("Well.", None, True)
    assert (call.name, call.arguments, call.status) == READ[text]
    assert isinstance(call.status, ToolCallParseStatus)
    assert call.raw == "\n" + text.removesuffix("</tool_call>")


def test_engines_drop_unknown_calls_of_glm_so_they_are_marked() -> None:
    from isc.formats.glm4_5 import Glm45

    family = Glm45()
    renderer = FamilyRenderer.of(isc.create_renderer(isc.encoders.embedded(family.specials), family))
    parsed = renderer.parse_response(ids(renderer, "<tool_call>other\n</tool_call><|observation|>"), tools=TOOLS)
    assert [(call.name, call.status) for call in parsed.tool_calls] == [("other", ToolCallParseStatus.UNKNOWN_TOOL)]


def test_a_bridge_is_lists_and_none_where_refused(renderer: FamilyRenderer) -> None:
    prompt = renderer.render_ids(CHAT[:2], add_generation_prompt=True)
    turn = ids(renderer, "<think>\nhm\n</think>\n\nok<|im_end|>")
    bridge = renderer.bridge_to_next_turn(prompt, turn, [{"role": "tool", "content": "12:00", "name": "now"}])
    assert bridge is not None
    assert bridge.token_ids[: len(prompt + turn)] == prompt + turn
    assert (bridge.message_roles, bridge.message_tool_names) == (["tool"], ["now"])
    assert renderer.bridge_to_next_turn(prompt, turn, [{"role": "user", "content": "and now?"}]) is None


def test_stops_and_stability(renderer: FamilyRenderer, small: isc.Renderer) -> None:
    assert renderer.get_stop_token_ids() == [*small.get_stop_token_ids()]
    assert renderer.is_prefix_stable is False
    assert compat.is_multimodal(renderer) is False


def test_wrong_messages_are_told(renderer: FamilyRenderer) -> None:
    with pytest.raises(ConversationError, match=r"messages\[0\].role"):
        renderer.render([{"role": "wizard", "content": ""}])


def trained(renderer: FamilyRenderer, mask: list[bool]) -> list[str]:
    """The texts that are trained on, one a message."""
    rendered = renderer.render(CHAT)
    texts = []
    for place in range(len(CHAT)):
        found = [k for k, owner in enumerate(rendered.message_indices) if owner == place and mask[k]]
        texts.append(renderer.renderer.encoder.decode_bytes([rendered.token_ids[k] for k in found]).decode())
    return texts


CALL = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call><|im_end|>'
NOON = "<think>\n\n</think>\n\nNoon.<|im_end|>"
SAMPLES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "all that is sampled": ({}, ["", "", CALL, "", NOON]),
    "the assistants that are picked": ({"role_to_mask": lambda m: m.get("content") == "Noon."}, ["", "", "", "", NOON]),
    "users sample nothing": ({"role_to_mask": lambda m: m["role"] == "user"}, [""] * 5),
    "results besides": ({"content_sft_roles": {"tool"}}, ["", "", CALL, "12:00", NOON]),
    "messages taken out": ({"message_loss_mask": [1, 1, 0, 1, True]}, ["", "", "", "", NOON]),
    "content of assistants": (
        {"content_sft_roles": {"assistant"}, "role_to_mask": lambda m: False},
        ["", "", CALL, "", NOON],
    ),
    "both restrict": (
        {
            "role_to_mask": lambda m: "tool_calls" in m,
            "message_loss_mask": [1, 1, 0, 1, 1],
            "content_sft_roles": {"tool"},
        },
        ["", "", "", "12:00", ""],
    ),
}
"""Options of a sample, and what of each message is trained on."""


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_trains_on_what_is_asked_for(renderer: FamilyRenderer, name: str) -> None:
    options, expected = SAMPLES[name]
    sample = compat.build_training_sample(renderer, CHAT, **options)
    assert sample.token_ids == renderer.render_ids(CHAT)
    assert trained(renderer, sample.loss_mask) == expected


def test_a_mask_of_the_wrong_length_is_refused(renderer: FamilyRenderer) -> None:
    for pick in (None, lambda message: True):
        with pytest.raises(OptionError, match="1 values for 5 messages"):
            compat.build_training_sample(renderer, CHAT, message_loss_mask=[1], role_to_mask=pick)


def test_a_step_is_what_was_sampled(renderer: FamilyRenderer) -> None:
    step = compat.build_trajectory_step(renderer, CHAT[:2], CHAT[2:])
    assert step["prompt_ids"] == renderer.render_ids(CHAT[:2], add_generation_prompt=True)
    assert sum(step["prompt_mask"]) == 0
    assert len(step["completion_ids"]) == len(step["completion_mask"]) > sum(step["completion_mask"]) > 0
    assert {name for name, value in step.items() if value is None} == {"routed_experts", "sampling_mask"}


def test_a_step_that_the_format_rewrites_is_refused(renderer: FamilyRenderer) -> None:
    asked_again = [*CHAT[2:], {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes."}]
    with pytest.raises(TrajectoryError):
        compat.build_trajectory_step(renderer, CHAT[:2], asked_again)


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process of its own."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def test_install_stands_in_for_renderers() -> None:
    code = """
        from isc.compat import install
        install(); install()
        import renderers, renderers.client
        from renderers import Qwen3RendererConfig, RenderedTokens, create_renderer
        from renderers.base import load_tokenizer, ToolCallParseStatus
        from renderers.configs import RendererConfig
        print(RenderedTokens.__module__, renderers.client.generate.__module__, Qwen3RendererConfig().name)
    """
    done = run(textwrap.dedent(code))
    assert done.stdout.split() == ["isc.compat.tokens", "isc.compat.client", "qwen3"], done.stderr


def test_a_file_called_renderers_can_install_it(tmp_path: Path) -> None:
    """For programs that start processes of their own: the file's directory in PYTHONPATH."""
    (tmp_path / "renderers.py").write_text("from isc.compat import install\n\ninstall()\n", encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = run("from renderers.base import RenderedTokens; print(RenderedTokens.__module__)", PYTHONPATH=path)
    assert done.stdout.strip() == "isc.compat.tokens", done.stderr


def test_install_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = ModuleType("renderers")
    imported.create_renderer = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "renderers", imported)
    with pytest.raises(OptionError, match="before whatever imports it"):
        compat.install()


@pytest.mark.parametrize("module", ["pydantic", "httpx", "openai", "transformers"])
def test_without_configurations_nothing_else_is_imported(module: str) -> None:
    code = f"import sys, isc.compat as c; c.RenderedTokens(); print({module!r} in sys.modules)"
    assert run(code).stdout.strip() == "False"


def test_a_misspelled_name_is_told() -> None:
    with pytest.raises(AttributeError, match="RendererTokens"):
        compat.RendererTokens  # type: ignore[attr-defined]  # noqa: B018
