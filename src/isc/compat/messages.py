"""The dicts that callers of `renderers` pass, as typed dicts under the names that they have there."""

from typing import Any, Literal, Required, TypeAlias, TypedDict


class TextPart(TypedDict):
    """A piece of text in a message's content."""

    type: Literal["text"]
    text: str


class ThinkingPart(TypedDict):
    """A piece of reasoning in a message's content."""

    type: Literal["thinking"]
    thinking: str


class ImagePart(TypedDict, total=False):
    """An image in a message's content, by whichever key says where it is."""

    type: Literal["image", "image_url"]
    image: Any
    url: str
    path: str
    image_url: dict[str, Any]


class VideoPart(TypedDict, total=False):
    """A video in a message's content; isc refuses it by name."""

    type: Literal["video", "video_url"]
    video: Any
    url: str
    path: str
    video_url: dict[str, Any]


ContentPart: TypeAlias = TextPart | ThinkingPart | ImagePart | VideoPart
Content: TypeAlias = str | list[ContentPart]


class ToolCallFunction(TypedDict):
    """What a call calls; arguments as an object, or as its JSON text."""

    name: str
    arguments: dict[str, Any] | str


class ToolCall(TypedDict, total=False):
    """A call of a tool in an assistant's message."""

    type: str
    id: str
    function: ToolCallFunction


class ToolSpec(TypedDict):
    """A tool that is offered."""

    name: str
    description: str
    parameters: dict[str, Any]


class Message(TypedDict, total=False):
    """A chat message in OpenAI's form."""

    role: Required[str]
    content: Required[Content]
    tool_calls: list[ToolCall]
    tool_call_id: str
    name: str
    reasoning: str
    reasoning_content: str
