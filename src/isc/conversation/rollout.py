"""A multi-turn episode as a pure state machine: prompt, completion, messages, next prompt; at the end one sample.

Ids are appended, never rewritten. Where no bridge is granted the conversation is rendered afresh. Tokens after the
first id that differs are no longer trained on in the new prompt; they are kept in `Rerender.abandoned`, with their own
ids and log-probabilities. So every sampled token is trained on once, in the context it was sampled in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from isc._brief import Brief, Displayed
from isc._runs import shared
from isc.conversation import bridge
from isc.conversation.bridge import Refusal, RefusalReason
from isc.conversation.prefill import OpenField, PromptEnd
from isc.conversation.renderer import Renderer
from isc.conversation.training import TrainingSample
from isc.convert import Messages, Tools
from isc.encoding.base import Encoder
from isc.encoding.fold import unfold
from isc.errors import ConversationError, OptionError, RolloutError
from isc.formats.reading.scanners import spelling
from isc.rendered import RenderedTokens, ids_of
from isc.types import AssistantMessage, CallStatus, Chat, Content, Message, ParsedResponse, Span, TextPart, ToolCall

_READ: frozenset[CallStatus] = frozenset(("ok", "unknown_tool"))


class SampledTokens(TrainingSample, frozen=True, dict=True):
    """Ids, of which `loss_spans` are sampled tokens that stand after the very ids they were sampled after.

    Attributes:
        rendered: Ids and attribution.
        loss_spans: Half-open token spans that are trained on, in order.
        logprobs: For each token the log-probability its sampler reported (natural logarithm); None where it reported
            none, and where the token was not sampled here.
    """

    logprobs: tuple[float | None, ...]


class Rerender(Brief, Struct, frozen=True):
    """A point where the conversation could not be extended and was rendered afresh.

    Attributes:
        turn: The completion after which it happened, counted from 0.
        reason: Why the bridge was refused.
        detail: The same for a human.
        kept: How many leading ids the fresh render shares with what stood before.
        abandoned: What stood before: the last prompt and its completion, trained on where the fresh render does not
            hold the sampled tokens any more.
    """

    turn: int
    reason: RefusalReason
    detail: str
    kept: int
    abandoned: SampledTokens

    @property
    def lost(self) -> int:
        """Count the sampled tokens that the episode goes on without."""
        return self.abandoned.trainable_tokens


class Episode(SampledTokens, frozen=True, dict=True):
    """A whole rollout as one sample: the ids of the last prompt and its completion.

    Attributes:
        messages: The conversation; owners of tokens index it.
        rerenders: Every point where ids were not extended, in order.
    """

    messages: tuple[Message, ...]
    rerenders: tuple[Rerender, ...] = ()

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Return what is told of an episode: of its sample, its messages and how often it was rendered afresh."""
        told = super().__rich_repr__()
        return [*told, ("messages", len(self.messages)), ("rerenders", len(self.rerenders))]

    @property
    def abandoned(self) -> tuple[SampledTokens, ...]:
        """Return the sequence before each re-render that lost sampled tokens. Those tokens are trained on there."""
        return tuple(point.abandoned for point in self.rerenders if point.lost)


class Completion(Brief, Struct, frozen=True):
    """The ids that were sampled for a prompt, their log-probabilities, and the response read from them."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float | None, ...]
    response: ParsedResponse


class Rollout(Displayed, Struct, frozen=True):
    """The state of an episode: either a prompt waits for its completion, or a completion for what comes after it.

    States are values: every step returns a new one, so an episode can be branched at any point.

    Attributes:
        renderer: Format and vocabulary.
        chat: The messages of the prompt, sampled turns as they were read, and the tools.
        sampled: The prompt, with what was sampled of it in earlier turns.
        completion: What was sampled for the prompt, until messages come.
        rerenders: Every point so far where ids were not extended.
        turn: How many completions the prompt holds or has left behind.
        given: What the prompt holds of the answer that is asked for.

    >>> import isc
    >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
    >>> rollout = Rollout.start(renderer, [{"role": "user", "content": "time?"}])
    >>> rollout = rollout.after_completion([5, 6, renderer.get_stop_token_ids()[0]], [-1.5, -0.5, -0.25])
    >>> rollout = rollout.after_messages([{"role": "tool", "content": "12:00"}])
    >>> episode = rollout.after_completion([7], [-2.0]).finish()
    >>> [logprob for logprob in episode.logprobs if logprob is not None], episode.trainable_tokens
    ([-1.5, -0.5, -0.25, -2.0], 4)
    """

    renderer: Renderer
    chat: Chat
    sampled: SampledTokens
    completion: Completion | None = None
    rerenders: tuple[Rerender, ...] = ()
    turn: int = 0
    given: AssistantMessage = AssistantMessage()

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Return what is told of a rollout: where it stands, and how long prompt and completion are."""
        completion = None if self.completion is None else len(self.completion.token_ids)
        sizes = [("messages", len(self.chat.messages)), ("prompt", len(self.prompt)), ("completion", completion)]
        return [("turn", self.turn), *sizes, ("rerenders", len(self.rerenders))]

    @classmethod
    def start(
        cls,
        renderer: Renderer,
        messages: Messages,
        tools: Tools = None,
        *,
        continue_final_message: bool | OpenField = False,
        prefill: str | None = None,
    ) -> Rollout:
        """Return the state in which the first prompt waits for its completion.

        Args:
            renderer: Format and vocabulary.
            messages: The conversation so far; nothing of it counts as sampled. Arguments that are no JSON stay as they
                are: a model that wrote some has to live with them.
            tools: Tool specs, the same for the whole episode.
            continue_final_message: Whether the first completion goes on with the last message; see `Renderer.render`.
            prefill: A text that the first completion goes on with; see `Renderer.render`.

        Raises:
            ConversationError: Something cannot be rendered.
            OptionError: Both beginnings of the answer are given.
        """
        chat = renderer.chat(messages, tools, invalid_arguments="raw")
        end = PromptEnd.of(not continue_final_message, continue_final_message, prefill)
        rendered = renderer.render_to(chat, end)
        given: Message = AssistantMessage()
        if continue_final_message:
            *before, given = chat.messages
            chat = Chat(tuple(before), chat.tools, earlier_images=chat.earlier_images)
        elif prefill:
            reasons = bridge.prompt_leaves_reasoning_open(renderer.family, renderer.encoder, rendered.token_ids)
            given = AssistantMessage(reasoning_content=prefill) if reasons else AssistantMessage(prefill)
        assert isinstance(given, AssistantMessage), "only an assistant message is left open"
        return cls(renderer, chat, SampledTokens(rendered, (), (None,) * len(rendered)), given=given)

    @property
    def prompt(self) -> RenderedTokens:
        """Return the prompt that the sampler is given, or was given last."""
        return self.sampled.rendered

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """Return the ids of the prompt."""
        return self.prompt.token_ids

    @property
    def response(self) -> ParsedResponse:
        """Parse the completion into content, reasoning and tool calls.

        Raises:
            RolloutError: There is none yet.
        """
        return self._completion("read").response

    def after_completion(
        self, completion_ids: Sequence[int], logprobs: Sequence[float | None] | None = None
    ) -> Rollout:
        """Return the state in which a completion waits for messages, or for `finish`.

        Args:
            completion_ids: What was sampled for the prompt, as it was sampled: stop token included, or cut off.
            logprobs: The log-probability of each; None where the sampler told none.

        Raises:
            OptionError: `logprobs` is not as long as the completion, or holds what is no finite number.
            RolloutError: The last completion still waits.
        """
        if self.completion is not None:
            raise RolloutError(
                f"turn {self.turn} has its completion; give what came after it to after_messages, or finish"
            )
        ids = ids_of(completion_ids, "completion_ids")
        by_token = (None,) * len(ids) if logprobs is None else _as_tuple(logprobs)
        _check_logprobs(by_token, len(ids))
        prompt = bridge.without_literal_openers(self.renderer.family, self.renderer.encoder, self.prompt)
        response = self.renderer.parse_response(ids, self.chat.tools, prompt)
        return replace(self, completion=Completion(ids, by_token, response))

    def after_messages(self, new_messages: Messages) -> Rollout:
        """Return the state in which the next prompt waits: the same ids and the new messages' ids, or a re-render.

        Args:
            new_messages: What came after the completion: tool results, user messages, or turns given in the model's
                place, which are never extended.

        Raises:
            ConversationError: A new message cannot be rendered.
            RolloutError: There is no completion for them to follow.
        """
        completion = self._completion("followed by messages")
        tools = self.chat.tools
        new = self.renderer.chat_after(new_messages, tools, self.prompt.multi_modal_data).messages
        if not new:
            raise ConversationError("new_messages", "there are none; finish ends the episode with the completion")
        chat = Chat((*self.chat.messages, self._said(completion), *new), tools)
        before = self._answered(completion)
        extended = self.renderer.extend(self.prompt, completion.token_ids, new, tools)
        if extended is not None:
            extended = self._parted(extended, completion)
            return replace(
                self,
                chat=chat,
                sampled=_under(before, extended, len(before.rendered)),
                completion=None,
                turn=self.turn + 1,
                given=AssistantMessage(),
            )
        prompt = bridge.without_literal_openers(self.renderer.family, self.renderer.encoder, self.prompt)
        refusal = self.renderer.plan_bridge(prompt, completion.token_ids, new, tools)
        assert isinstance(refusal, Refusal), "extend and plan_bridge decide alike"
        return self._rerendered(chat, before, refusal)

    def finish(self) -> Episode:
        """Return the episode as it stands. The last completion is its end, or a prompt without an answer."""
        if self.completion is None:
            end, messages = self.sampled, self.chat.messages
        else:
            end = self._answered(self.completion)
            messages = (*self.chat.messages, self._said(self.completion))
        return Episode(end.rendered, end.loss_spans, end.logprobs, messages, self.rerenders)

    def _completion(self, wanted: str) -> Completion:
        if self.completion is None:
            raise RolloutError(
                f"turn {self.turn} has no completion to be {wanted} yet; sample one for prompt_ids and give it to "
                "after_completion"
            )
        return self.completion

    def _said(self, completion: Completion) -> AssistantMessage:
        said = assistant_message(self.renderer.encoder, completion.token_ids, completion.response)
        return together(self.given, said)

    def _answered(self, completion: Completion) -> SampledTokens:
        """Return prompt and completion as one sequence."""
        start = len(self.prompt)
        rendered = self._parted(bridge.continued(self.prompt, completion.token_ids, None), completion)
        spans = ((start, len(rendered)),) if completion.token_ids else ()
        return SampledTokens(
            rendered, (*self.sampled.loss_spans, *spans), (*self.sampled.logprobs, *completion.logprobs)
        )

    def _parted(self, rendered: RenderedTokens, completion: Completion) -> RenderedTokens:
        """Return a render in which the completion says its parts, if the renderer says parts."""
        if not self.renderer.parts:
            return rendered
        from isc.conversation.sampled_parts import completion_parts, with_parts_at

        said = (self._said(completion), completion.token_ids, completion.response)
        return with_parts_at(rendered, len(self.prompt), completion_parts(self.renderer, self.chat, *said))

    def _rerendered(self, chat: Chat, before: SampledTokens, refusal: Refusal) -> Rollout:
        rendered = self.renderer.render_chat(chat, add_generation_prompt=True)
        kept = shared(before.token_ids, rendered.token_ids)
        lost = tuple((max(start, kept), end) for start, end in before.loss_spans if end > kept)
        abandoned = SampledTokens(before.rendered, lost, before.logprobs)
        point = Rerender(self.turn, refusal.reason, refusal.detail, kept, abandoned)
        return Rollout(
            self.renderer,
            chat,
            _under(before, rendered, kept),
            rerenders=(*self.rerenders, point),
            turn=self.turn + 1,
        )


def assistant_message(encoder: Encoder, completion_ids: Sequence[int], response: ParsedResponse) -> AssistantMessage:
    """Turn a completion into a message. Calls that were read are calls. Other attempts are text of the content.

    Args:
        encoder: Ids to text.
        completion_ids: What was sampled.
        response: The same as `Renderer.parse_response` read it.

    >>> import isc
    >>> renderer = isc.create_renderer(isc.encoders.embedded(isc.Qwen3().specials), isc.Qwen3())
    >>> ids = [renderer.encoder.specials["<tool_call>"], *next(iter(renderer.encoder.encode_batch(["{oops"])))]
    >>> assistant_message(renderer.encoder, ids, renderer.parse_response(ids)).content
    '<tool_call>{oops'
    """
    calls: list[ToolCall] = []
    texts = [response.content]
    for call in response.tool_calls:
        if call.status in _READ and call.name is not None and call.arguments is not None:
            calls.append(ToolCall(call.name, call.arguments, call.id))
        else:
            start, end = call.token_span
            texts.append(spelling(unfold(completion_ids[start:end], encoder).segments))
    content = "\n".join(text for text in texts if text)
    return AssistantMessage(content, reasoning_content=response.reasoning_content, tool_calls=tuple(calls))


def together(given: AssistantMessage, said: AssistantMessage) -> AssistantMessage:
    """Return an answer that begins with what was given of it. Where that is reasoning, the answer goes on reasoning.

    Args:
        given: What the prompt held of the answer.
        said: What was sampled after it.

    >>> together(AssistantMessage("Good"), AssistantMessage(" day")).content
    'Good day'
    """
    reasoning = said.reasoning_content
    if given.reasoning_content is not None:
        reasoning = given.reasoning_content + (reasoning or "")
    content: Content = said.content
    if isinstance(given.content, tuple):
        content = (*given.content, TextPart(str(said.content or "")))
    elif given.content:
        content = given.content + str(said.content or "")
    return replace(said, content=content, reasoning_content=reasoning)


def _as_tuple(values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Return values as a tuple of plain ones, also of an array of NumPy or torch."""
    as_list = getattr(values, "tolist", None)
    return tuple(as_list() if callable(as_list) else values)


def _check_logprobs(logprobs: Sequence[float | None], count: int) -> None:
    if len(logprobs) != count:
        raise OptionError(f"logprobs: {len(logprobs)} values for {count} completion_ids; there must be one a token")
    wrong = next((value for value in logprobs if value is not None and not math.isfinite(value)), None)
    if wrong is not None:
        raise OptionError(f"logprobs: {wrong} is no log-probability; give None where the sampler told none")


def _under(before: SampledTokens, rendered: RenderedTokens, kept: int) -> SampledTokens:
    """Carry loss spans and log-probabilities over to `rendered`, cut off after the first `kept` ids."""
    spans: tuple[Span, ...] = before.loss_spans
    if spans and spans[-1][1] > kept:  # else none is cut off, and a long episode has thousands
        spans = tuple((start, min(end, kept)) for start, end in spans if start < kept)
    return SampledTokens(rendered, spans, before.logprobs[:kept] + (None,) * (len(rendered) - kept))
