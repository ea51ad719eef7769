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
        "gpt-oss is compared with openai-harmony, which renders otherwise than the model's template",
        "Law 1: isc renders the model's template; see Harmony's turns above.",
        r"gpt-oss|harmony",
    ),
    "parsers": Rule(
        "the parser classes that `DefaultRenderer` plugs in",
        "Left out by name: `tool_parser` and `reasoning_parser` choose a grammar of a traced template.",
        r"test_parsers",
    ),
    "tokenizers": Rule(
        "a tokenizer that is a stub of a few methods",
        "isc has to account for every byte of a token, so it takes tokenizers that it can read; see `create_renderer`.",
        r"test_offsetless_tokenizers|test_deepseek_r1|test_incremental|test_nemotron35_vlm|test_renderer_config|"
        r"test_inkling|test_gemma4|test_hy3|test_deepseek_v4|test_tagged_rollout|test_custom",
        r"EncoderError|not a tokenizer|UnknownModelError|has no attribute|no chat template",
    ),
    "loading": Rule(
        "with which arguments transformers is asked for a tokenizer, and whose remote code is run",
        "`load_tokenizer` needs no transformers and runs no remote code: `TRUSTED_REVISIONS` is empty.",
        r"test_load_tokenizer|test_llama_3.*(load|source|override)",
    ),
    "specials": Rule(
        "a message that spells `<think>` is given the control token",
        "Law 7: caller data never becomes a control token.",
        r"inline-thinking",
    ),
    "tool_declare": Rule(
        "a message with the role `tool_declare`",
        "No role of a conversation: tools are given as tools; an unknown role is refused.",
        r"tool-declare-message",
    ),
    "internals": Rule(
        "private names, or how an answer is read inside the client",
        "Not part of the call surface.",
        r"test_client|test_kimi_k25_tool_schema|test_multimodal|test_nemotron35_vlm|test_laguna_xs21|test_nemotron3_ultra",
    ),
    "retention": Rule(
        "a bridge at a user turn, with thinking switched off or its history kept in part",
        "Law 6: the template renders earlier turns otherwise from there on; see retention above.",
        r"test_bridge|test_disabled_thinking|test_tokens_per|retention|reasoning_bridge|test_incremental",
    ),
    "ended reasoning": Rule(
        "reasoning that a stop or a tool call cut short, white space around reasoning and content",
        "Laws 8 and 9: see white space kept, call in open reasoning and spelled marker above.",
        r"test_reasoning_boundaries|test_parse_response|test_tool_arg|test_glm_tool",
    ),
    "samples": Rule(
        "which tokens of a turn are trained on, and what closes the last one",
        "Law 4 and `ensure_final_stop`: see the differences in calls above.",
        r"test_build_helpers|test_sampled_mask|test_is_content|test_message_indices|test_tokens",
    ),
    "traced": Rule(
        "Qwen3.8 has no family: calls of its traced template are left in the content",
        "Its template is taken as it is; see the configurations without a family.",
        r"[Qq]wen3\.?8",
    ),
}
