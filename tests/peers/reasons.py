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
        "owner of BOS, tools block, default system text and the system turn's markers: -1 or the first message in renderers",
        "Law 2: the opening belongs to the caller's system message where there is one, the tools to the message whose turn "
        "holds them, else to nobody. All of it is scaffold in both.",
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
    "DeepSeek's turns": Reason(
        "DeepSeek V3, R1: system messages after the first, calls and results in a row, a user turn after results",
        "Law 1: the template joins all system messages at the top and puts line breaks and section markers otherwise.",
    ),
    "system messages joined": Reason(
        "DeepSeek: a later system message, which the template moves to the top, is the first one's in renderers, separators too",
        "Law 2: its owner is the message the caller wrote; law 3: what joins them is scaffold.",
    ),
    "asked by the user": Reason(
        "DeepSeek: the `<｜Assistant｜>` that the template prints with a user turn, or V4's encoder after results, is the "
        "next message's, the next answer's or nobody's in renderers",
        "Law 2: such a turn has it whatever follows, so it is that turn's.",
    ),
    "results in order": Reason(
        "DeepSeek-V4: the `<｜User｜>` before results is of the first result given in renderers, of the first printed in isc",
        "Law 2: the encoder prints results in the order of their calls, so the marker stands at the head of that one.",
    ),
    "tools elsewhere": Reason(
        "DeepSeek-V4: the tools stand in the first developer message, else the first system message, wherever that is, in "
        "renderers; in the first message, or before it where that is neither of both, in isc",
        "The encoder takes tools as a key of a message, and so leaves the place to the caller: give them there, and isc "
        "prints them there. Law 6: tools at the beginning stay where they are when a developer speaks later.",
    ),
    "id used again": Reason(
        "a result's tool, where several calls have its id: that of the nearest call before it in isc, of the last call of "
        "the conversation in renderers",
        "Law 9: a result answers a call that was made before it.",
    ),
    "Kimi's turns": Reason(
        "Kimi: reasoning of earlier turns, white space around it, the line break after the default system text",
        "Law 1: which turns keep their reasoning, and as what, the template of the model's revision says.",
    ),
    "Llama's turns": Reason(
        "Llama 3: non-ASCII text in results and tools is escaped in renderers; turns that the template does not print so",
        "Law 1: the template's `tojson` is that of transformers, which escapes nothing.",
    ),
    "quotes": Reason(
        "Llama 3: the quotes that the template prints around a result are content in renderers",
        "Law 3: they are no bytes of the message.",
    ),
    "instructions": Reason(
        "gpt-oss: the `# Instructions` that stands before a system message is content in renderers",
        "Law 3: it is no byte of the message.",
    ),
    "Nemotron's turns": Reason(
        "Nemotron 3: empty descriptions of tools and the low-effort line are missing in renderers",
        "Law 1: the template prints them.",
    ),
    "refused": Reason(
        "renderers has no developer role (Nemotron 3), or no developer message without content (DeepSeek-V4)",
        "Law 1: the template prints such a turn as any other role's. DeepSeek's encoder fails where nothing is said; isc "
        "renders the turn without a text.",
    ),
    "result without a turn": Reason(
        "Qwen3.5, 3.6, Nemotron 3: a tool result right after the system turn has no `<|im_start|>user` in isc",
        "Law 1: so does the template render it, which counts on a call before every result.",
    ),
}
BRIDGED: Final = {
    "retention": Reason(
        "isc re-renders at a user turn where renderers bridges (thinking switched off where the template takes the block off again, or history kept in part)",
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
    "renders anew": Reason(
        "renderers re-renders where isc bridges: DeepSeek R1 cut off in reasoning, Nemotron 3 Ultra with `medium_effort`",
        "Law 6: the extension is what a fresh render gives, so the cheaper way is open.",
    ),
    "stopped in reasoning": Reason(
        "another stop token sampled inside open reasoning: isc refuses to bridge, renderers takes it for text",
        "Law 9: no turn of the format looks like that.",
    ),
    "ids dropped": Reason(
        "DeepSeek: after a close in the middle of a completion renderers drops the ids that follow",
        "Law 6: a bridge begins with every id that was sampled.",
    ),
    "Harmony's turns": Reason(
        "gpt-oss: a header that was cut off is completed in isc, a call that was cut off ends with `<|call|>`; renderers "
        "puts `<|end|>` after both",
        "Law 6: no turn of the format has a message without a text, or a call that ends otherwise.",
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
        "`raw` is what stands between the markers in isc; in renderers stripped, or with its markers (DeepSeek-V4)",
        "It is what the model emitted.",
    ),
    "arguments": Reason(
        "XML calls: names and values are stripped or read otherwise in renderers",
        "Law 8: such formats quote nothing, so isc reads back what the template prints: white space, an empty name, "
        "Qwen3.5's `None` and `True`, an argument as the type its schema declares.",
    ),
    "closer in an argument": Reason(
        "DeepSeek-V4: a text in an argument that spells `</｜DSML｜parameter>` makes the call malformed in renderers",
        "Law 8: an argument ends at the closer that a parameter or the call's end follows, so isc reads back the text.",
    ),
    "whole call without an end": Reason(
        "gpt-oss: a call whose JSON is whole and that no marker ended is `ok` in isc, `unclosed_block` in renderers",
        "A call that is the JSON of an object is as good as ended: nothing that could follow changes it.",
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
    "closer again": Reason(
        "`</think>` sampled first though no reasoning is open: content in renderers, skipped in isc",
        "Law 8: it is a control token, not text: as content it would be rendered as text that spells it, which nobody sampled.",
    ),
    "marker read as text": Reason(
        "the marker or stop that ended the turn (`<|assistant|>`, `[EOS]`, `</s>`) stays in the content in renderers",
        "Law 4: it closes the turn, and is a stop token of the format in both.",
    ),
    "call cut off": Reason(
        "a call that was cut off has name, arguments or id in renderers, or another status, by format; never in isc.compat",
        "verifiers runs every call that has a name. `isc.Renderer` tells what can be read of it.",
    ),
    "call named by its id": Reason(
        "Kimi: an id that is not `functions.name:index` is the tool's name in renderers, `missing_name` in isc",
        "Law 9: such an id names no tool.",
    ),
    "marker in a name": Reason(
        "a tool's name that spells a control token or `>` is cut off there in renderers",
        "Parsing scans ids for control tokens, never their spelling in text.",
    ),
    "header cut off": Reason(
        "gpt-oss: the recipient in a header that was cut off is content in isc, nothing in renderers",
        "Law 9: what was sampled is not dropped.",
    ),
    "call not read": Reason(
        "calls that renderers leaves in the content: a second section (DeepSeek), one cut off or in another channel",
        "Every attempted call is kept, with its status.",
    ),
    "spelled marker": Reason(
        "reasoning that spells `</think>` in ordinary tokens ends there in renderers",
        "Parsing scans ids for control tokens, never their spelling in text.",
    ),
}
REASONS: Final = {**RENDERED, **BRIDGED, **PARSED}
