"""Agents from PyPI, each with a small file task: given a base URL and the name of the model, and nothing of isc."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

TASK = "Create hello.txt"
WRITE, SUBMIT = "echo hello > hello.txt", "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"


def write_file(path: str, content: str) -> str:
    """Write a file.

    Args:
        path: Where.
        content: What it holds.
    """
    Path(path).write_text(content, encoding="utf-8")
    return "written"


def openai_agents(url: str, api: Literal["chat", "responses"]) -> str:
    import agents
    from openai import AsyncOpenAI

    agents.set_tracing_disabled(True)
    asked = AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0)
    kinds = {"chat": agents.OpenAIChatCompletionsModel, "responses": agents.OpenAIResponsesModel}
    agent = agents.Agent(
        "writer", instructions="Be brief.", tools=[agents.function_tool(write_file)], model=kinds[api]("m", asked)
    )
    return str(asyncio.run(agents.Runner.run(agent, TASK)).final_output)


def pydantic_ai(url: str, api: Literal["chat", "responses", "anthropic"]) -> str:
    from anthropic import AsyncAnthropic
    from pydantic_ai import Agent
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.anthropic import AnthropicProvider
    from pydantic_ai.providers.openai import OpenAIProvider

    if api == "anthropic":
        asked = AsyncAnthropic(base_url=url, api_key="x", max_retries=0)
        agent = Agent(AnthropicModel("m", provider=AnthropicProvider(anthropic_client=asked)))
    else:
        kind = OpenAIChatModel if api == "chat" else OpenAIResponsesModel
        agent = Agent(kind("m", provider=OpenAIProvider(base_url=f"{url}/v1", api_key="x")), system_prompt="Be brief.")
    agent.tool_plain(write_file)
    return str(agent.run_sync(TASK).output)


def smolagents(url: str) -> str:
    from smolagents import OpenAIModel, ToolCallingAgent, tool  # type: ignore[import-untyped]

    model = OpenAIModel("m", api_base=f"{url}/v1", api_key="x")
    return str(ToolCallingAgent(tools=[tool(write_file)], model=model, max_steps=4).run(TASK))


def mini_swe_agent(url: str) -> str:
    os.environ.update(
        MSWEA_COST_TRACKING="ignore_errors", MSWEA_SILENT_STARTUP="1", OPENAI_API_KEY="x",
        LITELLM_LOCAL_MODEL_COST_MAP="True",
    )  # fmt: skip
    from minisweagent.agents.default import DefaultAgent
    from minisweagent.environments.local import LocalEnvironment
    from minisweagent.models.litellm_model import LitellmModel

    model = LitellmModel(model_name="openai/m", model_kwargs={"api_base": f"{url}/v1"})
    settings: dict[str, Any] = {"system_template": "Be brief.", "instance_template": "{{task}}", "step_limit": 4}
    return str(DefaultAgent(model, LocalEnvironment(), **settings).run(TASK))


LIBRARIES: dict[str, Callable[[str], str]] = {
    "openai-agents-chat": lambda url: openai_agents(url, "chat"),
    "openai-agents-responses": lambda url: openai_agents(url, "responses"),
    "pydantic-ai-chat": lambda url: pydantic_ai(url, "chat"),
    "pydantic-ai-responses": lambda url: pydantic_ai(url, "responses"),
    "pydantic-ai-anthropic": lambda url: pydantic_ai(url, "anthropic"),
    "smolagents": smolagents,
    "mini-swe-agent": mini_swe_agent,
}

if __name__ == "__main__":
    print(LIBRARIES[sys.argv[1]](sys.argv[2]))
