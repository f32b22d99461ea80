"""Server of a backplane: one process hosts the hub that the nodes of others share, over Veltix's own wire."""

from __future__ import annotations

import hmac
import os
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

import msgspec
from twisted.application.service import MultiService
from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from veltix_tx.backplane.interface import BackplaneLimits
from veltix_tx.backplane.memory import LEASE, MemoryBackplane, MemoryHub
from veltix_tx.errors import SettingsError
from veltix_tx.hosted import messages
from veltix_tx.hosted.guest import Guest
from veltix_tx.hosted.messages import COMMAND, MAX_MESSAGE_SIZE, TYPES, VERSION, decode_command
from veltix_tx.limits import Limits, Timeouts, check_seconds
from veltix_tx.net.addresses import join_address, shown
from veltix_tx.net.clock import Clocks, resolve_clocks
from veltix_tx.net.session.session import Session
from veltix_tx.net.shared.authentication import Credentials
from veltix_tx.net.transport.private import Guard, private_place
from veltix_tx.server import Server
from veltix_tx.settings import ServerConfig
from veltix_tx.wire.credentials import Token
from veltix_tx.wire.messages import Response

__all__ = ["BackplaneServer"]

_log = Logger()

_BEAT, _SILENCE, _LOST = 0.2, 0.2, 0.5
"""Parts of the lease: how often a node says something; without a word for so long it is asked, and for as long again it is cut
off; and from then on the others wait for it. So one that hangs is gone within nine tenths of the lease, one that is killed
within half."""


class BackplaneServer(MultiService):
    """Service that hosts the backplane of other processes: ``Server(backplane=...)`` with :attr:`url` is a node of it.

    What it holds (members, histories, epochs) ends with it: its nodes tell it anew what is theirs, and histories begin again.

    Args:
        listen: where, a Twisted endpoint's description such as ``"unix:/run/veltix/backplane.sock"`` or ``"tcp:7000"``, which is on
            127.0.0.1. A socket is for this user alone.
        password: the secret that nodes must know; None for none, where only this machine can connect.
        plaintext: True if nodes of other machines may present it without TLS.
        tls_cert: PEM file with a certificate, for ``tls:PORT``.
        tls_key: PEM file with its private key.
        tls_client_ca: PEM file with the issuers of the certificates that nodes must show.
        lease: seconds within which a node that vanished is in no list any more, nor its members.
        limits: maxima of each node.
        max_nodes: maximum nodes; a further one is refused, and tries again.
        reactor: a reactor, or Clocks for a test; None for the global one.

    Attributes:
        hub: what it hosts; a MemoryBackplane of this process can join it, too.

    Raises:
        SettingsError: a setting cannot be, or others on the network could join.
    """

    def __init__(
        self,
        listen: str,
        *,
        password: str | None = None,
        plaintext: bool = False,
        tls_cert: str | None = None,
        tls_key: str | None = None,
        tls_client_ca: str | None = None,
        lease: float = LEASE,
        limits: BackplaneLimits | None = None,
        max_nodes: int = 1000,
        reactor: IReactorTime | Clocks | None = None,
    ) -> None:
        super().__init__()
        check_seconds("lease", lease)
        self._password = None if password is None else Token(password).token.encode()
        self._lease = lease
        self._limits = limits or BackplaneLimits()
        self._max_nodes = max_nodes
        self._clocks = clocks = resolve_clocks(reactor)
        self.hub = MemoryHub(lease=lease * _LOST)
        self._guests: dict[str, Guest] = {}
        self._of: dict[Session, Guest] = {}
        files: dict[str, Any] = {"tls_cert": tls_cert, "tls_key": tls_key, "tls_client_ca": tls_client_ca}
        config = ServerConfig(
            max_connections=max_nodes,
            max_message_size=MAX_MESSAGE_SIZE,
            limits=Limits(write_hard=MAX_MESSAGE_SIZE),
            timeouts=Timeouts(ping_interval=lease * _SILENCE, ping_timeout=lease * _SILENCE, close=1.0, drain=1.0, write=5.0),
        )
        guard = Guard("listen", "password", password is not None, "plaintext", plaintext)
        place = private_place(listen, clocks, files, guard)
        self._encrypted = place.encrypted
        own = {name: file for name, file in files.items() if place.tls is not None and not place.own_files}
        self._server = Server(replace(config, endpoints=(place.given,), **own), types=TYPES, reactor=clocks)
        self._server._serves_clients = False  # the log has a line of this one's own
        if password is not None:
            self._server.set_authenticate(self._authenticate)
        self._server.register_route(COMMAND, self._command_received)
        self._server.set_callback("on_disconnect", self._disconnected)
        self._server.setServiceParent(self)

    @property
    def address(self) -> IAddress | None:
        """Address it listens on, None while it does not."""
        return next(iter(self._server.addresses), None)

    @property
    def url(self) -> str:
        """URL of the backplane for nodes on this machine, while it listens; the password is not in it.

        Raises:
            SettingsError: it does not listen.
        """
        address: Any = self.address
        if address is None:
            raise SettingsError("url", None, "asked for while it listens")
        if isinstance(address, UNIXAddress):
            return f"veltix+unix:{quote(os.fsdecode(address.name or b''))}"
        return f"veltix{'+tls' if self._encrypted else ''}://{join_address(address.host, address.port)}"

    @property
    def nodes(self) -> list[str]:
        """Ids of the nodes that are connected, or whose leases run on."""
        return sorted(self._guests)

    def startService(self) -> None:
        """Begin to listen; raises CannotListenError."""
        super().startService()
        _log.info("the backplane is hosted on {where}", where=", ".join(map(shown, self._server.addresses)))

    def stopService(self) -> Any:
        """Stop to listen, and end every lease."""
        stopped = super().stopService()
        for guest in list(self._guests.values()):
            self._forget(guest)
        return stopped

    def abort(self) -> None:
        """Cut off at once what a stop that is under way still waits for."""
        self._server.abort()

    # From the connections.

    def _authenticate(self, credentials: Credentials) -> str | None:
        given, known = credentials.token, self._password
        if given is None or known is None:
            return None
        return "node" if hmac.compare_digest(given.encode("utf-8", "surrogatepass"), known) else None

    def _command_received(self, session: Session, message: Response[bytes]) -> None:
        try:
            command = decode_command(message.content)
        except (msgspec.MsgspecError, ValueError):
            _log.warn("a node on connection {id} said what cannot be read: it is closed", id=session.id)
            session.disconnect()
            return
        guest = self._of.get(session)
        if isinstance(command, messages.Join):
            self._join(session, command)
        elif guest is None or guest.session is not session:
            session.disconnect()
        elif isinstance(command, messages.Ready):
            self._ready(guest)
        elif isinstance(command, messages.Leave):
            guest.tell(messages.Result(None))
            self._forget(guest)
        else:
            guest.execute(command)

    def _join(self, session: Session, join: messages.Join) -> None:
        guest = self._guests.get(join.node)
        known = guest is not None
        if guest is None:
            try:
                guest = self._admit(session, join)
            except SettingsError as error:
                _log.warn("a node on connection {id} is refused: {why}", id=session.id, why=str(error))
                session.disconnect()
                return
        else:
            self._lose(guest)
            if guest.farewell is not None and guest.farewell.active():
                guest.farewell.cancel()
        self._of[session] = guest
        guest.begin(session, join, known=known)
        guest.tell(messages.Result(self._lease * _BEAT))

    def _admit(self, session: Session, join: messages.Join) -> Guest:
        """Let a new node into the hub; raises SettingsError."""
        if join.version != VERSION:
            raise SettingsError("version", join.version, f"{VERSION}, that of its host")
        if session in self._of:
            raise SettingsError("node", join.node, "the one that it was before")
        if len(self._guests) >= self._max_nodes:
            raise SettingsError("node", join.node, f"one of at most {self._max_nodes}")
        page = min(join.page, self._limits.page)
        limits = replace(self._limits, page=page, page_bytes=min(join.page_bytes, self._limits.page_bytes))
        guest = Guest(MemoryBackplane(self.hub, node_id=join.node, limits=limits), join, self._said_by)
        refused: list[Failure] = []
        guest.node.start(guest, self._clocks).addErrback(refused.append)
        for failure in refused:
            failure.raiseException()
        self._guests[join.node] = guest
        return guest

    def _ready(self, guest: Guest) -> None:
        guest.make_alike()
        guest.restore(self.hub.restore)
        guest.tell(messages.Result(guest.known))

    def _disconnected(self, session: Session) -> None:
        guest = self._of.pop(session, None)
        if guest is not None and guest.session is session:
            self._lose(guest)
            guest.farewell = self._clocks.reactor.callLater(self._lease * _LOST, partial(self._forget, guest))

    def _lose(self, guest: Guest) -> None:
        """Cut a node off from the hub whose connection is lost, or that has another."""
        before = guest.session
        guest.end()
        if before is not None:
            self._of.pop(before, None)
            before.disconnect()
        self.hub.cut(guest.node)

    def _forget(self, guest: Guest) -> None:
        """End a node's lease."""
        if guest.farewell is not None and guest.farewell.active():
            guest.farewell.cancel()
        if self._guests.get(guest.node.node_id) is guest:
            del self._guests[guest.node.node_id]
        guest.end()
        guest.node.stop()

    def _said_by(self, node: str) -> messages.Join | None:
        guest = self._guests.get(node)
        return None if guest is None else guest.joined
