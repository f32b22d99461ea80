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
        /,
    ) -> Decoder: ...
    def __call__(self, data: bytes, position: int, received_at: int, events: list[Any], /) -> int: ...

class Encoder:
    def __new__(cls, header_size: int, id_size: int, clock: Callable[[], int] | None, turned: bool = False, /) -> Encoder: ...
    def __call__(self, code: int, content: bytes, request_id: int, /) -> bytes: ...
