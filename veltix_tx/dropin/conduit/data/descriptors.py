"""Settings of a server and of a client: netconduit's descriptors, with its defaults. Times are seconds, sizes bytes.

A field without an effect here says so, and so does :doc:`the table of differences </coming-from-netconduit>`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["ClientDescriptor", "ServerDescriptor"]

_Positive = Annotated[int, Field(ge=1)]
_Size = Annotated[int, Field(ge=1024)]
_Port = Annotated[int, Field(ge=1, le=65535)]
_Password = Annotated[str, Field(min_length=1, repr=False)]


class _Descriptor(BaseModel):
    """Fields of both.

    Attributes:
        password: the password that both sides know.
        version: version of the program, which the other side is told.
        description: no effect.
        max_message_size: bytes of a message, before compression. A larger one is not sent, and closes the connection that it comes
            on. (netconduit takes 100 MiB, whatever this says.)
        buffer_size: bytes read from a connection at once.
        heartbeat_interval: without a byte from the other side before it is asked with a ping.
        heartbeat_timeout: without a byte from it before it counts as dead; more than the interval.
        send_queue_size: no effect: senders wait while more than 1 MiB is queued for a peer.
        receive_queue_size: messages of a peer that wait for their turn; beyond it nothing more is read from the peer.
        enable_compression: compress what has more than 1,024 bytes. Compressed messages are read in any case.
        ssl_enabled: speak TLS. (Releases of netconduit speak none.)
        ssl_cert_file: this side's certificate.
        ssl_key_file: its key.
        ssl_ca_file: certificates of the issuers to trust.
        protocol_version: no effect.
    """

    model_config = ConfigDict(extra="forbid")

    password: _Password
    version: str = "1.0.0"
    description: str = ""
    max_message_size: _Size = 10 * 1024 * 1024
    buffer_size: _Size = 64 * 1024
    heartbeat_interval: _Positive = 30
    heartbeat_timeout: _Positive = 90
    send_queue_size: _Positive = 1000
    receive_queue_size: _Positive = 1000
    enable_compression: bool = False
    ssl_enabled: bool = False
    ssl_cert_file: str | None = None
    ssl_key_file: str | None = None
    ssl_ca_file: str | None = None
    protocol_version: str = "1.0"

    @model_validator(mode="after")
    def _check_heartbeat(self) -> _Descriptor:
        if self.heartbeat_timeout <= self.heartbeat_interval:
            raise ValueError("heartbeat_timeout must be greater than heartbeat_interval")
        return self


class ServerDescriptor(_Descriptor):
    """Settings of a server, those of both sides among them.

    Attributes:
        name: what the server calls itself; its clients are told.
        host: the interface to listen on; all of them by default.
        port: the TCP port.
        ipv6: listen on IPv6, in place of IPv4.
        max_connections: connections at once. A further client is told at once that the server is full.
        connection_timeout: no effect.
        auth_timeout: that a client has for its authentication.
        enable_backpressure: no effect: it always works.
        ssl_verify_client: ask clients for a certificate of one of the issuers.
        rate_limit_enabled: limit what a client may send.
        rate_limit_messages_per_second: messages of a client that are handled in a second; the others wait.
        rate_limit_bytes_per_second: no effect.
    """

    name: str = "conduit_server"
    host: str = "0.0.0.0"
    port: _Port = 8080
    ipv6: bool = False
    max_connections: _Positive = 100
    connection_timeout: _Positive = 120
    auth_timeout: _Positive = 10
    enable_backpressure: bool = True
    ssl_verify_client: bool = False
    rate_limit_enabled: bool = False
    rate_limit_messages_per_second: _Positive = 100
    rate_limit_bytes_per_second: _Size = 10 * 1024 * 1024

    @model_validator(mode="after")
    def _check_tls(self) -> ServerDescriptor:
        if self.ssl_enabled and self.ssl_cert_file is None:
            raise ValueError("ssl_enabled needs ssl_cert_file")
        if self.ssl_verify_client and self.ssl_ca_file is None:
            raise ValueError("ssl_verify_client needs ssl_ca_file")
        return self


class ClientDescriptor(_Descriptor):
    """Settings of a client, those of both sides among them.

    Attributes:
        server_host: the server's name or address.
        server_port: its TCP port.
        name: what the client calls itself; the server is told.
        use_ipv6: no effect: an address says what it is, and a name is tried as both.
        connect_timeout: for the connection, and again for the server's word on the password.
        reconnect_enabled: connect again after a loss.
        reconnect_attempts: tries after a loss before giving up; 0 for no end.
        reconnect_delay: before the first try.
        reconnect_delay_max: the longest wait for a try.
        reconnect_delay_multiplier: growth of the wait from try to try.
        rpc_timeout: for the answer to a call.
        send_timeout: no effect.
        ssl_verify: True: the server's certificate is verified.
    """

    server_host: str
    server_port: _Port
    name: str = "conduit_client"
    use_ipv6: bool = False
    connect_timeout: _Positive = 10
    reconnect_enabled: bool = True
    reconnect_attempts: Annotated[int, Field(ge=0)] = 5
    reconnect_delay: Annotated[float, Field(ge=0.1)] = 2.0
    reconnect_delay_max: Annotated[float, Field(ge=1.0)] = 60.0
    reconnect_delay_multiplier: Annotated[float, Field(ge=1.0, le=1000.0)] = 2.0
    rpc_timeout: Annotated[float, Field(ge=0.1)] = 30.0
    send_timeout: Annotated[float, Field(ge=0.1)] = 10.0
    ssl_verify: bool = True

    @model_validator(mode="after")
    def _check_client(self) -> ClientDescriptor:
        if self.reconnect_delay_max < self.reconnect_delay:
            raise ValueError("reconnect_delay_max must be >= reconnect_delay")
        if self.ssl_enabled and not self.ssl_verify:
            raise ValueError("ssl_verify=False is not here: name the issuer of the server's certificate with ssl_ca_file")
        return self
