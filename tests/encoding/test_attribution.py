"""Every family by hand equals its model's own template, traced: ids, owners, bodies, parts, what is sampled."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

from cases import CASES, Case
from golden_conversations import CONVERSATIONS
from isc.encoding.encoders import embedded
from isc.errors import ConversationError
from isc.testing import Conversation, Writer
from isc.traced.template import TracedTemplate
from references import as_the_template_takes_it

RANDOM = 1000 if os.environ.get("ISC_PROFILE") == "nightly" else 60


def conversations(case: Case) -> Iterator[Conversation]:
    """The golden table, then random ones, as far as the format takes them."""
    for name in CONVERSATIONS:
        conversation = case.golden(name)
        if (
            name not in case.refuses
            and case.takes(conversation)
            and not (case.shape().user_first and unheard(conversation))
        ):
            yield conversation
    for seed in range(RANDOM):
        yield Writer(random.Random(seed), case.shape()).conversation()


def unheard(conversation: Conversation) -> bool:
    """Whether the first message after the system's says nothing: where tools stand in it a template leaves no trace."""
    messages = [message for message in conversation[0][:2] if message["role"] != "system"]
    return not str(messages[0]["content"] or "").strip()


@pytest.mark.parametrize("case", [case for case in CASES if case.twin is None], ids=lambda case: case.name)
def test_family_and_traced_template_agree(case: Case, reference: Path) -> None:
    source = (reference / "templates" / case.template).read_text(encoding="utf-8")
    encoder = embedded(case.family.specials)
    by_hand = case.renderer(encoder)
    template = TracedTemplate(
        source,
        bos_token=case.bos_token,
        eos_token=case.eos_token,
        now=case.now or None,
        specials=tuple(encoder.specials),
        stop_tokens=case.family.stop_tokens,
        template_kwargs=case.options,
    )
    compared = 0
    for messages, tools in conversations(case):
        (given, tools_given), variables = case.prepare((messages, tools))
        traced = structs.replace(by_hand, family=template.with_options(variables))
        if case.untraced(messages):
            continue
        parts = not any(word in json.dumps(messages) for word in case.writes)
        for asked in (False, True):
            try:
                ours = by_hand.render(given, tools_given, asked, parts=parts)
            except ConversationError:
                continue
            taken = as_the_template_takes_it(given, case.adaptations)
            theirs = traced.render(taken, tools_given, asked, parts=parts)
            assert ours == theirs, (messages, tools)
            compared += 1
    assert compared > RANDOM
