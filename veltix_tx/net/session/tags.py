"""Tags that an application sets on a session, and a session's methods for them, under upstream's names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from veltix_tx.errors import SettingsError, excerpt
from veltix_tx.net.threads import OwnerThread, from_any_thread

__all__ = ["Taggable", "Tags", "Watcher", "check_names"]

Watcher = Callable[[Any, str, bool], None]
"""Called with a session, a tag's name, and whether it is there now."""


def check_names(argument: str, names: object) -> None:
    """Raise SettingsError for what is one tag, or none, where several are due: a text would be taken for its letters.

    Args:
        argument: what it was given as.
        names: what was given.
    """
    if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
        raise SettingsError(argument, names, f"several tags, such as [{excerpt(names)}]" if names else "several tags")


class Tags:
    """Names with values, of one session.

    Args:
        session: whose tags they are; its watchers are told when one comes or goes.
    """

    __slots__ = ("_session", "_values")

    def __init__(self, session: Taggable) -> None:
        self._values: dict[str, object] = {}
        self._session = session

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
        """Return True if every one of these is there, or there are none."""
        return all(name in self._values for name in names)

    def has_any(self, names: Iterable[str]) -> bool:
        """Return True if one of these is there."""
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
        for watcher in self._session._tag_observers:
            watcher(self._session, name, present)


class Taggable:
    """Base of what has tags.

    Attributes:
        _owner_thread: the thread it lives in.
        _tag_observers: each is called with it, a tag's name, and whether that is there now, whenever one comes or goes.
    """

    _owner_thread: OwnerThread

    def __init__(self) -> None:
        self._tag_observers: tuple[Watcher, ...] = ()
        self._tags: Tags | None = None  # most sessions have none

    @property
    def tags(self) -> Tags:
        """Tags that the application has set; :meth:`add_tag` and the others change them."""
        if self._tags is None:
            self._tags = Tags(self)
        return self._tags

    def _tag_names(self) -> Iterable[str]:
        """Return the names of its tags."""
        return () if self._tags is None else self._tags

    @from_any_thread
    def add_tag(self, name: str, value: object = None) -> bool:
        """Set a tag; return False, and leave its value as it is, where it is set already."""
        return self.tags.add(name, value)

    @from_any_thread
    def has_tag(self, name: str) -> bool:
        """Return True if a tag is set."""
        return name in self.tags

    @from_any_thread
    def has_all_tags(self, names: Iterable[str]) -> bool:
        """Return True if all of these tags are set, or there are none. One tag alone, in place of several, is a SettingsError."""
        check_names("names", names)
        return self.tags.has_all(names)

    @from_any_thread
    def has_any_tags(self, names: Iterable[str]) -> bool:
        """Return True if any of these tags is set. One tag alone, in place of several, is a SettingsError."""
        check_names("names", names)
        return self.tags.has_any(names)

    @from_any_thread
    def get_tag(self, name: str) -> object:
        """Return a tag's value, None where it is not set."""
        return self.tags.get(name)

    @from_any_thread
    def remove_tag(self, name: str) -> bool:
        """Take a tag away; return whether it was set."""
        return self.tags.remove(name)

    @from_any_thread
    def clear_tags(self) -> None:
        """Take every tag away."""
        self.tags.clear()
