"""Levels and settings of a log."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TextIO

from veltix_tx.errors import SettingsError

__all__ = ["LogLevel", "LoggerConfig"]


class LogLevel(IntEnum):
    """Level of a line, under upstream's names and numbers; as text it is its name."""

    TRACE = 5
    DEBUG = 10
    INFO = 20
    SUCCESS = 25
    WARNING = 30
    ERROR = 40
    CRITICAL = 50

    def __str__(self) -> str:
        return self.name

    def __format__(self, spec: str) -> str:
        return format(self.name, spec)


@dataclass(frozen=True, slots=True)
class LoggerConfig:
    """Settings of a log: its lines, their form and their destinations. A wrong value raises SettingsError.

    Attributes:
        level: the lowest level that is shown.
        enabled: False shows nothing.
        use_colors: colour the stream's lines, unless it is a file or a pipe; ``file_path`` never has colours.
        show_timestamp: begin a line with the time.
        show_caller: name the file and line that logged, or the namespace of a Twisted logger.
        show_level: name the level.
        file_path: a file to append to, its folder made if need be; None for no file.
        file_rotation_size: bytes the file may have; a line that does not fit any more starts a new one
            and the old one becomes ``name.log.1``. 0 for no end.
        file_backup_count: how many of those are kept.
        stream: where else lines go, ``sys.stdout`` of the moment by default; None for nowhere.
        async_write: let a thread write, so that a slow disk or terminal does not hold up who logs.
        buffer_size: lines that may wait for that thread; who logs more waits until they are written.
    """

    level: LogLevel = LogLevel.INFO
    enabled: bool = True
    use_colors: bool = True
    show_timestamp: bool = True
    show_caller: bool = True
    show_level: bool = True
    file_path: str | Path | None = None
    file_rotation_size: int = 10 * 1024 * 1024
    file_backup_count: int = 5
    stream: TextIO | None = field(default_factory=lambda: sys.stdout)
    async_write: bool = False
    buffer_size: int = 100

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "level", LogLevel(self.level))
        except ValueError:
            raise SettingsError("level", self.level, f"one of LogLevel: {', '.join(map(str, LogLevel))}") from None
        for name in ("enabled", "use_colors", "show_timestamp", "show_caller", "show_level", "async_write"):
            if not isinstance(getattr(self, name), bool):
                raise SettingsError(name, getattr(self, name), "True or False")
        for name, low in (("file_rotation_size", 0), ("file_backup_count", 1), ("buffer_size", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise SettingsError(name, value, f"a whole number from {low}")
        if self.file_path is not None:
            if not isinstance(self.file_path, (str, Path)) or not self.file_path or "\0" in str(self.file_path):
                raise SettingsError("file_path", self.file_path, "a path or None")
            object.__setattr__(self, "file_path", Path(self.file_path))
        if self.stream is not None and not callable(getattr(self.stream, "write", None)):
            raise SettingsError("stream", self.stream, "a text stream or None")
