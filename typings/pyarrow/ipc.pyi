from collections.abc import Iterator

from pyarrow import NativeFile, RecordBatch, Schema

class RecordBatchStreamReader:
    @property
    def schema(self) -> Schema: ...
    def __iter__(self) -> Iterator[RecordBatch]: ...

def open_stream(source: NativeFile) -> RecordBatchStreamReader: ...
