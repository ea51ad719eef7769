"""Every error isc raises on purpose: one base class, each message names the place, the value and the way out."""

from __future__ import annotations

from msgspec import Struct

_SHOWN_CHARACTERS = 120


def shown(value: object) -> str:
    """Return the repr of a value, shortened for an error message."""
    try:
        text = ascii(value) if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # an integer of too many digits, or nested too deeply
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}... ({type(value).__name__})"


class Error(Exception):
    """Base of all errors that isc raises."""


class ConversationError(Error, ValueError):
    """A message, part, tool call or tool that cannot be rendered; `path` says which, `value` is what stood there."""

    def __init__(self, path: str, problem: str, value: object = None) -> None:
        super().__init__(path, problem, value)
        self.path = path
        self.problem = problem
        self.value = value

    def within(self, path: str) -> ConversationError:
        """Return the same error with `path` put before its own path."""
        if self.path.startswith("["):
            return type(self)(path + self.path, self.problem, self.value)
        return type(self)(f"{path}.{self.path}" if self.path else path, self.problem, self.value)

    def __str__(self) -> str:
        seen = "" if self.value is None else f" (got {shown(self.value)})"
        return f"{self.path}: {self.problem}{seen}"


class HistoryError(ConversationError):
    """What a message says depends on earlier turns that a bridge does not know. A bridge is refused for it."""


class SpecialInBodyError(ConversationError):
    """Caller data spells a control token and the policy is `body_specials="reject"`."""


class MediaError(ConversationError):
    """An image part that cannot be read or that the model's processor refuses; `path` names the part."""


class OptionError(Error, ValueError):
    """A family option or an argument of a public function has a value that cannot be honoured."""


class TooLongError(Error, ValueError):
    """A sample has more tokens than it may have, and cannot be shortened as was asked."""


class UnknownModelError(Error, LookupError):
    """No family is known for this model name."""


class FamilyError(Error, TypeError):
    """A module under `isc.formats`, or a family of it, lacks what every format has."""


class LoadError(Error, OSError):
    """A file of a model is missing, unreadable, gated or corrupt; names the file and where it was looked for."""


class MissingFileError(LoadError):
    """The model is there, but not this file of it."""


class EncoderError(Error, ValueError):
    """A tokenizer that isc cannot account for byte by byte, or that is of an unknown kind."""


class MissingSpecialError(EncoderError):
    """The tokenizer has no token for a special that the format spells."""


class AttributionError(Error, ValueError):
    """Runs, ids and message tables of a `RenderedTokens` that do not fit each other."""


class NothingToTrainError(Error, ValueError):
    """A training sample without one trained token, under `require_trainable=True`."""


class TrajectoryError(Error, ValueError):
    """A trajectory whose turns the format rewrites, so that no one sequence of ids holds them all."""


class RolloutError(Error, RuntimeError):
    """A step of a rollout that its state does not allow; says which one comes next."""


class TemplateError(Error, ValueError):
    """A chat template cannot be compiled, or raised while it was rendered; carries the template's own message."""


class TemplateLimitError(Error, RuntimeError):
    """A chat template used more time, steps or memory than any honest one."""


class OverlongPromptError(Error, ValueError):
    """A prompt of more tokens than the engine takes; nothing was sent. `length` and `limit` are in tokens."""

    def __init__(self, length: int, limit: int, limited_by: str) -> None:
        super().__init__(length, limit, limited_by)
        self.length = length
        self.limit = limit
        self.limited_by = limited_by

    def __str__(self) -> str:
        return (
            f"the prompt has {self.length} tokens and {self.limited_by} takes {self.limit}; nothing was sent: shorten "
            "the conversation, or serve the model with a longer context"
        )


class PartialCompletion(Struct, frozen=True):
    """What had been sampled when a call came to nothing; ask again with `prompt_ids + completion_ids` to go on.

    Attributes:
        prompt_ids: The ids that were sent.
        completion_ids: The ids that were sampled after them, as far as they were received.
        completion_logprobs: The log probability of each, as the engine reported it.
        request_id: The engine's name for the request.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    completion_logprobs: tuple[float, ...]
    request_id: str


class ClientError(Error):
    """A call of an engine that gave no result; `url` and `request_id` say which, `problem` what happened.

    `partial` is what was sampled by then, as far as it was received and passed the checks; None where nothing was.
    """

    partial: PartialCompletion | None = None

    def __init__(self, url: str, request_id: str, problem: str, *more: object) -> None:
        super().__init__(url, request_id, problem, *more)
        self.url = url
        self.request_id = request_id
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.url} (request {self.request_id}): {self.problem}"


class EngineUnavailableError(ClientError, ConnectionError):
    """No answer: not reached, the connection was lost, or 429 and 5xx to the end; `status` is the last answer's.

    `partial` is what a stream had brought before it broke off; None where nothing of use was received.
    """

    def __init__(
        self,
        url: str,
        request_id: str,
        problem: str,
        attempts: int = 1,
        status: int | None = None,
        partial: PartialCompletion | None = None,
    ) -> None:
        super().__init__(url, request_id, problem, attempts, status, partial)
        self.attempts = attempts
        self.status = status
        self.partial = partial

    def __str__(self) -> str:
        return f"{super().__str__()} ({_times(self.attempts)}); see whether the engine is up, then call again"


class EngineTimeoutError(ClientError, TimeoutError):
    """No complete answer in the time that was allowed; `partial` is what a stream had brought until then, or None."""

    def __init__(
        self, url: str, request_id: str, problem: str, attempts: int = 1, partial: PartialCompletion | None = None
    ) -> None:
        super().__init__(url, request_id, problem, attempts, partial)
        self.attempts = attempts
        self.partial = partial

    def __str__(self) -> str:
        return (
            f"{super().__str__()} ({_times(self.attempts)}); allow more with Retries(timeout=...), or fewer max_tokens"
        )


class EngineRefusedError(ClientError):
    """The engine will not do it, and asking again changes nothing: a 4xx; `status` and `excerpt` are its answer."""

    def __init__(self, url: str, request_id: str, problem: str, status: int, excerpt: str) -> None:
        super().__init__(url, request_id, problem, status, excerpt)
        self.status = status
        self.excerpt = excerpt


class EngineAbortedError(ClientError):
    """The engine took the request and gave it up; `partial` is what it had sampled until then, None if not told."""

    def __init__(self, url: str, request_id: str, problem: str, partial: PartialCompletion | None = None) -> None:
        super().__init__(url, request_id, problem, partial)
        self.partial = partial


class MalformedResponseError(ClientError, ValueError):
    """An answer that cannot be trusted; `path` says which field, `value` is what stood there.

    `partial` is what a stream had brought before that, or None.
    """

    def __init__(
        self,
        url: str,
        request_id: str,
        path: str,
        problem: str,
        value: object = None,
        partial: PartialCompletion | None = None,
    ) -> None:
        super().__init__(url, request_id, path, problem, value, partial)
        self.path = path
        self.problem = problem
        self.value = value
        self.partial = partial

    def __str__(self) -> str:
        seen = "" if self.value is None else f" (got {shown(self.value)})"
        return (
            f"{self.url} (request {self.request_id}): the response is not used: {self.path}: {self.problem}{seen}; "
            "look at the engine's version and log"
        )


def _times(attempts: int) -> str:
    return "tried once" if attempts == 1 else f"tried {attempts} times"


class EncoderFallbackWarning(UserWarning):
    """A faster engine disagreed with the reference tokenizer and was not used."""


class UnreadKeyWarning(UserWarning):
    """Messages have keys that neither isc nor the format reads; told once for the same keys."""


class TracedTemplateNotice(UserWarning):
    """A model without a family is rendered by its own chat template."""


class IgnoredToolsWarning(UserWarning):
    """Tools were given to a model's own chat template, which shows none of them; told once for a template."""


class UnpromptedTurnWarning(UserWarning):
    """Assistant turns are trained on that do not begin with the generation prompt of the renderer's options."""
