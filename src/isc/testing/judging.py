"""What a model's template is judged by, on conversations with planted words: by its own text, never by isc's.

The oracle is the reference: the template by plain Jinja, the vocabulary by the library that trained it. Every check
yields what is wrong with one conversation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from os.path import commonprefix
from typing import Any, TypeAlias

from msgspec import Struct

from isc.conversation.bridge import WholeFormat
from isc.conversation.renderer import Renderer
from isc.errors import Error
from isc.formats._shape import Shape
from isc.formats.segments import is_special
from isc.testing.laws import Reference, difference
from isc.testing.reference import FileReference
from isc.testing.twins import Conversation
from isc.types import Segment, Span

Message: TypeAlias = dict[str, Any]
_WORD = re.compile(r"zq\d+[a-z]+")
_ROLE = re.compile(r"\b(assistant|user|model|human)\b", re.IGNORECASE)
_THINKING = re.compile(r"think|reason|channel", re.IGNORECASE)
_NAME, _KEY, _VALUE, _NUMBER = "zq90tool", "zq91key", "zq92value", 7391


def probes(shape: Shape) -> Iterator[tuple[str, Conversation]]:
    """Yield conversations by name whose every word is planted once, as far as a format takes them.

    >>> [name for name, _ in probes(Shape(roles=("user", "assistant"), tools=False))]
    ['planted: a talk', 'planted: reasoning']
    """
    talk = [_said("user", 1), _said("assistant", 2), _said("user", 3), _said("assistant", 4)]
    yield "planted: a talk", (talk, None)
    if "system" in shape.roles:
        yield "planted: a talk after a system message", ([_said("system", 0), *talk], None)
    thought = {**_said("assistant", 2), "reasoning_content": "zq5thought"}
    yield "planted: reasoning", ([_said("user", 1), thought], None)
    if shape.tools:
        yield "planted: calls", (_calling(shape), [_tool()] if shape.offers_tools else None)
    if shape.tools and shape.offers_tools:
        yield "planted: tools", ([_said("user", 1)], [_tool()])


def _said(role: str, number: int) -> Message:
    return {"role": role, "content": f"zq{number}{role}"}


def _calling(shape: Shape) -> list[Message]:
    """Return a call, its result where the format takes one, and an answer."""
    function = {"name": _NAME, "arguments": {_KEY: _VALUE, "zq93number": _NUMBER}}
    call = {"id": "call00000", "type": "function", "function": function}
    calling: Message = {"role": "assistant", "content": None if shape.calls_alone else "zq6before"}
    calling["tool_calls"] = [call]
    messages = [_said("user", 1), calling]
    if "tool" in shape.roles:
        result = {"role": "tool", "content": "zq7result", "tool_call_id": "call00000", "name": _NAME}
        messages += [result, _said("assistant", 8)]
    return messages


def _tool() -> Message:
    properties = {_KEY: {"type": "string"}, "zq93number": {"type": "integer"}}
    parameters = {"type": "object", "properties": properties, "required": [_KEY]}
    return {"type": "function", "function": {"name": _NAME, "description": "zq94told", "parameters": parameters}}


class Judge(Struct, frozen=True):
    """A renderer and the reference that it is held to."""

    renderer: Renderer
    reference: Reference

    def turns(self, conversation: Conversation) -> Iterator[tuple[int, str, str]]:
        """Yield every assistant turn: its index, what asks for it by the template, and that without being asked.

        A turn before which the template refuses to ask is left out.
        """
        messages, tools = conversation
        for index, message in enumerate(messages):
            if message["role"] == "assistant" and index:
                with suppress(Error):
                    before = (messages[:index], tools)
                    yield index, self.asking(before), self.reference.text(before, add_generation_prompt=False)

    def asking(self, conversation: Conversation) -> str:
        """Return the template's text with a generation prompt."""
        return self.reference.text(conversation, add_generation_prompt=True)

    def begins_as_asked(self, conversation: Conversation) -> Iterator[str]:
        """Report where a turn does not begin with the prompt that asks for it: what is trained is not sampled so."""
        messages, tools = conversation
        for index, asked, silent in self.turns(conversation):
            turns = [messages[index], *_otherwise_reasoned(messages[index])]
            texts = [self._text((*messages[:index], turn), tools) for turn in turns]
            if asked == silent or any(text.startswith(asked) for text in texts):
                continue
            missing = asked[len(commonprefix((asked, texts[0]))) :]
            if not _THINKING.search(missing):
                yield f"message {index} does not begin as the prompt ends: {difference(texts[0], asked)}"

    def _text(self, messages: Sequence[Message], tools: list[Message] | None) -> str:
        try:
            return self.reference.text((list(messages), tools), add_generation_prompt=False)
        except Error:
            return ""

    def starts_at_prompt(self, conversation: Conversation) -> Iterator[str]:
        """Report where sampling does not start at the end of the prompt, though the whole text begins with it."""
        whole = self.reference.text(conversation, add_generation_prompt=False)
        starts = {index: start for index, (start, _) in self._sampled(conversation).items()}
        for index, asked, silent in self.turns(conversation):
            if index in starts and asked != silent and whole.startswith(asked) and starts[index] != len(asked):
                start = starts[index]
                told = whole[min(start, len(asked)) : max(start, len(asked))]
                moved = "later than" if start > len(asked) else "before"
                yield f"sampling of message {index} starts {moved} where its prompt ends, by {told!r}"

    def _sampled(self, conversation: Conversation) -> Mapping[int, Span]:
        """Return the characters from the first to the last sampled one, by assistant message."""
        segments = list(self.renderer.segments(*conversation))
        ends = list(accumulate(len(segment.text) * segment.repeat for segment in segments))
        spans: dict[int, Span] = {}
        for segment, start, end in zip(segments, (0, *ends), ends, strict=False):
            if _is_sampled(segment, conversation[0]) and end > start:
                spans[segment.message] = (spans.get(segment.message, (start, end))[0], end)
        return spans

    def no_header_sampled(self, conversation: Conversation) -> Iterator[str]:
        """Report where a header is sampled: a role's name, or the special that begins the prompt or a user's turn."""
        whole = "".join(segment.text for segment in self.renderer.segments(*conversation))
        spans = self._sampled(conversation)
        for index, asked, silent in self.turns(conversation):
            said = whole[slice(*spans.get(index, (0, 0)))]
            first = _WORD.search(said)
            lead = said[: first.start()] if first else ""
            openers = self._specials(asked[len(silent) :] if asked.startswith(silent) else "")[:1]
            if any(opener in lead for opener in openers) or _ROLE.search(lead):
                yield f"message {index} samples {lead!r} before what it says: a header"

    def _specials(self, text: str) -> list[str]:
        """Return the specials of the vocabulary in a text, in order."""
        known = sorted(self.renderer.encoder.specials, key=len, reverse=True)
        return re.findall("|".join(map(re.escape, known)), text) if known else []

    def specials_once(self, conversation: Conversation) -> Iterator[str]:
        """Report where the template writes a special twice in a row."""
        text = self.asking(conversation)
        for special in dict.fromkeys(self._specials(text)):
            if re.search(rf"{re.escape(special)}\s*{re.escape(special)}", text):
                yield f"{special} is written twice in a row"

    def everything_shown(self, conversation: Conversation) -> Iterator[str]:
        """Report what of the caller's words is left out, written twice, in another order or glued to other text."""
        texts = [self._text(*conversation), self.asking(conversation)]
        words = [word for message in conversation[0] for word in _words(message)]
        for place, word in words:
            if not any(word in text for text in texts):
                yield f"{place} is not in the text"
        said = [message for message in conversation[0] if message["content"] and not message.get("tool_calls")]
        told = [message["content"] for message in said if message["content"] in texts[1]]
        yield from self._misplaced(texts[1], told, [m["content"] for m in said if m["role"] == "system"])

    def _misplaced(self, text: str, contents: Sequence[str], anywhere: Sequence[str]) -> Iterator[str]:
        """Report messages that stand in the text twice, in another order, or with nothing between them and the rest."""
        for content in contents:
            if text.count(content) > 1:
                yield f"the text has {content!r} {text.count(content)} times"
            glued = re.search(rf"\w{content}|{content}\w", text)
            if glued:
                yield f"nothing sets a message apart from what is around it: {glued.group()!r}"
        places = [(text.find(content), content) for content in contents if content not in anywhere]
        if places != sorted(places):
            yield f"the text has the messages in another order: {', '.join(content for _, content in sorted(places))}"

    def reasoning_shown(self, conversation: Conversation) -> Iterator[str]:
        """Report reasoning of a last turn, and words beside calls, that the template leaves out."""
        text = self._text(*conversation)
        said = conversation[0][-1].get("reasoning_content")
        if said and said not in text:
            yield "the reasoning of the last turn is not in the text"
        beside = [message["content"] for message in conversation[0] if message.get("tool_calls")]
        if any(content and content not in text for content in beside):
            yield "what is said beside a call is not in the text once the call is answered"

    def tools_shown(self, conversation: Conversation) -> Iterator[str]:
        """Report tools of which the template shows none."""
        text = self.asking(conversation)
        if conversation[1] and not any(tool["function"]["name"] in text for tool in conversation[1]):
            yield (
                "the template shows none of the tools it is given: the model is not told of them; choose another of "
                "its templates with --template, or check without tools (--without-tools)"
            )

    def read_back(self, conversation: Conversation) -> Iterator[str]:
        """Report calls and reasoning that a turn samples and that are not read back from it as they were given."""
        messages, tools = conversation
        for index, message in enumerate(messages):
            spoken = {key: message.get(key) for key in ("tool_calls", "reasoning_content")}
            if message["role"] == "assistant" and any(spoken.values()):
                yield from self._misread(message, (messages[: index + 1], tools))

    def _misread(self, message: Message, conversation: Conversation) -> Iterator[str]:
        rendered = self.renderer.render(*conversation)
        index = len(conversation[0]) - 1
        spans = [span for run, span in rendered.spans() if run.body and run.message == index]
        start, end = (spans[0][0], spans[-1][1]) if spans else (0, 0)
        ids = rendered.token_ids[start:end]
        text = self.renderer.encoder.decode_bytes(ids).decode("utf-8", "replace")
        read = self.renderer.parse_response(ids, conversation[1], prompt_ids=rendered.token_ids[:start])
        calls = [call["function"] for call in message.get("tool_calls") or ()]
        given = [(call["name"], call["arguments"]) for call in calls]
        found = [(call.name, call.arguments) for call in read.tool_calls]
        if given and found != given and all(name in text for name, _ in given):
            yield f"message {index} calls {given} and is read as {found or 'content only'}: {text!r}"
        thought = message.get("reasoning_content")
        if thought and thought in text and (read.reasoning_content or "").strip() != thought:
            yield f"message {index} has the reasoning {thought!r} and is read as {read.reasoning_content!r}: {text!r}"

    def stops_at_stop(self, conversation: Conversation, stops: Sequence[str]) -> Iterator[str]:
        """Report where a turn does not end at the first stop that the template writes after what it says."""
        whole = "".join(segment.text for segment in self.renderer.segments(*conversation))
        for index, (_, end) in self._sampled(conversation).items():
            words = list(_WORD.finditer(whole, 0, end))
            following = whole[words[-1].end() : _next_word(whole, words[-1].end())] if words else ""
            places = [(following.find(stop), stop) for stop in stops if stop in following]
            if places:
                place, stop = min(places)
                if end != words[-1].end() + place + len(stop):
                    yield f"message {index} is trained up to {whole[:end][-20:]!r}, and stops at {stop}"

    def bridges(self, conversation: Conversation) -> Iterator[str]:
        """Report bridges that are granted and whose text is not that of a fresh render."""
        messages, tools = conversation
        for index, message in enumerate(messages):
            following = _next_turn(messages, index + 1)
            if message["role"] == "assistant" and index and following > index + 1:
                with suppress(Error):
                    yield from self._unlike_fresh((messages[:following], tools), index)

    def _unlike_fresh(self, conversation: Conversation, index: int) -> Iterator[str]:
        messages, tools = conversation
        prompt = self.renderer.render(messages[:index], tools, True)
        full = self.renderer.render(messages[: index + 1], tools)
        if full.token_ids[: len(prompt)] != prompt.token_ids:
            return
        ends = [stop for run, (_, stop) in full.spans() if run.body and run.message == index]
        completion = full.token_ids[len(prompt) : max(ends, default=len(prompt))]
        bridged = self.renderer.bridge_to_next_turn(prompt.token_ids, completion, messages[index + 1 :], tools)
        if bridged is None:
            return
        fresh = self.asking(conversation)
        previous, ours = (self._decoded(ids) for ids in (prompt.token_ids + completion, bridged.token_ids))
        # what a family keeps as it was sampled, though its template rewrites it later, is kept by design
        by_design = not isinstance(self.renderer.family, WholeFormat) and not fresh.startswith(previous)
        if not (by_design or ours in self._spellings(fresh) or self._is_render(bridged.token_ids, conversation)):
            yield f"the bridge from message {index} is no fresh render: {difference(ours, fresh)}"

    def _is_render(self, token_ids: Sequence[int], conversation: Conversation) -> bool:
        """Return whether ids are those of a fresh render, for vocabularies that decode to another text.

        They put a space before a text, which stands after every special then.
        """
        prefixed = self.renderer.encoder.prefix is not None
        return prefixed and self.renderer.render_ids(*conversation, True) == tuple(token_ids)

    def _decoded(self, token_ids: Sequence[int]) -> str:
        if isinstance(self.reference, FileReference):
            return self.reference.decode(token_ids)
        return self.renderer.encoder.decode_bytes(token_ids).decode("utf-8", "replace")

    def _spellings(self, text: str) -> Iterator[str]:
        """Return a text, and the text as the vocabulary has it."""
        yield text
        yield self.renderer.encoder.normalize(text)
        yield self._decoded(self.reference.encode(text)[0])


def decodes(renderer: Renderer, reference: FileReference, conversation: Conversation) -> Iterator[str]:
    """Report ids that the vocabulary's own library decodes neither to the text nor as it decodes its own encoding.

    That encoding takes specials that a message spells for tokens, so it is compared with ids of this kind.
    """
    text = reference.text(conversation, add_generation_prompt=True)
    ours = reference.decode(renderer.render_ids(*conversation, True))
    if ours == text:
        return
    parsed = renderer.render(*conversation, True, body_specials="parse").token_ids
    theirs = reference.decode(reference.encode(text)[0])
    if reference.decode(parsed) != theirs:
        yield f"ids decode to another text: {difference(reference.decode(parsed), theirs)}"


def masks(judge: Judge, reference: FileReference, conversation: Conversation) -> Iterator[str]:
    """Report where the template's `{% generation %}` blocks are not what is sampled, and who is right by law 4."""
    text, blocks = reference.generation(conversation)
    if not blocks:
        return
    asked = {index: len(prompt) for index, prompt, _ in judge.turns(conversation) if text.startswith(prompt)}
    for index, (start, end) in judge._sampled(conversation).items():
        block = next(((first, last) for first, last in blocks if first < end and last > start), None)
        if block is None:
            yield f"message {index}: the template marks nothing of it, which the model samples"
        elif block != (start, end):
            ours, theirs = text[start:end], text[slice(*block)]
            right = "isc" if asked.get(index, start) == start else "the template"
            yield f"message {index}: the template marks {theirs!r}, sampled is {ours!r}; {right} is right by law 4"


def untrained(renderer: Renderer, stops: Sequence[str], conversations: Sequence[Conversation]) -> list[str]:
    """Return the declared stops at which no turn of these conversations ends."""
    seen: set[str] = set()
    for conversation in conversations:
        segments = [s for s in renderer.segments(*conversation) if _is_sampled(s, conversation[0])]
        seen.update(segment.text for segment in segments if is_special(segment, *stops))
    return [stop for stop in stops if stop not in seen]


def _is_sampled(segment: Segment, messages: Sequence[Message]) -> bool:
    return segment.body and segment.message >= 0 and messages[segment.message]["role"] == "assistant"


def _otherwise_reasoned(turn: Message) -> list[Message]:
    """Return the same turn with reasoning, and with empty reasoning: a prompt may begin either."""
    return [{**turn, "reasoning_content": thought, "thinking": thought} for thought in ("zq5thought", "")]


def _words(message: Message) -> Iterator[tuple[str, str]]:
    """Return the planted words of a message with their places, but those that formats drop by design.

    These are reasoning, and what is said beside a call.
    """
    if message["content"] and not message.get("tool_calls"):
        yield f"the {message['role']} message {message['content']!r}", message["content"]
    for call in message.get("tool_calls") or ():
        yield f"the name of the call {_NAME!r}", call["function"]["name"]
        for key, value in call["function"]["arguments"].items():
            yield f"the argument {key!r}", key
            yield f"the value of the argument {key!r}", str(value)


def _next_word(text: str, start: int) -> int:
    found = _WORD.search(text, start)
    return found.start() if found else len(text)


def _next_turn(messages: Sequence[Message], start: int) -> int:
    """Return where the next assistant turn stands, or the messages end."""
    later = (place for place in range(start, len(messages)) if messages[place]["role"] == "assistant")
    return next(later, len(messages))
