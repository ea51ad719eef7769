from typing import Any

class BaseRendererConfig:
    model_fields: dict[str, Any]

    def __init__(self, **fields: Any) -> None: ...
