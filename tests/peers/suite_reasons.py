"""Why a test of the peer's own suite passes there and fails on isc.compat: the classes of `docs/compat.md`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct


class Rule(Struct, frozen=True):
    """A class of tests: a pattern of their names, perhaps one of what is said, and what stands in the table."""

    what: str
    why: str
    names: str
    says: str = ""

    def fits(self, name: str, message: str) -> bool:
        """Whether a test that failed with this message is of the class."""
        return bool(re.search(self.names, name)) and bool(re.search(self.says, message))


CLASSES: Final[Mapping[str, Rule]] = {
    "harmony": Rule(
        "gpt-oss: a whole call without an end is `unclosed_block`; two pieces of reasoning stand end to end",
        "A call that is the JSON of an object is as good as ended; isc puts a line break between two messages.",
        r"^test_reasoning_boundaries::test_harmony_later_(channels_end|unfinished_analysis)",
    ),
    "specials": Rule(
        "an assistant's content that spells `<think>` is given the control token",
        "Law 7: caller data never becomes a control token.",
        r"^test_parity::.*inline-thinking-history|^test_qwen38::test_qwen38_keeps_inline_think_markup",
    ),
    "reasoning closed": Rule(
        "a bridge closes unfinished reasoning by the bare `</think>`",
        "Law 1: the template prints line breaks around it; a format without reasoning closes nothing.",
        r"^test_reasoning_boundaries::test_every_reasoning_bridge_preserves_prefix",
    ),
    "step": Rule(
        "a trajectory step splits one final render and marks all of it as sampled, what follows the turn close too",
        "Law 4: a step holds what the sampler saw and said; see `build_trajectory_step` above.",
        r"^test_build_helpers::test_build_trajectory_step_reconstructs_full",
    ),
    "tool_declare": Rule(
        "a message with the role `tool_declare`",
        "No role of a conversation: tools are given as tools; an unknown role is refused.",
        r"^test_parity::.*-tool-declare-message-",
    ),
    "stub tokenizer": Rule(
        "a tokenizer that is a stub of a few methods, for a vocabulary that is nowhere",
        "isc has to account for every byte of a token, so it takes tokenizers that it can read; see `create_renderer`.",
        r"^test_nemotron35_vlm::|^test_qwen35_size_coverage::test_construction|^test_renderer_config::test_(default_render"
        r"er_chat_template_kwargs_remain|create_renderer_default_argument|default_renderer_rejects_explicit_retention)",
    ),
    "loading": Rule(
        "with which arguments transformers is asked for a tokenizer, and whose remote code is run",
        "`load_tokenizer` needs no transformers and runs no remote code: `TRUSTED_REVISIONS` is empty.",
        r"^test_load_tokenizer::",
    ),
    "content of another type": Rule(
        "parts of an unknown type, numbers for texts, an object for a result's content are left out or rendered",
        "Law 9: `ConversationError` names the part; nothing is dropped in silence.",
        r"^test_qwen38::test_qwen38_structured_|^test_llama_3::test_parity_tool_response_dict_content",
    ),
    "default of the model": Rule(
        "an option left to the template has its value in the resolved configuration, or a default of its own",
        "MiniMax's `model_identity` is that of the model; Qwen3.8 is traced, and tells no defaults.",
        r"^test_parity::test_catalog_covers_every|^test_qwen38::test_qwen38_is_registered",
    ),
    "white space": Rule(
        "white space around the content before a call is stripped",
        "Law 8: see white space kept above.",
        r"^test_parse_response::test_(kimi_k25|deepseek_v3)_in_think_section_is_not_a_real_call",
    ),
    "internals": Rule(
        "names with an underscore",
        "Not part of the call surface.",
        r"^test_kimi_k25_tool_schema::|^test_multimodal::test_is_image_part|^test_nemotron3_ultra::test_variant_is_encoded",
    ),
    "private": Rule(
        "attributes with an underscore, a module of the peer's own, a tokenizer that is changed under its renderer",
        "Not part of the call surface. With `_think_end` and `_channel_end` put there by hand Hy3's pass, Gemma 4's "
        "but for how a bridge closes reasoning.",
        r".",
        r"has no attribute '_[a-z]|No module named 'renderers\.parsing'|immutable type: 'LoadedTokenizer'",
    ),
    "wording": Rule(
        "the words of an error",
        "The same is refused; isc's errors begin with the path of what is wrong.",
        r"^test_gemma4::test_(unconsumed_tool_messages_raise|system_content_lists)|^test_qwen38::.*requires_a_real_user",
        r"Regex pattern did not match",
    ),
    "refused": Rule(
        "Hy3: a result where the last assistant turn makes no call, a second system message",
        "Law 9: the template opens no block for the one and runs the other's text into the first's; see families.md.",
        r"^test_hy3::test_(tool_group_not|fallback_strategy_bridge|bridge_declines_on_empty)|hy3_offsetless_preserves",
        r"hy3 has no such turn",
    ),
    "another revision": Rule(
        "Gemma 4: `preserve_thinking`, a thought that the prompt opens after a result, or that follows an answer",
        "Of a revision of the template that the reference data does not have: law 1 holds isc to those it has.",
        r"^test_gemma4::test_(preserve_thinking|disabled_thinking_post)|::test_gemma_post_tool_prompt_supplies|"
        r"^test_reasoning_boundaries::test_later_reasoning_markers_follow_the_format_grammar.gemma4",
    ),
}
