"""Tags: what an application notes about one session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

__all__ = ["Tags"]


class Tags:
    """Names with values, of one session.

    Attributes:
        changed: called with a name and whether it is there now, whenever one comes or goes.
    """

    __slots__ = ("_values", "changed")

    def __init__(self) -> None:
        self._values: dict[str, object] = {}
        self.changed: Callable[[str, bool], None] | None = None

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._values))

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __len__(self) -> int:
        return len(self._values)

    def add(self, name: str, value: object = None) -> bool:
        """Set a tag that is not there; return False, and leave its value, where it is."""
        if name in self._values:
            return False
        self._values[name] = value
        if self.changed is not None:
            self.changed(name, True)
        return True

    def get(self, name: str) -> object:
        """Return a tag's value, None where it is not there."""
        return self._values.get(name)

    def has_all(self, names: Iterable[str]) -> bool:
        """Whether every one of these is there; True for none."""
        return all(name in self._values for name in names)

    def has_any(self, names: Iterable[str]) -> bool:
        """Whether one of these is there; False for none."""
        return any(name in self._values for name in names)

    def remove(self, name: str) -> bool:
        """Take a tag away; return whether it was there."""
        if name not in self._values:
            return False
        del self._values[name]
        if self.changed is not None:
            self.changed(name, False)
        return True

    def clear(self) -> None:
        """Take every tag away."""
        for name in self:
            self.remove(name)
