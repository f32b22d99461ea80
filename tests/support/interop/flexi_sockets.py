"""Real releases of flexi_socket, and the drop-in beside them, each run in a process of its own."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from tests.support.interop.conduits import install
from tests.support.interop.driver import Real, alone, cache_folder, running

RELEASES = ("0.0.6", "0.0.10")
"""The last release without strategies, and the last of all."""

OURS = "ours"

_PEER = Path(__file__).with_name("flexi_peer.py")


async def install_flexi_sockets() -> dict[str, Path]:
    """Install every release where it is not yet; return their folders."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    folders = {release: cache / f"flexi_socket-{release}" for release in RELEASES}
    async with alone(cache / ".flexi_socket.lock"):
        for release, folder in folders.items():
            if not folder.exists():
                await install(folder, "--no-deps", f"flexi_socket=={release}")
    return folders


class FlexiSockets:
    """The installed releases.

    Args:
        folders: release -> its folder.

    Attributes:
        folders: the same.
    """

    def __init__(self, folders: dict[str, Path]) -> None:
        self.folders = folders

    def run(self, release: str) -> AbstractAsyncContextManager[Real]:
        """Run a release, or the drop-in; it is gone behind the block. See ``flexi_peer.py``."""
        if release == OURS:
            return running(_PEER.parent, "veltix_tx.dropin.flexi_socket", _PEER)
        return running(self.folders[release], "flexi_socket", _PEER)
