"""`Renderer`: a family bound to an encoder. Every method is a composition of streams, folded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from isc import convert
from isc._brief import Displayed, abbreviated
from isc._later import Later
from isc._options import checked
from isc.conversation import bridge
from isc.conversation.bridge import Appended, Extension, Refusal, WholeFormat
from isc.conversation.prefill import OpenField, PromptEnd, stream_to
from isc.conversation.spelled import refuse_spelled
from isc.convert import Messages, Tools
from isc.encoding.base import Encoder
from isc.encoding.fold import fold
from isc.errors import MissingSpecialError, OptionError
from isc.formats.base import Family
from isc.rendered import MultiModalData, RenderedTokens, decoded, ids_of
from isc.types import (
    UNOWNED,
    BodySpecials,
    Chat,
    InvalidArguments,
    ParsedResponse,
    Report,
    SamplingCuts,
    Segment,
    ThinkingRetention,
)

if TYPE_CHECKING:
    from isc.conversation.reading import TurnReader
    from isc.media import ImageProcessor
else:
    ImageProcessor = TurnReader = Later  # a render needs neither


def stream(
    family: Family, chat: Chat, *, add_generation_prompt: bool = False, parts: bool = False
) -> Iterator[Segment]:
    """Yield a conversation as owned segments, the sampled text marked as body (laws 2, 4 and, with `parts`, 10)."""
    return iter(stream_to(family, chat, PromptEnd(add_generation_prompt), parts=parts))


class Renderer(Displayed, Struct, frozen=True):
    """A chat format and a vocabulary: messages to ids with attribution, ids to messages, the next prompt from the last.

    Immutable, hashable by identity of its parts, safe to share between threads; pickles by the source of its parts.

    Args:
        family: The chat format with its options.
        encoder: Text to ids.
        thinking_retention: When a bridge may keep earlier reasoning: `"all"` always, `"tool_cycle"` until the next user
            message; None derives it from the family.
        body_specials: What becomes of a special that a message spells: `"text"` (the default) leaves it text, `"parse"`
            makes it the control token as `apply_chat_template` does, `"reject"` raises.
        images: What reads and measures images; None where the model takes none.
        sampling_cuts: Where text is cut before it is encoded. `"all"` (the default) cuts where sampling starts and
            stops, so that an assistant turn has the ids that a sampler gives after the prompt; `"none"` encodes as
            `apply_chat_template` does.
        invalid_arguments: What becomes of a tool call's arguments that are text but not the JSON text of an object.
            `"raise"` (the default) refuses the conversation and names the place; `"raw"` keeps the text.
        parts: Whether a render says of every body of what part it is: reasoning, content, a call's name, ...

    Raises:
        OptionError: A policy that does not exist.

    >>> import isc
    >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
    >>> rendered = renderer.render([{"role": "user", "content": "hi"}], add_generation_prompt=True)
    >>> rendered.message_roles, sum(rendered.is_content)
    (('user',), 1)
    """

    family: Family
    encoder: Encoder
    thinking_retention: ThinkingRetention | None = None
    body_specials: BodySpecials = "text"
    images: ImageProcessor | None = None
    sampling_cuts: SamplingCuts = "all"
    invalid_arguments: InvalidArguments = "raise"
    parts: bool = False

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Return what is told of a renderer: family, encoder, and the policies that are not as by default."""
        defaults = zip(self.__struct_fields__[2:], self.__struct_defaults__, strict=True)
        policies = [(name, getattr(self, name)) for name, default in defaults if getattr(self, name) != default]
        return [("family", abbreviated(self.family)), ("encoder", self.encoder), *policies]

    def __post_init__(self) -> None:
        checked("thinking_retention", self.thinking_retention, ThinkingRetention | None, "Renderer")
        checked("body_specials", self.body_specials, BodySpecials, "Renderer")
        checked("sampling_cuts", self.sampling_cuts, SamplingCuts, "Renderer")
        checked("invalid_arguments", self.invalid_arguments, InvalidArguments, "Renderer")
        checked("parts", self.parts, bool, "Renderer")

    def segments(
        self,
        messages: Messages,
        tools: Tools = None,
        add_generation_prompt: bool = False,
        *,
        continue_final_message: bool | OpenField = False,
        prefill: str | None = None,
        parts: bool | None = None,
    ) -> Iterator[Segment]:
        """Yield the conversation as owned segments, lazily. The concatenated texts are the template's render.

        Args:
            messages: Message records or OpenAI dicts.
            tools: Tool specs, wrapped or bare.
            add_generation_prompt: Whether to end with what asks the model for its turn.
            continue_final_message: See `render`.
            prefill: See `render`.
            parts: Overrides whether the renderer says parts, for this call.

        Raises:
            ConversationError: Something in messages or tools cannot be rendered; its path says where.
        """
        end = PromptEnd.of(add_generation_prompt, continue_final_message, prefill)
        says_parts = self.parts if parts is None else parts
        return iter(stream_to(self.family, self.chat(messages, tools), end, parts=says_parts))

    def render(
        self,
        messages: Messages,
        tools: Tools = None,
        add_generation_prompt: bool = False,
        *,
        continue_final_message: bool | OpenField = False,
        prefill: str | None = None,
        body_specials: BodySpecials | None = None,
        sampling_cuts: SamplingCuts | None = None,
        parts: bool | None = None,
    ) -> RenderedTokens:
        """Render the conversation as token ids with the owner of every token.

        Args:
            messages: Message records or OpenAI dicts.
            tools: Tool specs, wrapped or bare.
            add_generation_prompt: Whether to end with what asks the model for its turn.
            continue_final_message: Whether the last message, an assistant's, is left open at the end of its text, for
                the model to go on with; the name of a field says which text. What is given is scaffold.
            prefill: A text that the answer begins with. It follows the generation prompt, which it asks for, and is
                nobody's scaffold.
            body_specials: Overrides the renderer's policy for this call.
            sampling_cuts: Overrides the renderer's policy for this call.
            parts: Overrides whether the renderer says parts, for this call: whether `Run.part` says of what part of its
                message each body is (`docs/parts.md`). Ids do not depend on it.

        Returns:
            Ids, and per token its message and whether it is body.

        Raises:
            ConversationError: Something in messages or tools cannot be rendered; its path says where.
            OptionError: A message that is left open has no generation prompt and no prefill.
            MissingSpecialError: The vocabulary lacks a special of the format.
        """
        return self.render_to(
            self.chat(messages, tools),
            PromptEnd.of(add_generation_prompt, continue_final_message, prefill),
            body_specials,
            sampling_cuts,
            parts,
        )

    def chat(
        self, messages: Messages, tools: Tools = None, *, invalid_arguments: InvalidArguments | None = None
    ) -> Chat:
        """Convert messages and tools into the checked chat that families render, its images measured.

        Args:
            messages: Message records or OpenAI dicts.
            tools: Tool specs, wrapped or bare.
            invalid_arguments: Overrides the renderer's policy for this call.

        Raises:
            ConversationError: See `isc.convert.chat`; a `MediaError` for an image that cannot be read.
        """
        policy = self.invalid_arguments if invalid_arguments is None else invalid_arguments
        converted = convert.chat(
            messages,
            tools,
            invalid_arguments=policy,
            reads_key=self.family.reads_key,
            extra_roles=self.family.extra_roles,
        )
        return self._measured(converted, "messages")

    def _measured(self, chat: Chat, name: str) -> Chat:
        if self.images is None:
            return chat
        from isc.media import measured_chat

        return measured_chat(chat, self.images, name)

    def render_chat(
        self,
        chat: Chat,
        *,
        add_generation_prompt: bool = False,
        body_specials: BodySpecials | None = None,
        sampling_cuts: SamplingCuts | None = None,
        parts: bool | None = None,
    ) -> RenderedTokens:
        """Render a chat that is converted already; see `render`."""
        return self.render_to(chat, PromptEnd(add_generation_prompt), body_specials, sampling_cuts, parts)

    def render_to(
        self,
        chat: Chat,
        end: PromptEnd,
        body_specials: BodySpecials | None = None,
        sampling_cuts: SamplingCuts | None = None,
        parts: bool | None = None,
    ) -> RenderedTokens:
        """Render a chat that is converted already, up to this end."""
        says_parts = self.parts if parts is None else checked("parts", parts, bool)
        policy = self.body_specials if body_specials is None else body_specials
        if policy == "reject":
            refuse_spelled(chat, self.family, self.encoder.specials)
        return fold(
            stream_to(self.family, chat, end, parts=says_parts),
            self.encoder,
            chat.roles,
            convert.tool_names(chat.messages),
            policy,
            self.sampling_cuts if sampling_cuts is None else sampling_cuts,
            parts=says_parts,
        )

    def render_ids(
        self,
        messages: Messages,
        tools: Tools = None,
        add_generation_prompt: bool = False,
        *,
        continue_final_message: bool | OpenField = False,
        prefill: str | None = None,
        body_specials: BodySpecials | None = None,
        sampling_cuts: SamplingCuts | None = None,
    ) -> tuple[int, ...]:
        """Return the ids of `render`."""
        rendered = self.render(
            messages,
            tools,
            add_generation_prompt,
            continue_final_message=continue_final_message,
            prefill=prefill,
            body_specials=body_specials,
            sampling_cuts=sampling_cuts,
        )
        return rendered.token_ids

    def decode(self, token_ids: Sequence[int]) -> str:
        r"""Return what ids say, specials by their spelling. Never raises on ids.

        Bytes that are no UTF-8, such as half a character, and ids that the vocabulary does not have stand as U+FFFD.

        Args:
            token_ids: Any ids; `rendered.text` is the same for those of a render.

        >>> import isc
        >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
        >>> renderer.decode(renderer.render_ids([{"role": "user", "content": "hi"}]))
        '<|im_start|>user\nhi<|im_end|>\n'
        """
        return decoded(self.encoder, ids_of(token_ids))

    def parse_response(
        self, token_ids: Sequence[int], tools: Tools = None, prompt_ids: Sequence[int] | None = None
    ) -> ParsedResponse:
        """Read sampled ids back into content, reasoning and tool calls. Never raises on ids.

        Args:
            token_ids: What the model sampled after the generation prompt, stop token included or not.
            tools: The tools offered: a call of another is marked `unknown_tool`, and arguments keep declared types.
            prompt_ids: The ids before: a prompt can leave reasoning open or hold a turn's first words; what is read
                goes on from them.
        """
        from isc.conversation.reading import Question

        prompt = () if prompt_ids is None else ids_of(prompt_ids, "prompt_ids")
        return Question.of(self.family, self.encoder, convert.tool_specs(tools), prompt).read(ids_of(token_ids))

    def reader(self, prompt_ids: Sequence[int] | None = None, tools: Tools = None) -> TurnReader:
        """Return a reader of one turn while it is sampled. It ends in what `parse_response` says of all ids.

        Args:
            prompt_ids: The ids before, as for `parse_response`. Without them DeepSeek V3.2 and V4 with reasoning and
                Kimi K3 tell all at the stop: a closer of reasoning may come after any text, and makes reasoning of it.
            tools: The tools offered, likewise.

        >>> import isc
        >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
        >>> ids = tuple(next(iter(renderer.encoder.encode_batch(["Good day"]))))
        >>> reader, events = renderer.reader().feed(ids)
        >>> events, reader.finish() == renderer.parse_response(ids)
        ((ContentDelta(text='Good day'),), True)
        """
        from isc.conversation.reading import reader_of

        prompt = () if prompt_ids is None else ids_of(prompt_ids, "prompt_ids")
        return reader_of(self.family, self.encoder, convert.tool_specs(tools), prompt)

    def plan_bridge(
        self,
        previous_prompt_ids: Sequence[int],
        previous_completion_ids: Sequence[int],
        new_messages: Messages,
        tools: Tools = None,
        previous_multi_modal_data: MultiModalData | None = None,
        *,
        add_generation_prompt: bool = True,
    ) -> Extension | Refusal:
        """Decide whether the conversation can go on without rewriting an id. Return the extension, or the refusal.

        Args:
            previous_prompt_ids: The prompt of the last turn.
            previous_completion_ids: What was sampled for it, complete or cut off.
            new_messages: What came since: tool results, user messages; no assistant turn.
            tools: Tool specs, for formats whose turns depend on them.
            previous_multi_modal_data: Media of the prompt, for formats that number them.
            add_generation_prompt: Whether the extension ends with what asks the model for its turn.

        Raises:
            ConversationError: A new message cannot be rendered.
        """
        given = self.chat_after(new_messages, tools, previous_multi_modal_data)
        if self.body_specials == "reject":
            refuse_spelled(given, self.family, self.encoder.specials, "new_messages")
        prompt = ids_of(previous_prompt_ids, "previous_prompt_ids")
        completion = ids_of(previous_completion_ids, "previous_completion_ids")
        request = (self.encoder, self.thinking_retention, prompt, completion, given)
        planned = bridge.plan(self.family, *request, add_generation_prompt=add_generation_prompt)
        if isinstance(planned, Refusal):
            return planned
        return replace(planned, after=bridge.last_segment(self.encoder, completion or prompt))

    def chat_after(self, new_messages: Messages, tools: Tools, media: MultiModalData | None) -> Chat:
        """Convert new messages into a chat that goes on from earlier ones with this media.

        Bad arguments stay as they are.

        No call among them is rendered by a bridge, and a rollout goes on after a model wrote a bad one.
        """
        new = list(new_messages)
        given = Chat((), ())
        if new:
            convert_new = partial(convert.chat, complete=False, name="new_messages", invalid_arguments="raw")
            given = convert_new(new, tools, reads_key=self.family.reads_key, extra_roles=self.family.extra_roles)
        return self._measured(replace(given, earlier_images=media.count("image") if media else 0), "new_messages")

    def bridge_to_next_turn(
        self,
        previous_prompt_ids: Sequence[int],
        previous_completion_ids: Sequence[int],
        new_messages: Messages,
        tools: Tools = None,
        previous_multi_modal_data: MultiModalData | None = None,
    ) -> RenderedTokens | None:
        """Return the next prompt, which begins with every previous id, or None where `plan_bridge` refuses.

        Returns:
            Ids whose owners index `new_messages`; everything before them is nobody's scaffold. Earlier media are
            carried forward.
        """
        prompt = ids_of(previous_prompt_ids, "previous_prompt_ids")
        completion = ids_of(previous_completion_ids, "previous_completion_ids")
        plan = self.plan_bridge(prompt, completion, new_messages, tools, previous_multi_modal_data)
        if isinstance(plan, Refusal):
            return None
        return bridge.after(prompt, completion, previous_multi_modal_data, self.tail(plan, UNOWNED))

    def append(
        self,
        token_ids: Sequence[int],
        new_messages: Messages,
        tools: Tools = None,
        sampled_from: int | None = None,
    ) -> Appended | Refusal:
        """Append the next prompt to one flat list of ids: prompt and completions together, as trainers keep them.

        Args:
            token_ids: A prompt and what was sampled for it, complete or cut off, or closed and all that follows the
                close in a render.
            new_messages: What came since: tool results, user messages; no assistant turn.
            tools: Tool specs, for formats whose turns depend on them.
            sampled_from: The position where the last turn's completion begins; None finds it by the last generation
                prompt of the format.

        Returns:
            The ids, which begin with every id given, or why there are none.

        Raises:
            ConversationError: A new message cannot be rendered.
            OptionError: `sampled_from` is no position of `token_ids`.

        >>> import isc
        >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
        >>> asked, result = {"role": "user", "content": "time?"}, {"role": "tool", "content": "12:00"}
        >>> stream = renderer.render_ids([asked, {"role": "assistant", "content": "I look."}])
        >>> appended = renderer.append(stream, [result])
        >>> appended.added == appended.token_ids[len(stream) :], appended.token_ids[: len(stream)] == stream
        (True, True)
        """
        ids = ids_of(token_ids)
        given = self.chat_after(new_messages, tools, None)
        if sampled_from is not None and not 0 <= sampled_from <= len(ids):
            raise OptionError(f"sampled_from={sampled_from} is no position of {len(ids)} token_ids")
        start = bridge.last_prompt_end(self.family, self.encoder, ids, given) if sampled_from is None else sampled_from
        if isinstance(start, Refusal):
            return start
        end = bridge.turn_end(self.family, self.encoder, ids, start)
        plan = self.plan_bridge(ids[:start], ids[start:end], new_messages, tools)
        if isinstance(plan, Refusal):
            return plan
        return bridge.appended(ids, end, self.tail(plan, 0), start)

    def extend(
        self,
        previous: RenderedTokens,
        completion_ids: Sequence[int],
        new_messages: Messages = (),
        tools: Tools = None,
    ) -> RenderedTokens | None:
        """Extend a prompt and keep its attribution. The completion becomes a sampled assistant message.

        Args:
            previous: The prompt, as rendered or extended before.
            completion_ids: What was sampled for it.
            new_messages: What came since; none ends the conversation with the completion.
            tools: Tool specs, for formats whose turns depend on them.

        Returns:
            Prompt, completion, new turns and generation prompt under one message table, or None where refused. The
            completion says its parts if the renderer says parts.
        """
        new, completion_ids = list(new_messages), ids_of(completion_ids, "completion_ids")
        if not new and not self.parts:
            return bridge.continued(previous, completion_ids, None)
        prompt = bridge.without_literal_openers(self.family, self.encoder, previous)
        if not new:
            return bridge.continued(previous, completion_ids, None, self._sampled_parts(prompt, completion_ids, tools))
        plan = self.plan_bridge(prompt, completion_ids, new, tools, previous.multi_modal_data)
        if isinstance(plan, Refusal):
            return None
        sampled_turn = len(previous.message_roles) - bridge.ends_open(previous)
        parts = self._sampled_parts(prompt, completion_ids, tools)
        return bridge.continued(previous, completion_ids, self.tail(plan, sampled_turn), parts)

    def _sampled_parts(self, prompt: Sequence[int], completion_ids: Sequence[int], tools: Tools) -> bridge.PartLengths:
        """Return the parts of a completion, if the renderer says parts."""
        if not self.parts:
            return ()
        from isc.conversation.sampled_parts import parts_alone

        return parts_alone(self, prompt, completion_ids, tools)

    def tail(self, extension: Extension, sampled_turn: int) -> RenderedTokens:
        """Return the ids an extension adds. The sampled turn is message `sampled_turn`, or nobody's (-1)."""
        return extension.tail(self.encoder, sampled_turn, self.body_specials, parts=self.parts)

    def get_stop_token_ids(self) -> tuple[int, ...]:
        """Return the ids at which a sampler must stop, the turn close first.

        Raises:
            MissingSpecialError: The vocabulary lacks one.
        """
        missing = [text for text in self.family.stop_tokens if text not in self.encoder.specials]
        if missing:
            raise MissingSpecialError(f"the tokenizer has no token {missing[0]!r}, at which this format stops")
        return tuple(self.encoder.specials[text] for text in self.family.stop_tokens)

    def report(self, messages: Messages | None = None, tools: Tools = None) -> Report | None:
        """Report how a traced template was read: its stops, its grammars, and texts whose origin was lost.

        Args:
            messages: A conversation to look for lost pieces in.
            tools: Its tools.

        Returns:
            The report; None for a family written by hand, of which nothing had to be found out.
        """
        return self.family.report(messages, tools) if isinstance(self.family, WholeFormat) else None

    @property
    def is_prefix_stable(self) -> bool:
        """Return whether appending turns never changes how earlier ones are rendered."""
        return self.family.keeps_history
