"""Agent conversations that no engine has seen: every call makes new words, paths, numbers and logs from its seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

_SYLLABLES = "ba ce di fo gu ha je ki lo mu na pe qui ro su ta ve wi xo yu zan tor lek min dral vos pern gath".split()
_COMMON = (
    "the of and to in is that for it as with on be this are from by at or an not have was which has will all can when "
    "file error value test run line result data function call return user set list type check read write path new add "
    "server request response time build module import class object string number found missing failed passed expected"
).split()


class Source:
    """Text from one seed: about a third of its words are new ones."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def word(self) -> str:
        """A common word, or one made of syllables."""
        if self.random.random() < 0.7:
            return self.random.choice(_COMMON)
        return "".join(self.random.choices(_SYLLABLES, k=self.random.randint(2, 4)))

    def prose(self, words: int) -> str:
        """Sentences."""
        found = [self.word() for _ in range(words)]
        for position in range(9, words, 11):
            found[position] += self.random.choice((".", ",", ":\n", ";"))
        return " ".join(found).capitalize() + "."

    def log(self, lines: int) -> str:
        """Lines of a test log or a listing."""
        return "\n".join(self._line() for _ in range(lines))

    def _line(self) -> str:
        number = self.random.randint(0, 99_999)
        path = "/".join(self.word() for _ in range(3))
        day, time = f"{number % 28 + 1:02}", f"10:{number % 60:02}:07,{number % 1000:03}"
        token = f"{self.random.getrandbits(64):016x}"
        return self.random.choice(
            (
                f"2026-11-{day} {time} INFO {path}.py:{number} {self.prose(6)}",
                f"src/{path}.rs:{number % 900}:{number % 80}: error[E{number:05}]: {self.prose(8)}",
                f'{{"id": {number}, "{self.word()}": "{token}", "ok": true, "{self.word()}": null}}',
                f"-rw-r--r-- 1 root root {number:>7} Nov {day} 09:14 {path}.txt",
                f"    def {self.word()}_{self.word()}(self, {self.word()}: int = {number}) -> None:  # {self.prose(4)}",
            )
        )

    def code(self, lines: int) -> str:
        """Lines of a program: short words, operators, brackets and white space, of which a text has many tokens."""
        return "\n".join(self._statement() for _ in range(lines))

    def _statement(self) -> str:
        word = self.word
        number = self.random.randint(0, 999)
        statement = self.random.choice(
            (
                f"def {word()}_{word()}(self, {word()}: {word()}, *, {word()}: int = {number}) -> {word().title()}:",
                f"{word()} = {word()}.{word()}_{word()}({word()}, {word()}[{word()}])",
                f'if {word()}.{word()} is not None and {word()} != "{word()}":',
                f"for {word()}, {word()} in zip({word()}, self.{word()}_{word()}, strict=True):",
                f"return [{word()}.{word()} for {word()} in {word()} if not {word()}]",
                f"from {word()}.{word()} import {word()}, {word()}",
                f'raise {word().title()}Error(f"{word()} {{{word()}!r}} {word()} {word()}")',
                f"self.{word()}[{word()}] += {number}  # {word()}",
            )
        )
        return "    " * self.random.randint(0, 4) + statement


def tools() -> list[dict[str, Any]]:
    """Three tools, always the same."""
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": f"Use it to {name} what the task needs.",
                "parameters": {
                    "type": "object",
                    "properties": {"path": {"type": "string"}, "lines": {"type": "integer"}},
                    "required": ["path"],
                },
            },
        }
        for name in ("read_file", "run_tests", "search")
    ]


def agent(seed: int, cycles: int, lines: int = 9) -> list[dict[str, Any]]:
    """A task, then so many cycles of reasoning, two calls and their results, then an answer.

    With nine lines a result, a cycle is about 900 tokens.
    """
    source = Source(seed)
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": source.prose(120)},
        {"role": "user", "content": source.prose(150)},
    ]
    for cycle in range(cycles):
        messages.extend(_cycle(source, cycle, lines))
    messages.append({"role": "assistant", "content": source.prose(120), "reasoning_content": source.prose(80)})
    return messages


def coding(seed: int, cycles: int) -> list[dict[str, Any]]:
    """A task with code, then so many short turns: a thought, a call whose argument is code, a result that is code.

    Nothing but code is said, in twice as many turns as `agent` has for as many tokens: a cycle is about 450.
    """
    source = Source(seed)
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": source.prose(20)},
        {"role": "user", "content": f"{source.prose(10)}\n{source.code(40)}"},
    ]
    for cycle in range(cycles):
        function = {"name": "read_file", "arguments": {"path": source.code(10)}}
        calls = [{"id": f"call_{cycle}", "type": "function", "function": function}]
        thought = f"look at {source.code(1)}"
        messages.append({"role": "assistant", "content": "", "reasoning_content": thought, "tool_calls": calls})
        messages.append({"role": "tool", "tool_call_id": f"call_{cycle}", "content": source.code(14)})
    messages.append({"role": "assistant", "content": source.prose(5)})
    return messages


def _cycle(source: Source, cycle: int, lines: int) -> Iterator[dict[str, Any]]:
    calls = [
        {
            "id": f"call_{cycle}_{position}",
            "type": "function",
            "function": {"name": name, "arguments": {"path": f"{source.word()}/{source.word()}.py", "lines": cycle}},
        }
        for position, name in enumerate(("read_file", "run_tests"))
    ]
    yield {
        "role": "assistant",
        "content": source.prose(25),
        "reasoning_content": source.prose(70),
        "tool_calls": calls,
    }
    for call in calls:
        yield {"role": "tool", "tool_call_id": call["id"], "content": source.log(lines)}


def short(seed: int) -> list[dict[str, Any]]:
    """A question and an answer, about 150 tokens."""
    source = Source(seed)
    return [{"role": "user", "content": source.prose(30)}, {"role": "assistant", "content": source.prose(60)}]
