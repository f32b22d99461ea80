"""Values as TOML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, time

__all__ = ["toml"]


def toml(value: object) -> str:
    """Return a value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return format(value, "d") if isinstance(value, int) else repr(value).removesuffix(".0")
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(name)} = {toml(each)}" for name, each in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, (date, time)):
        return value.isoformat()
    return json.dumps(str(value), ensure_ascii=False)
