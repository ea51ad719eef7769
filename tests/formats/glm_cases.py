"""GLM's values and their references: every option of every template, GLM-4.6 and GLM-4.7-Flash by their own files."""

from __future__ import annotations

import isc
from cases import Case
from isc.formats.glm4_5 import Glm45
from isc.formats.glm5 import Glm5
from isc.formats.glm5_1 import Glm51
from references import arguments_as_objects, none_as_empty, parts_joined


def _case(name: str, family: isc.Family, model: str, tokenizer: str = "glm-5", **options: bool) -> Case:
    template = f"zai-org--{model}/chat_template.jinja"
    return Case(
        name, family, template, tokenizer, options, adaptations=(parts_joined, none_as_empty, arguments_as_objects)
    )


CASES = (
    _case("glm-4.5", Glm45(), "GLM-4.5", "glm-4.5"),
    _case("glm-4.5-no-thinking", Glm45(enable_thinking=False), "GLM-4.5", "glm-4.5", enable_thinking=False),
    _case("glm-4.6", Glm45(), "GLM-4.6", "glm-4.5", enable_thinking=True),
    _case("glm-4.7-flash", Glm5(), "GLM-4.7-Flash", enable_thinking=True, clear_thinking=True),
    _case("glm-5", Glm5(), "GLM-5"),
    _case("glm-5-no-thinking", Glm5(enable_thinking=False), "GLM-5", enable_thinking=False),
    _case("glm-5-all-thinking", Glm5(clear_thinking=False), "GLM-5", clear_thinking=False),
    _case(
        "glm-5-all-thinking-but-no-more",
        Glm5(enable_thinking=False, clear_thinking=False),
        "GLM-5",
        enable_thinking=False,
        clear_thinking=False,
    ),
    _case("glm-5.1", Glm51(), "GLM-5.1"),
    _case("glm-5.1-no-thinking", Glm51(enable_thinking=False), "GLM-5.1", enable_thinking=False),
    _case("glm-5.1-all-thinking", Glm51(clear_thinking=False), "GLM-5.1", clear_thinking=False),
    _case(
        "glm-5.1-all-thinking-but-no-more",
        Glm51(enable_thinking=False, clear_thinking=False),
        "GLM-5.1",
        enable_thinking=False,
        clear_thinking=False,
    ),
)
