"""Why isc.compat and `renderers` differ: a reason for every name that `differences` gives; shown in `docs/compat.md`."""

from __future__ import annotations

from typing import Final, NamedTuple


class Reason(NamedTuple):
    """What differs, and who is held to be right by what."""

    what: str
    why: str


RENDERED: Final = {
    "specials": Reason(
        "a message that spells a control token: text in isc, the control token in renderers",
        "Law 7: caller data never becomes a control token. `apply_chat_template` does as renderers; "
        '`isc.Renderer(body_specials="parse")` does too, and then all ids here are equal.',
    ),
    "opening": Reason(
        "owner of BOS, tools block and the system turn's markers: the caller's system message in isc, -1 in renderers",
        "Law 2: the opening belongs to the caller's system message where there is one. All of it is scaffold in both.",
    ),
    "prefilled": Reason(
        "what the generation prompt gives (`<think>`, an empty think block) is sampled in renderers, scaffold in isc",
        "Law 4: the sampler got it as prompt, so no gradient belongs there.",
    ),
    "sampled after the prompt": Reason(
        "a marker at the head of an assistant turn that the generation prompt does not give is scaffold in renderers",
        "Law 4: what follows the generation prompt the model would have been given was sampled by it.",
    ),
    "closed by the next marker": Reason(
        "in a format without a turn close, `<|assistant|>` or `<|system|>` after an assistant turn is the next message's "
        "in renderers",
        "Law 4: whatever marker ends the turn closes it. renderers does the same for `<|user|>` and `<|observation|>`.",
    ),
    "token of both": Reason(
        "a token that holds scaffold, then body is content in isc, not in renderers",
        "Law 3: a token is body if one of its bytes is; otherwise body bytes are lost from the mask.",
    ),
    "cut": Reason(
        "equal text, other ids where sampling begins",
        "Law 4: encoding is cut where the sampler's prompt ended. A token across that place (`<think>\\n` and more line "
        "breaks) was never sampled as one.",
    ),
    "variant": Reason(
        "renderers has one format for models whose templates differ (Qwen3-2507, Qwen3-VL-Thinking, Kimi K2 before and "
        "after its call ids changed, DeepSeek's revisions)",
        "Law 1: each model's own template. isc renders the ids of renderers when asked for the other variant.",
    ),
    "calls in a row": Reason(
        "GLM-4.5: the line break between two calls is missing in renderers",
        "Law 1: the template prints it.",
    ),
    "white space stripped": Reason(
        "GLM-5.1: white space around a text that the template keeps is stripped in renderers",
        "Law 1: the template keeps it.",
    ),
    "think block dropped": Reason(
        "GLM-5.1: a `<think>` that the template prints in an earlier turn is missing in renderers",
        "Law 1: the template prints it.",
    ),
    "think block added": Reason(
        "`enable_thinking=False`: every earlier turn gets an empty think block in renderers",
        "Law 1: the template gives it to turns after the last query only (Qwen3.5, 3.6) or to none (Qwen3). It is what the "
        "sampler saw, so renderers can bridge at a user turn; isc renders those anew.",
    ),
    "result without a turn": Reason(
        "Qwen3.5, 3.6: a tool result right after the system turn has no `<|im_start|>user` in isc",
        "Law 1: so does the template render it, which counts on a call before every result.",
    ),
}
BRIDGED: Final = {
    "retention": Reason(
        "isc re-renders at a user turn where renderers bridges (thinking switched off, or its history kept in part)",
        "Law 6: the template renders earlier turns otherwise from there on, so the bridge would not be its rendering. "
        '`thinking_retention="all"` allows it in both.',
    ),
    "reasoning closed": Reason(
        "unfinished reasoning is closed as the template closes it in isc, by the bare closer in renderers",
        "Law 1: `\\n</think>\\n\\n` is what the template prints; the model has seen no other close.",
    ),
    "closed after another stop": Reason(
        "a completion that ended with another stop token than the turn close (`<|endoftext|>`) is closed in isc, and left "
        "as it is in renderers",
        "Law 1: every turn of the template has its close; a turn that ends in `<|endoftext|>` occurs in no rendering.",
    ),
    "end of text added": Reason(
        "GLM: renderers puts `<|endoftext|>` before the next turn of a completion that no marker ended",
        "Law 6: the format closes a turn by the next role's marker, and a fresh render has nothing else there.",
    ),
}
PARSED: Final = {
    "white space kept": Reason(
        "content and reasoning keep their white space in isc, as far as the format does not use it as separator",
        "Law 8: parsing a rendered turn returns that turn, so a turn that is rendered again has the ids it had.",
    ),
    "empty reasoning": Reason(
        "reasoning that was opened and left empty: `''` in isc; `''` or None in renderers, by format",
        "Law 8: None means that none was opened.",
    ),
    "raw call": Reason(
        "`raw` is what stands between the markers in isc, stripped in renderers", "It is what the model emitted."
    ),
    "arguments": Reason(
        "XML calls: names and values are stripped or read otherwise in renderers",
        "Law 8: such formats quote nothing, so isc reads back what the template prints: white space, an empty name, "
        "Qwen3.5's `None` and `True`, an argument as the type its schema declares.",
    ),
    "undeclared argument": Reason(
        "an argument the schema does not declare, and whose text is no JSON: a string in isc, `invalid_json` in renderers",
        "The text is the argument: without a type nothing can be wrong with it.",
    ),
    "no reasoning yet": Reason(
        "GLM-4.5, cut off before `<think>`: renderers takes it for unfinished reasoning (and bridges with `</think>`)",
        "Law 9: nothing was opened yet; the template may go on without reasoning.",
    ),
    "reasoning reopened": Reason(
        "`<think>` sampled although the prompt closed reasoning: content in renderers, reasoning in isc (and closed by a "
        "bridge)",
        "Law 8: an initial think marker opens reasoning; it is a control token, not text.",
    ),
    "marker read as text": Reason(
        "the marker that ended the turn (`<|assistant|>`) stays in the content in renderers",
        "Law 4: it closes the turn.",
    ),
    "spelled marker": Reason(
        "reasoning that spells `</think>` in ordinary tokens ends there in renderers",
        "Parsing scans ids for control tokens, never their spelling in text.",
    ),
}
REASONS: Final = {**RENDERED, **BRIDGED, **PARSED}
