"""Tags: what an application notes about one session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

__all__ = ["Tags"]


class Tags:
    """Names with values, of one session.

    Attributes:
        watchers: each is called with a name and whether it is there now, whenever one comes or goes.
    """

    __slots__ = ("_values", "watchers")

    def __init__(self) -> None:
        self._values: dict[str, object] = {}
        self.watchers: tuple[Callable[[str, bool], None], ...] = ()

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
        self._tell(name, True)
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
        self._tell(name, False)
        return True

    def clear(self) -> None:
        """Take every tag away."""
        for name in self:
            self.remove(name)

    def _tell(self, name: str, present: bool) -> None:
        for watcher in self.watchers:
            watcher(name, present)
