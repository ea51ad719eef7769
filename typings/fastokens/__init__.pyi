from collections.abc import Sequence

class Encoding:
    @property
    def ids(self) -> list[int]: ...

class Tokenizer:
    @staticmethod
    def from_json_str(json: str) -> Tokenizer: ...
    def encode_batch(self, inputs: Sequence[str]) -> list[Encoding]: ...
