"""A trainer's rollouts by verifiers: its agent, interception server, renderer pool and train client, as they are.

`python rollouts.py isc.compat URL DIRECTORY COUNT` lets `isc.compat` stand in for `renderers`; `renderers` in its place
runs the real one. The program that verifiers would launch is a loop in this process: two tools, a few turns. Prints one
JSON object a rollout.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

if sys.argv[1:2] == ["isc.compat"]:
    from isc.compat import install

    install()

import renderers
from openai import AsyncOpenAI
from verifiers.v1 import Agent, AgentConfig, ProgramResult, SubprocessConfig, Task, TaskData, TrainClientConfig
from verifiers.v1.harnesses.null.harness import NullHarness, NullHarnessConfig
from verifiers.v1.trace import Trace
from verifiers.v1.types import SamplingConfig

from golden_conversations import TOOLS

TURNS = 5
MODEL = "tiny-qwen3"
RESULTS = ("12:00", "\nline\n", "3.14 e\u0301", "", "<|im_end|> said a tool", "漢字", '{"hits": []}')
QUESTIONS = ("What time is it?", "Look for cats.", "  naïve e\u0301 ", "<|im_start|>user")


class ToolLoop(NullHarness):  # type: ignore[misc]  # untyped
    """Calls the model through the interception server until it calls no tool, and answers calls itself."""

    async def setup(self, runtime: Any) -> None:  # noqa: ANN401 - verifiers' own
        """Nothing is launched, so nothing is prepared."""

    async def launch(
        self,
        ctx: Any,  # noqa: ANN401
        trace: Any,  # noqa: ANN401
        runtime: Any,  # noqa: ANN401
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: TaskData,
        tool_interception_url: str | None = None,
    ) -> ProgramResult:
        """The loop."""
        _, prompt = self.resolve_prompt(data)
        messages: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": str(prompt)}]
        async with AsyncOpenAI(base_url=endpoint, api_key=secret, max_retries=0) as client:
            tools: Any = [*TOOLS]
            for turn in range(TURNS):
                answer = await client.chat.completions.create(model=ctx.model, messages=messages, tools=tools)
                said = answer.choices[0].message
                messages.append(said.model_dump(exclude_none=True))
                if said.tool_calls:
                    messages += [
                        {"role": "tool", "tool_call_id": call.id, "content": RESULTS[(turn + place) % len(RESULTS)]}
                        for place, call in enumerate(said.tool_calls)
                    ]
                elif turn % 2:
                    break
                else:
                    messages.append({"role": "user", "content": "Go on."})
        return ProgramResult(0, "", "")


async def play(url: str, directory: str, count: int) -> list[Trace]:
    """Rollouts one after another, so that the engine's dice fall the same way for whoever asks."""
    renderer = renderers.Qwen3RendererConfig(thinking_retention="all")
    client = TrainClientConfig(
        base_url=f"{url}/v1", api_key_var="ISC_NO_KEY", renderer=renderer, renderer_model_name=directory
    )
    sampling = SamplingConfig(max_tokens=120, temperature=1.0)
    harness = NullHarnessConfig(id="null")
    config = AgentConfig(harness=harness, runtime=SubprocessConfig(), model=MODEL, client=client, sampling=sampling)
    agent = Agent(config)
    agent.harness = ToolLoop(harness)
    async with agent:
        return [
            await agent.run(Task(TaskData(idx=number, prompt=QUESTIONS[number % len(QUESTIONS)])))
            for number in range(count)
        ]


def summary(trace: Trace) -> dict[str, Any]:
    """What a trainer takes from a rollout: every branch's ids, masks and logprobs, and what went wrong."""
    branches = [
        {
            "ids": branch.token_ids,
            "sampled": branch.sampled_mask,
            "logprobs": branch.logprobs,
            "roles": [message.role for message in branch.messages],
            "content": [flag for node in branch.nodes for flag in node.is_content],
        }
        for branch in trace.branches
    ]
    return {"ok": trace.ok, "errors": [error.message for error in trace.errors], "branches": branches}


if __name__ == "__main__":
    url, directory, count = sys.argv[2:]
    for trace in asyncio.run(play(url, directory, int(count))):
        print(json.dumps(summary(trace)))
