from collections.abc import Callable, Hashable
from typing import Any

def call_handlers(
    events: list[Any],
    session: object,
    handlers: dict[Hashable, Callable[..., object]],
    other: Callable[..., object],
    dispatcher: object,
    message_class: type,
    mode: object,
    /,
) -> int | tuple[int, object, BaseException | None]: ...
