"""A producer of a test's own."""

from __future__ import annotations

from collections.abc import Callable


class Source:
    """Writes down what a flow tells it."""

    def __init__(self, act: Callable[[str], None] = lambda step: None) -> None:
        self.steps: list[str] = []
        self.act = act

    def _step(self, step: str) -> None:
        self.steps.append(step)
        self.act(step)

    def pauseProducing(self) -> None:
        """Pause."""
        self._step("pause")

    def resumeProducing(self) -> None:
        """Resume."""
        self._step("resume")

    def stopProducing(self) -> None:
        """Stop."""
        self._step("stop")
