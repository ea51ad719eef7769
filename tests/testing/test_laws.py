"""Every law of DESIGN 2, for every family value, on the model's own vocabulary and on one that straddles every seam."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings, strategies
from msgspec import structs

import isc
from cases import CASES, Case
from isc import testing
from isc.encoding.encoders import VocabularyEncoder
from isc.testing import Conversation, Shape, Writer

Law = Callable[[isc.Renderer, Conversation], None]
LAWS: tuple[Law, ...] = (testing.ownership, testing.body, testing.sampled, testing.no_forgery)

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
vocabularies = pytest.mark.parametrize("vocabulary", ["own", "adversarial"])


@pytest.fixture
def renderer(case: Case, vocabulary: str, request: pytest.FixtureRequest) -> isc.Renderer:
    if vocabulary == "adversarial":
        return case.renderer(testing.adversarial_encoder(case.family.specials))
    real_encoder: Callable[[str], VocabularyEncoder] = request.getfixturevalue("real_encoder")
    return case.renderer(case.encoder(real_encoder))


@cases
@vocabularies
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law_holds(case: Case, renderer: isc.Renderer, law: Law) -> None:
    @given(testing.conversations(case.shape()))
    def check(conversation: Conversation) -> None:
        law(renderer, conversation)

    check()


@cases
@vocabularies
def test_fold_is_a_homomorphism_at_every_cut(case: Case, renderer: isc.Renderer) -> None:
    @given(testing.conversations(case.shape(), longest=4))
    @settings(max_examples=settings().max_examples // 3)
    def check(conversation: Conversation) -> None:
        testing.homomorphism(renderer, conversation)

    check()


def answered(case: Case) -> strategies.SearchStrategy[Conversation]:
    """Conversations that end with an assistant turn."""

    def write(writer: Writer) -> Conversation:
        messages, tools = writer.conversation()
        while writer.shape.alternates and messages[-1]["role"] not in ("user", "tool"):
            del messages[-1]
        alone = {"needs_query": False, "user_first": False, "alternates": False}
        answers = structs.replace(writer.shape, roles=("assistant",), **alone)
        answer, _ = Writer(writer.random, answers).conversation(1)
        first = {"role": "user", "content": writer.text()}
        return [*(messages if len(messages) > 1 or case.shape().needs_query else [first]), *_without_ids(answer)], tools

    seeds = strategies.randoms(use_true_random=False)
    return seeds.map(lambda seed: write(Writer(seed, case.shape())))


def _without_ids(messages: list[dict[str, object]]) -> list[dict[str, object]]:
    """The answer's call ids would repeat earlier ones."""
    for message in messages:
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            call.pop("id")
    return messages


@cases
@vocabularies
def test_parsing_is_the_inverse_of_rendering(case: Case, renderer: isc.Renderer) -> None:
    @given(answered(case))
    def check(conversation: Conversation) -> None:
        testing.inverse(renderer, conversation)

    check()


def thoughtful(conversation: Conversation) -> Conversation:
    """The conversation with reasoning in its last turn: what a prompt that opens reasoning asks for."""
    messages, tools = conversation
    return [*messages[:-1], {**messages[-1], "reasoning_content": messages[-1].get("reasoning_content") or "?"}], tools


def after_a_result(conversation: Conversation) -> Conversation:
    """The conversation with a tool's result before its last turn: after one some formats prefill nothing."""
    messages, tools = conversation
    return [*messages[:-1], {"role": "tool", "content": "?"}, messages[-1]], tools


@cases
@vocabularies
def test_a_bridge_extends_and_equals_a_fresh_render_where_history_is_kept(case: Case, renderer: isc.Renderer) -> None:
    granted = []
    roles = ("user", "tool") if case.family.keeps_history else ("tool",)
    taken = tuple(role for role in roles if role in case.shape().roles) or ("user",)
    new = Shape(taken, specials=case.family.specials, images=case.images, image_roles=case.shape().image_roles)

    @given(answered(case), testing.conversations(new, longest=1 if case.shape().alternates else 3))
    def check(conversation: Conversation, new: Conversation) -> None:
        answers = [conversation, thoughtful(conversation)]
        if "tool" in case.shape().roles and not case.shape().results_follow_calls:
            answers.append(after_a_result(conversation))
        granted.append(any(testing.extension(renderer, answer, new) for answer in answers))

    check()
    tested = sum(granted) >= len(granted) // 10
    assert tested == case.bridges, "hardly any bridge was granted: the law was not tested"


@cases
def test_parsing_any_ids_never_raises(case: Case) -> None:
    encoder = testing.adversarial_encoder(case.family.specials)
    renderer = case.renderer(encoder)
    special_ids = strategies.sampled_from(sorted(encoder.specials.values()))
    any_ids = strategies.lists(special_ids | strategies.integers(-5, len(encoder) + 5), max_size=40)

    @given(any_ids)
    @settings(max_examples=settings().max_examples * 5)
    def check(token_ids: list[int]) -> None:
        testing.parsing(renderer, token_ids, [{"name": "search", "parameters": {}}])

    check()
