"""What an agent sends becomes the next prompt: extended where it is one of ours, else rendered with a reason."""

from __future__ import annotations

from typing import Any

import pytest

import isc
from gateway_sessions import CALL, KIMI, QWEN, SEARCH, ids_of, last, user, with_turn
from isc.gateway import Difference, Session, samples, step

ASKED = [user("Find cats")]


def shown(session: Session) -> dict[str, Any]:
    """The last answer as an agent keeps it: without the reasoning."""
    answer = last(session).shown
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in answer.tool_calls
    ]
    return {"role": "assistant", "content": answer.content, **({"tool_calls": calls} if calls else {})}


def result(session: Session, content: str = "[]") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": last(session).call_ids[0], "content": content}


def test_what_was_sampled_is_extended_as_it_was_sampled() -> None:
    odd = CALL.replace('"limit": 3}', '"limit":3.0 }')
    session = with_turn(Session("a"), ASKED, f"<think>Cats.</think>I look.{odd}<|im_end|>")
    following = step(session, QWEN, [*ASKED, shown(session), result(session)], SEARCH)
    assert following.origin.continued == "extended"
    assert following.prompt.token_ids[: len(session.sequence(0))] == session.sequence(0)
    added = QWEN.encoder.decode_bytes(following.tail.token_ids).decode()
    assert added == "\n<|im_start|>user\n<tool_response>\n[]\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    assert following.prompt.message_roles == ("user", "assistant", "tool")


def test_a_prompt_is_put_together_from_what_turns_add() -> None:
    session = with_turn(Session("a"), ASKED, CALL + "<|im_end|>")
    history = [*ASKED, shown(session), result(session)]
    prompts = [step(Session("a"), QWEN, ASKED, SEARCH).prompt, step(session, QWEN, history, SEARCH).prompt]
    session = with_turn(session, history, "Found.<|im_end|>")
    assert [session.prompt(0), session.prompt(1)] == prompts
    assert session.turns[1].base == 0
    assert session.path(1) == (
        *session.path(0),
        isc.ToolMessage("[]", tool_call_id=last_id(session)),
        last(session).said,
    )


def last_id(session: Session) -> str:
    return session.turns[0].call_ids[0]


@pytest.mark.parametrize(
    "text", ["<tool_call>\n{oops\n</tool_call><|im_end|>", '<tool_call>\n{"name": 1', "<tool_call>"]
)
def test_a_malformed_call_is_shown_as_text_and_comes_back_as_the_same_ids(text: str) -> None:
    session = with_turn(Session("a"), ASKED, "Look." + text)
    assert "<tool_call>" in str(last(session).shown.content)
    following = step(session, QWEN, [*ASKED, shown(session), user("Again")], SEARCH)
    assert following.origin.continued == "extended"
    ids = ids_of(QWEN, "Look." + text)
    assert following.prompt.token_ids[len(session.prompt(0)) :][: len(ids)] == ids


def test_the_model_sees_its_own_ids_of_calls() -> None:
    own = "functions.search:0"
    call = f"<|tool_call_begin|>{own}<|tool_call_argument_begin|>{{}}<|tool_call_end|>"
    text = f"<|tool_calls_section_begin|>{call}<|tool_calls_section_end|><|im_end|>"
    session = with_turn(Session("a"), ASKED, text, renderer=KIMI)
    assert last(session).said.tool_calls[0].id == own
    assert last(session).shown.tool_calls[0].id == last(session).call_ids[0] != own
    following = step(session, KIMI, [*ASKED, shown(session), result(session)], SEARCH)
    assert following.origin.continued == "extended"
    assert own in KIMI.encoder.decode_bytes(following.tail.token_ids).decode()
    assert last(session).call_ids[0] not in KIMI.encoder.decode_bytes(following.prompt.token_ids).decode()


def test_an_edit_is_a_branch_with_its_reason_and_the_first_difference() -> None:
    session = with_turn(Session("a"), ASKED, f"<think>Cats.</think>{CALL}<|im_end|>")
    asked = [*ASKED, shown(session), result(session, "two cats")]
    session = with_turn(session, asked, "Two.<|im_end|>")
    edited = [*asked[:2], result_of(session, "no cats"), {"role": "assistant", "content": "Two."}, user("Sure?")]
    prompted = step(session, QWEN, edited, SEARCH)
    assert (prompted.origin.continued, prompted.origin.reason) == ("rendered", "other_history")
    assert prompted.origin.difference == Difference("messages[2].content", "two cats", "no cats")
    assert prompted.parent == 0
    # as far as it is ours it is rendered with what the agent dropped
    text = QWEN.encoder.decode_bytes(prompted.prompt.token_ids).decode()
    assert "Two." in text
    assert prompted.prompt == QWEN.render(
        [*session.path(0), isc.ToolMessage("no cats", tool_call_id=last_id(session)), *edited[3:]], SEARCH, True
    )


def result_of(session: Session, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": last_id(session), "content": content}


def test_what_the_format_does_not_keep_is_rendered_anew() -> None:
    hybrid = isc.Renderer(isc.Qwen3(), QWEN.encoder)
    session = with_turn(Session("a"), ASKED, "<think>Cats.</think>Yes.<|im_end|>", renderer=hybrid)
    prompted = step(session, hybrid, [*ASKED, shown(session), user("Sure?")], SEARCH)
    assert (prompted.origin.reason, prompted.parent, prompted.base) == ("retention", 0, None)
    assert prompted.origin.difference is None


def test_a_history_without_anything_new_is_rendered() -> None:
    session = with_turn(Session("a"), ASKED, "Yes.<|im_end|>")
    prompted = step(session, QWEN, [*ASKED, shown(session)], SEARCH)
    assert prompted.origin.reason == "no_new_messages"
    tree = with_turn(session, [*ASKED, shown(session)], "And more.<|im_end|>")
    again = [*ASKED, shown(session), {"role": "assistant", "content": "And more."}, user("?")]
    assert step(tree, QWEN, again, SEARCH).origin.continued == "extended"


def test_asked_twice_a_session_branches() -> None:
    session = with_turn(Session("a"), ASKED, "One.<|im_end|>")
    session = with_turn(session, ASKED, "Two.<|im_end|>")
    assert session.turns[0].tail == session.turns[1].tail
    first, second = samples(session)
    assert (first.branch, second.branch) == (0, 1)
    assert first.token_ids != second.token_ids


def test_a_turn_can_be_named_instead_of_told() -> None:
    session = with_turn(Session("a"), ASKED, f"<think>Cats.</think>{CALL}<|im_end|>")
    named = step(session, QWEN, [result(session)], SEARCH, after=0)
    told = step(session, QWEN, [*ASKED, shown(session), result(session)], SEARCH)
    assert named == told


def test_a_named_turn_has_its_instructions_and_tools_or_is_another() -> None:
    system = {"role": "system", "content": "Be brief."}
    session = with_turn(Session("a"), [system, *ASKED], f"<think>Cats.</think>{CALL}<|im_end|>")
    plain = step(session, QWEN, [result(session)], SEARCH, after=0)
    same = step(session, QWEN, [{**system, "content": " Be brief."}, result(session)], SEARCH, after=0)
    assert (same, same.origin.continued) == (plain, "extended")
    other = step(session, QWEN, [{**system, "content": "Be long."}, result(session)], SEARCH, after=0)
    assert (other.origin.reason, other.parent) == ("other_conversation", None)
    text = QWEN.encoder.decode_bytes(other.prompt.token_ids)
    assert b"Be long." in text
    assert b"Be brief." not in text
    assert other.prompt.message_roles == ("system", "user", "assistant", "tool")
    without = step(session, QWEN, [result(session)], None, after=0)
    assert without.origin.reason == "other_conversation"
    assert "tools" in without.origin.detail
    assert b"<tools>" not in QWEN.encoder.decode_bytes(without.prompt.token_ids)
    added = step(with_turn(Session("b"), ASKED, "One.<|im_end|>"), QWEN, [system, user("?")], SEARCH, after=0)
    assert added.prompt.message_roles == ("system", "user", "assistant", "user")


def test_a_message_is_left_open_for_the_model() -> None:
    begun = [*ASKED, {"role": "assistant", "content": "There are"}]
    prompted = step(Session("a"), QWEN, begun, SEARCH, continues=True)
    assert QWEN.encoder.decode_bytes(prompted.prompt.token_ids).decode().endswith("</think>\n\nThere are")
    session = with_turn(Session("a"), begun, " two.<|im_end|>", continues=True)
    assert last(session).said.content == "There are two."
    whole = [*ASKED, {"role": "assistant", "content": "There are two."}, user("Sure?")]
    following = step(session, QWEN, whole, SEARCH)
    assert following.origin.continued == "extended"
    assert following.prompt.message_roles == ("user", "assistant", "user")


def test_an_error_names_the_message_of_the_whole_conversation() -> None:
    session = with_turn(Session("a"), ASKED, "Yes.<|im_end|>")
    lost = {"role": "tool", "tool_call_id": "x", "content": "1"}
    with pytest.raises(isc.ConversationError, match=r"messages\[2\]"):
        step(session, QWEN, [*ASKED, shown(session), lost], SEARCH)


def test_who_speaks_after_a_torn_call_that_was_shown_as_text_is_answered() -> None:
    """Mistral takes no user after a call, and an agent that saw text cannot know of one."""
    renderer = isc.Renderer(isc.Mistral(), isc.encoders.embedded(isc.Mistral().specials))
    hello = [user("Find cats")]
    torn = '[TOOL_CALLS][{"name": "search", "arguments": {"q'
    session = with_turn(Session("a"), hello, torn, renderer=renderer)
    shown = session.turns[0].shown.content
    following = step(session, renderer, [*hello, {"role": "assistant", "content": shown}, user("Go on")], SEARCH)
    assert (following.origin.continued, following.origin.reason) == ("rendered", "as_shown")
    wrong = [*hello, {"role": "assistant", "content": shown}, {"role": "system", "content": "x"}, user("y")]
    with pytest.raises(isc.ConversationError, match=r"messages\[2\]"):
        step(session, renderer, wrong, SEARCH)
