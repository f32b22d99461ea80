"""Classifier: names a peer's type by its first message."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

__all__ = ["ClientClassifier"]


class ClientClassifier:
    """Classifier that knows one type; subclasses know more.

    Attributes:
        DEFAULT: the type of a peer that is none of the others, and of each before its first message.
        client_types: the other types, for the program's own use.
    """

    DEFAULT = "default"
    client_types: Sequence[Hashable] = ()

    def classify(self, first_message: Any) -> Hashable:
        """Return the type of the peer whose first message this is, as it was received, before any ``after_receive``."""
        return ClientClassifier.DEFAULT
