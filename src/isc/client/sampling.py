"""Sampling parameters and further fields of a request, checked against what `generate` relies on."""

from __future__ import annotations

from collections.abc import Mapping

from isc._json import json_value
from isc.conversation.renderer import Renderer
from isc.errors import ConversationError, OptionError
from isc.types import Json


def sampling_params(renderer: Renderer, parameters: Mapping[str, Json]) -> dict[str, Json]:
    """Return the caller's parameters with the format's stop tokens.

    Raises:
        OptionError: One of them cannot be honoured, or has no JSON form.
    """
    params = {"stop_token_ids": renderer.get_stop_token_ids(), **json_fields(parameters, "sampling_params")}
    needed = {"n": (1, "one turn a call"), "skip_special_tokens": (False, "turns are read by their specials")}
    for name, (value, reason) in needed.items():
        if params.get(name, value) != value:
            raise OptionError(f"sampling_params.{name} is {params[name]!r}, but must be {value!r}: {reason}")
    logprobs = params.get("logprobs", 1)
    if type(logprobs) is not int or logprobs < 1:
        raise OptionError(f"sampling_params.logprobs is {logprobs!r}, but must be at least 1: every token has its own")
    return params


def json_fields(fields: Mapping[str, Json], name: str) -> dict[str, Json]:
    """Return the same fields, if they have a JSON form.

    Raises:
        OptionError: They have none; says which.
    """
    try:
        json_value(dict(fields), name)
    except ConversationError as error:
        raise OptionError(str(error)) from None
    return dict(fields)
