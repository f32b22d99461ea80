from collections.abc import Callable
from typing import Any

class Decoder:
    def __new__(
        cls,
        header_size: int,
        id_size: int,
        clock: bool,
        max_content: int,
        first_code: int,
        lookup: Callable[[int], object],
        message_class: type,
        unset: object,
        /,
    ) -> Decoder: ...
    def __call__(self, data: bytes, position: int, received_at: int, events: list[Any], /) -> int: ...

class Encoder:
    def __new__(
        cls, header_size: int, id_size: int, clock: Callable[[], int] | None, turned: bool = False, most: int = ..., /
    ) -> Encoder: ...
    def __call__(self, code: int, content: bytes, request_id: int, /) -> bytes: ...
    def queue(self, out: list[bytes], code: int, content: bytes, request_id: int, /) -> int: ...

def crc32(data: bytes | bytearray | memoryview, value: int = 0, /) -> int: ...
