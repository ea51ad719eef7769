"""An agent that knows nothing of isc: OpenAI's client, one tool, and a loop until there is nothing left to call.

It goes where `OPENAI_BASE_URL` says, and asks for the first model that is there.
"""

from __future__ import annotations

import json
from typing import Any

import openai

TOOL: Any = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}},
    },
}

client = openai.OpenAI()
model = client.models.list().data[0].id
messages: list[Any] = [{"role": "user", "content": "What is 2 + 40?"}]
while True:
    message = client.chat.completions.create(model=model, messages=messages, tools=[TOOL]).choices[0].message
    messages.append(message.model_dump(exclude_none=True))
    if not message.tool_calls:
        break
    for call in message.tool_calls:
        given = json.loads(call.function.arguments)  # type: ignore[union-attr]  # only functions are offered
        messages.append({"role": "tool", "tool_call_id": call.id, "content": str(given["a"] + given["b"])})
print(message.content)
