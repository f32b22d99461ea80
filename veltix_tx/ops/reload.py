"""Reload of a running server's configuration: limits, tokens and log levels change, the rest is named that needs a restart."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.logger import Logger

from veltix_tx.app.auth import TokenFile
from veltix_tx.ops.configuration import Configuration, Value
from veltix_tx.ops.log_levels import LogLevels
from veltix_tx.server import Server
from veltix_tx.settings import ServerConfig

__all__ = ["Reloader"]

_log = Logger()


class Reloader:
    """Reloader of one server's configuration.

    Args:
        server: the server.
        configuration: the one that it was made of.
        load: reads it anew; raises SettingsError.
        own: the settings that the application gave the server, before the configuration.
        tokens: token files by the settings that name them.
        levels: those of the log.
    """

    def __init__(
        self,
        server: Server,
        configuration: Configuration,
        load: Callable[[], Configuration],
        own: ServerConfig,
        tokens: Mapping[str, TokenFile],
        levels: LogLevels,
    ) -> None:
        self._server = server
        self._configuration = configuration
        self._load = load
        self._own = own
        self._tokens = tokens
        self._levels = levels

    def prepare(self) -> Callable[[], None]:
        """Read and check everything anew; return what makes it hold, which cannot fail.

        Raises:
            SettingsError: something cannot be read, or be; everything stays as it was.
        """
        wanted = self._load()
        wanted.check(self._own)
        limits = wanted.limits(self._own.limits)
        read = {key: tokens.read() for key, tokens in self._tokens.items()}

        def apply() -> None:
            before, self._configuration = self._configuration, self._now(wanted)
            changed = [(old, new) for old, new in zip(before, wanted, strict=True) if old.value != new.value]
            self._server.set_limits(limits)
            for key, names in read.items():
                self._tokens[key].use(names)
                file = before[key].value
                whom = "operators" if key == "admin_tokens" else "new connections"
                text = "SIGHUP: {file} was read again, {count} tokens let in {whom}"
                _log.info(text, file=file, count=len(names), whom=whom)
            self._levels.use(wanted["log.level"].value, wanted["log.levels"].value or {})
            for old, new in changed:
                self._tell(old, new)

        return apply

    def _now(self, wanted: Configuration) -> Configuration:
        """Return what holds now: what was wanted, but for the settings that need a restart."""
        old = self._configuration
        return Configuration({each.setting.key: each if each.setting.live else old[each.setting.key] for each in wanted})

    def _tell(self, old: Value, new: Value) -> None:
        takes_effect = new.setting.live and new.setting.key not in ("tokens", "admin_tokens")  # another file is another hook
        text = "SIGHUP: {setting} is {new} now, and was {old}"
        if not takes_effect:
            text = "SIGHUP: {setting} stays {old}: {new} needs a restart"
        say = _log.info if takes_effect else _log.warn
        say(text, setting=new.setting.key, old=old.value, new=new.value)
