"""Gemma 4, literally: results in the model's turn, the quote token, thoughts in a channel, declarations."""

from __future__ import annotations

from typing import Any

import pytest

import isc
from golden_conversations import TOOLS, assistant, call, system, tool, user
from isc.encoding.encoders import embedded
from isc.formats.gemma4 import Gemma4, Variant
from spelled_ids import ids_of

ENCODER = embedded(Gemma4().specials)
RENDERER = isc.create_renderer(ENCODER, Gemma4())
THINKING = isc.create_renderer(ENCODER, Gemma4(enable_thinking=True))
E2B = isc.create_renderer(ENCODER, Gemma4(variant="e2b"))
INITIAL = isc.create_renderer(ENCODER, Gemma4(variant="31b-initial"))
NOW = {"name": "now", "parameters": {}}


def told(renderer: isc.Renderer, messages: list[dict[str, Any]], *, asked: bool = False) -> list[tuple[str, int, bool]]:
    """The runs of a conversation: text, owner, body."""
    runs: list[tuple[str, int, bool]] = []
    for segment in renderer.segments(messages, None, asked):
        if runs and runs[-1][1:] == (segment.message, segment.body):
            runs[-1] = (runs[-1][0] + segment.text, segment.message, segment.body)
        else:
            runs.append((segment.text, segment.message, segment.body))
    return runs


def text(renderer: isc.Renderer, messages: list[dict[str, Any]], *, asked: bool = False) -> str:
    return "".join(run[0] for run in told(renderer, messages, asked=asked))


def test_a_call_is_closed_by_what_opens_its_result() -> None:
    # {{- '<|tool_call>call:' + function['name'] + '{' -}} ... {{- '}<tool_call|>' -}}, then format_tool_response_block
    messages = [
        user(" Time? "),
        assistant("", call("now", {"zone": "UTC"}, "1")),
        tool("12:00", "1"),
        assistant("Noon."),
    ]
    assert told(RENDERER, messages) == [
        ("<bos>", -1, False),
        *(("<|turn>user\n", 0, False), ("Time?", 0, True), ("<turn|>\n", 0, False), ("<|turn>model\n", 1, False)),
        ('<|tool_call>call:now{zone:<|"|>UTC<|"|>}<tool_call|><|tool_response>', 1, True),
        *(('response:now{value:<|"|>', 2, False), ("12:00", 2, True), ('<|"|>}<tool_response|>', 2, False)),
        *(("Noon.<turn|>", 3, True), ("\n", 3, False)),
    ]


def test_what_a_calling_turn_says_stands_after_the_results_and_is_its_own() -> None:
    # {{- captured_content -}} after the results; {%- elif not (ns_tr_out.flag and not message.get("content")) -%}
    messages = [
        user("?"),
        assistant(" Looking. ", call("now", {}, "1"), call("now", {}, "2")),
        tool("a", "1"),
        tool("b", "2"),
    ]
    assert told(RENDERER, messages)[4:] == [
        ("<|turn>model\n", 1, False),
        ("<|tool_call>call:now{}<tool_call|><|tool_call>call:now{}<tool_call|><|tool_response>", 1, True),
        *(('response:now{value:<|"|>', 2, False), ("a", 2, True), ('<|"|>}<tool_response|>', 2, False)),
        *(('<|tool_response>response:now{value:<|"|>', 3, False), ("b", 3, True), ('<|"|>}<tool_response|>', 3, False)),
        *(("Looking.<turn|>", 1, True), ("\n", 1, False)),
    ]
    assert text(RENDERER, messages[:2]).endswith("<tool_call|>Looking.<|tool_response>")


@pytest.mark.parametrize(("variant", "closed"), [("31b", True), ("31b-2026-05", False), ("e2b", True)])
def test_a_calling_turn_that_says_white_space_is_closed_or_not(variant: Variant, closed: bool) -> None:
    # message.get('content') of "31b" and "e2b"; has_content = captured_content | trim | length > 0 of 2026-05
    renderer = isc.create_renderer(ENCODER, Gemma4(variant=variant))
    messages = [user("?"), assistant(" ", call("now", {}, "1")), tool("a", "1")]
    assert text(renderer, messages).endswith("<tool_response|><turn|>\n" if closed else "<tool_response|>")


def test_the_empty_thought_of_the_prompt_is_not_in_history() -> None:
    # {{- '<|channel>thought\n<channel|>' -}} stands under add_generation_prompt alone, and not in E2B's template
    assert text(RENDERER, [user("a")], asked=True).endswith("<|turn>model\n<|channel>thought\n<channel|>")
    assert text(RENDERER, [user("a"), assistant("b")]).endswith("<|turn>model\nb<turn|>\n")
    for renderer in (THINKING, E2B):
        assert text(renderer, [user("a")], asked=True).endswith("<|turn>user\na<turn|>\n<|turn>model\n")


def test_a_turn_that_calls_or_was_answered_goes_on_without_a_prompt() -> None:
    # {%- if ns.prev_message_type != 'tool_response' and ns.prev_message_type != 'tool_call' -%}
    calling = [user("?"), assistant("", call("now", {}, "1"))]
    assert text(RENDERER, calling, asked=True).endswith("<tool_call|><|tool_response>")
    assert text(RENDERER, [*calling, tool("a", "1")], asked=True).endswith("<tool_response|>")


def test_assistants_in_a_row_share_a_header() -> None:
    # {%- set continue_same_model_turn = (role == 'model' and prev_nt.role == 'assistant') -%}
    assert text(RENDERER, [user("?"), assistant("a"), assistant("b")]).endswith("<|turn>model\na<turn|>\nb<turn|>\n")


def test_reasoning_is_kept_in_turns_that_call_after_the_last_user_only() -> None:
    # {%- if thinking_text and loop.index0 > ns_turn.last_user_idx and message.get('tool_calls') -%}
    calling = assistant("", call("now", {}, "1"), reasoning="\nhm ")
    cycle = [user("?"), calling, tool("a", "1"), assistant("b", reasoning="so")]
    assert text(THINKING, cycle).endswith(
        "<|turn>model\n<|channel>thought\n\nhm \n<channel|><|tool_call>call:now{}<tool_call|><|tool_response>"
        'response:now{value:<|"|>a<|"|>}<tool_response|>b<turn|>\n'
    )
    assert "thought" not in text(THINKING, [*cycle, user("!")])


def test_what_content_spells_in_a_channel_is_dropped() -> None:
    # strip_thinking: {%- for part in text.split('<channel|>') -%} ... part.split('<|channel>')[0]
    said = "a<|channel>thought\nx<channel|>b <|channel>open"
    assert text(RENDERER, [user("?"), assistant(said)]).endswith("<|turn>model\nab<turn|>\n")


def test_the_system_turn_holds_the_thinking_mark_the_words_and_the_tools() -> None:
    # {{- '<|turn>system\n' -}} {{- '<|think|>\n' -}} ... {{- messages[0]['content'] | trim -}} ... {{- '<|tool>' -}}
    declared = '<|tool>declaration:now{description:<|"|><|"|>}<tool|>'
    runs = [(s.text, s.message) for s in THINKING.segments([system(" Be brief. "), user("?")], [NOW])]
    assert "".join(t for t, owner in runs if owner == 0) == (
        f"<bos><|turn>system\n<|think|>\nBe brief.{declared}<turn|>\n"
    )
    assert text(INITIAL, [system("x"), user("?")]).startswith("<bos><|turn>system\nx<turn|>\n")
    developer = {"role": "developer", "content": "x"}
    assert told(RENDERER, [developer, user("?")])[:4] == [
        *(("<bos>", -1, False), ("<|turn>system\n", 0, False), ("x", 0, True), ("<turn|>\n", 0, False))
    ]
    assert "<|turn>developer\nx<turn|>\n" in text(RENDERER, [user("?"), developer])


def test_a_list_of_texts_for_the_system_is_set_apart_in_the_template_of_2026_05() -> None:
    # {{- item['text'] | trim + ' '-}}
    parts = [{"type": "text", "text": " a "}, {"type": "text", "text": "b"}]
    later = isc.create_renderer(ENCODER, Gemma4(variant="31b-2026-05"))
    messages = [{"role": "system", "content": parts}, user("?")]
    assert text(later, messages).startswith("<bos><|turn>system\na b <turn|>\n")
    assert text(RENDERER, messages).startswith("<bos><|turn>system\nab<turn|>\n")


ARGUMENTS = {"b": [1, 2.5, None, True, "x"], "A": {"z": False, "y": {}}, "c": 10**20, "d": []}


def test_arguments_are_sorted_and_texts_are_quoted() -> None:
    # {%- for key, value in function['arguments'] | dictsort -%} ... format_argument(value, escape_keys=False)
    spelled = '{A:{y:{},z:false},b:[1,2.5,None,true,<|"|>x<|"|>],c:100000000000000000000,d:[]}'
    for renderer in (RENDERER, INITIAL):
        assert f"call:now{spelled}<tool_call|>" in text(renderer, [user("?"), assistant("", call("now", ARGUMENTS))])


NESTED = {
    "name": "f",
    "description": "Does.",
    "parameters": {
        "type": "object",
        "required": ["type", "where"],
        "properties": {
            "type": {"type": "string"},
            "where": {"type": "string", "description": "Where.", "enum": ["a", "b"], "nullable": True},
            "many": {"type": "array", "items": {"type": ["string", "null"], "title": "T", "maxLength": 3}},
            "deep": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
            "bare": {"type": "object", "description": "Any.", "additionalProperties": {"type": "number"}},
        },
    },
    "response": {"type": "object", "description": "What."},
}
BARE = (
    'bare:{description:<|"|>Any.<|"|>,properties:{additionalProperties:{type:<|"|>NUMBER<|"|>}},type:<|"|>OBJECT<|"|>}'
)
MANY = 'many:{items:{maxLength:3,title:<|"|>T<|"|>,type:[<|"|>STRING<|"|>,<|"|>NULL<|"|>]},type:<|"|>ARRAY<|"|>}'
WHERE = 'where:{description:<|"|>Where.<|"|>,enum:[<|"|>a<|"|>,<|"|>b<|"|>],nullable:true,type:<|"|>STRING<|"|>}'
DEEP = 'deep:{properties:{n:{type:<|"|>INTEGER<|"|>}},required:[<|"|>n<|"|>],type:<|"|>OBJECT<|"|>}'
TYPE = 'type:{type:<|"|>STRING<|"|>}'
DECLARED: dict[Variant, tuple[str, ...]] = {
    "31b": (BARE, DEEP, MANY, WHERE),  # {%- if key not in standard_keys -%}
    "e2b": (BARE, DEEP, MANY, WHERE),
    "31b-2026-05": (BARE, DEEP, MANY, TYPE, WHERE),  # {%- if not filter_keys or key not in standard_keys -%}
    # ,properties:{ and ,items:{ always with a comma, and none before the type that follows
    "31b-initial": (
        BARE.replace("}},type", "}},type"),
        DEEP.replace("deep:{", "deep:{,").replace("],type", "]type"),
        MANY.replace("many:{", "many:{,").replace("},type", "}type"),
        'where:{description:<|"|>Where.<|"|>,nullable:true,enum:[<|"|>a<|"|>,<|"|>b<|"|>],type:<|"|>STRING<|"|>}',
    ),
}


@pytest.mark.parametrize("variant", DECLARED)
def test_a_declaration_is_each_template_s(variant: Variant) -> None:
    renderer = isc.create_renderer(ENCODER, Gemma4(variant=variant))
    shown = "".join(segment.text for segment in renderer.segments([user("?")], [NESTED]))
    assert shown.partition("<|tool>")[2].partition("<tool|>")[0] == (
        f'declaration:f{{description:<|"|>Does.<|"|>,parameters:{{properties:{{{",".join(DECLARED[variant])}}},'
        'required:[<|"|>type<|"|>,<|"|>where<|"|>],type:<|"|>OBJECT<|"|>},'
        'response:{description:<|"|>What.<|"|>,type:<|"|>OBJECT<|"|>}}'
    )


def test_parameters_without_a_type_are_not_closed() -> None:
    # {%- if params['type'] -%} type:<|"|>{{- params['type'] | upper -}}<|"|>} {%- endif -%}
    tools = [{"name": "f", "description": "", "parameters": {"properties": {"a": {"type": "string"}}}}]
    shown = "".join(segment.text for segment in RENDERER.segments([user("?")], tools))
    assert '{description:<|"|><|"|>,parameters:{properties:{a:{type:<|"|>STRING<|"|>}},}<tool|>' in shown


TWO = assistant("", call("now", {}, "1"), call("search", {}, "2"))
NAMES: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "by the id of the call": ([TWO, tool("a", "2"), tool("b", "1", "other")], ["search", "now"]),
    "by the last call without an id": (
        [assistant("", call("now", {}), call("search", {})), tool("a"), tool("b")],
        ["search", "search"],
    ),
    "by its own name": ([TWO, tool("a", None, "mine")], ["mine"]),
    "by its place": ([TWO, tool("a"), tool("b"), tool("c")], ["now", "search", "unknown"]),
    "by an earlier call": ([TWO, user("!"), assistant("", call("f", {}, "3")), tool("a", "2")], ["search"]),
}


@pytest.mark.parametrize("how", NAMES)
def test_a_result_is_named(how: str) -> None:
    # {%- set ns_tname = namespace(name=follow.get('name') | default('unknown')) -%}, then tc.get('id') == ...
    messages, names = NAMES[how]
    shown = text(RENDERER, [user("?"), *messages])
    assert [piece.partition("{")[0] for piece in shown.split("<|tool_response>response:")[1:]] == names


@pytest.mark.parametrize("before", [[], [assistant("a")], [TWO, user("!")]])
def test_a_result_that_follows_no_call_is_refused(before: list[dict[str, Any]]) -> None:
    # {%- if message['role'] != 'tool' -%}: such a result is dropped in silence
    with pytest.raises(isc.ConversationError, match="is the result of no call") as error:
        RENDERER.render([user("?"), *before, tool("x")])
    assert error.value.path == f"messages[{1 + len(before)}]"


def test_the_first_template_has_turns_for_results() -> None:
    # {{- '<|turn>' + role + '\n' }} for whatever role; no result is searched for
    messages = [user("?"), assistant(" so ", call("now", {}, "1"), reasoning="hm"), tool(" a ", "1")]
    assert text(INITIAL, messages, asked=True).endswith(
        "<|turn>model\n<|tool_call>call:now{}<tool_call|>so<turn|>\n<|turn>tool\na<turn|>\n"
        "<|turn>model\n<|channel>thought\n<channel|>"
    )


CALL = '<|tool_call>call:now{zone:<|"|>a<|tool_call>}b<|"|>,n:-3,deep:{a:[1.5,null,{}]}}<tool_call|>'
READ = {"zone": "a<|tool_call>}b", "n": -3, "deep": {"a": [1.5, None, {}]}}


@pytest.mark.parametrize(
    ("sampled", "thought", "content", "statuses"),
    [
        ("Hello<turn|>", None, "Hello", []),
        ("<|channel>thought\nhm\n<channel|>Hello<turn|>", "hm", "Hello", []),
        ("<|channel>thought\n<channel|>Hello<turn|>", "", "Hello", []),
        ("<|channel>thought\n\nhm\n\n<channel|>", "\nhm\n", "", []),
        ("<|channel>thought\nhm", "hm", "", []),
        ("<|channel>thou", "", "", []),
        ("<|channel>thought", "", "", []),
        (f"So.{CALL}<|tool_response>", None, "So.", ["ok"]),
        (f"{CALL}{CALL}<|tool_response>response:now", None, "", ["ok", "ok"]),
        (f"<|channel>thought\nhm{CALL}<|tool_response>", "hm", "", ["ok"]),
        ('<|tool_call>call:now{zone:<|"|>open', None, "", ["unclosed_block"]),
        ("<|tool_call>now{}<tool_call|>", None, "", ["malformed_structure"]),
        ("<|tool_call>call:find{}<tool_call|>", None, "", ["unknown_tool"]),
    ],
)
def test_a_sampled_turn_is_read_back(sampled: str, thought: str | None, content: str, statuses: list[str]) -> None:
    parsed = THINKING.parse_response(ids_of(THINKING, sampled), [NOW])
    assert (parsed.reasoning_content, parsed.content) == (thought, content)
    assert [one.status for one in parsed.tool_calls] == statuses
    assert all(one.arguments == READ for one in parsed.tool_calls if one.status == "ok")
    assert parsed.reasoning_complete == (thought is None or "<channel|>" in sampled or bool(statuses))


RESULT = 'response:now{value:<|"|>12:00<|"|>}<tool_response|>'
NEXT = "<|turn>user\n!<turn|>\n<|turn>model\n"


@pytest.mark.parametrize(
    ("completion", "new", "added"),
    [
        (f"{CALL}<|tool_response>", tool("12:00", "x"), RESULT),
        (CALL, tool("12:00", "x"), "<|tool_response>" + RESULT),
        (f"{CALL}<turn|>", tool("12:00", "x"), "<|tool_response>" + RESULT),
        ("Hi<turn|>", user("!"), "\n" + NEXT),
        ("Hi", user("!"), "<turn|>\n" + NEXT),
        ("Hi<eos>", user("!"), "<turn|>\n" + NEXT),
        ("<|channel>thought\nhm", user("!"), "\n<channel|><turn|>\n" + NEXT),
        (f"{CALL}<|tool_response>", user("!"), NEXT),
    ],
)
def test_a_bridge_closes_what_is_open_and_goes_on(completion: str, new: dict[str, Any], added: str) -> None:
    renderer = isc.create_renderer(ENCODER, Gemma4(enable_thinking=True), thinking_retention="all")
    prompt, sampled = renderer.render_ids([user("?")], None, True), ids_of(renderer, completion)
    bridged = renderer.bridge_to_next_turn(prompt, sampled, [new])
    assert bridged is not None
    assert bridged.token_ids[: len(prompt) + len(sampled)] == prompt + sampled
    assert ENCODER.decode_bytes(bridged.token_ids[len(prompt) + len(sampled) :]).decode() == added


def test_results_of_a_bridge_are_named_by_their_places() -> None:
    prompt = RENDERER.render_ids([user("?")], TOOLS, True)
    calls = "<|tool_call>call:now{}<tool_call|><|tool_call>call:search{}<tool_call|><|tool_response>"
    bridged = RENDERER.bridge_to_next_turn(prompt, ids_of(RENDERER, calls), [tool("a", "x"), tool("b", "y")], TOOLS)
    assert bridged is not None
    shown = ENCODER.decode_bytes(bridged.token_ids[len(prompt) :]).decode()
    assert shown.endswith(
        'response:now{value:<|"|>a<|"|>}<tool_response|><|tool_response>response:search{value:<|"|>b<|"|>}<tool_response|>'
    )


def test_a_result_of_a_turn_that_did_not_call_is_refused_in_a_bridge_too() -> None:
    prompt, completion = RENDERER.render_ids([user("?")], None, True), ids_of(RENDERER, "Hi<turn|>")
    with pytest.raises(isc.ConversationError, match="is the result of no call") as error:
        RENDERER.bridge_to_next_turn(prompt, completion, [tool("x")])
    assert error.value.path == "new_messages[0]"
