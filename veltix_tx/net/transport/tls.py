"""TLS: a server's certificate, which can be read again while it serves, and a client that verifies whom it talks to.

Importing this module needs what ``pip install 'veltix-tx[tls]'`` installs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from os import fspath
from pathlib import Path as FilePath
from pathlib import PurePath
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import (
    Certificate,
    DNSName,
    ExtensionNotFound,
    IPAddress,
    SubjectAlternativeName,
    load_pem_x509_certificates,
)
from OpenSSL import SSL
from OpenSSL.crypto import FILETYPE_PEM, X509
from service_identity.exceptions import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, DNSPattern, IPAddress_ID, IPAddressPattern, verify_service_identity
from twisted.internet import ssl
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from veltix_tx.errors import SettingsError, excerpt
from veltix_tx.net.transport.tls_errors import OURS

__all__ = ["ClientTls", "ServerTls", "TlsEndpoint", "verify_by_name"]

Path = str | PurePath

_EXPIRED, _NOT_YET, _SELF_SIGNED, _PURPOSE = 10, 9, 18, 26
_NO_ISSUER = (2, 19, 20, 21, 27)
"""OpenSSL's numbers for what is wrong with a certificate."""

_OPTIONS = SSL.OP_NO_COMPRESSION | SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE

_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: with forward secrecy, authenticated. Those of 1.3 are all so."""

_MUST = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT


class _Files:
    """A side's own certificate and whom it trusts, as files.

    Args:
        cert: a PEM file with the certificate and its chain.
        key: a PEM file with the private key; None: it is in ``cert``.
        ca: a PEM file with the issuers to trust.
        ca_name: what the setting for that is called.
    """

    def __init__(self, cert: Path | None, key: Path | None, ca: Path | None, ca_name: str) -> None:
        self._cert, self._key, self._ca, self._ca_name = cert, key, ca, ca_name

    def context(self) -> SSL.Context:
        """Read the files; return a context of TLS 1.2 or later made of them.

        Raises:
            SettingsError: a file cannot be read or used, or the key is not the certificate's.
        """
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(_OPTIONS)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        if self._ca is not None:
            store: Any = context.get_cert_store()
            for each in _certificates(self._ca_name, self._ca):
                store.add_cert(X509.from_cryptography(each))
        if self._cert is not None:
            self._show(context, self._cert)
        context.set_cipher_list(_CIPHERS)
        return context

    def _show(self, context: SSL.Context, cert: Path) -> None:
        own, *chain = _certificates("tls_cert", cert)
        key = _private_key(cert, self._key)
        try:
            context.use_certificate(own)
            for each in chain:
                context.add_extra_chain_cert(each)
            context.use_privatekey(key)
            context.check_privatekey()
        except (SSL.Error, TypeError) as error:
            name, value = ("tls_cert", cert) if self._key is None else ("tls_key", self._key)
            raise SettingsError(name, fspath(value), f"a key and a certificate that go together ({_said(error)})") from None


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """A server's side of TLS.

    Connections that are made go on with what was read when they were.

    Args:
        cert: a PEM file with the certificate and its chain.
        key: a PEM file with the private key; None: it is in ``cert``.
        client_ca: a PEM file with the issuers of the certificates that clients must show; None: they need none.

    Raises:
        SettingsError: a file cannot be read or used, or the key is not the certificate's.
    """

    def __init__(self, cert: Path, key: Path | None = None, client_ca: Path | None = None) -> None:
        self._client_ca = client_ca
        self._files = _Files(cert, key, client_ca, "tls_client_ca")
        self._context = self.read()

    def read(self) -> SSL.Context:
        """Read the files again; return what :meth:`use` takes. Raises as the class does; nothing has changed then."""
        context = self._files.context()
        if self._client_ca is not None:
            context.set_verify(_MUST, _verifier("the client", "tls_client_ca", lambda certificate: None))
        return context

    def use(self, context: SSL.Context) -> None:
        """Serve new connections with what :meth:`read` returned."""
        self._context = context

    def below(self, factory: IProtocolFactory, clock: IReactorTime) -> IProtocolFactory:
        """Return a server's factory with this below its protocols."""
        return _Factory(self, False, factory, clock)

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: N802
        """Return the TLS of a new connection."""
        return SSL.Connection(self._context, None)


@implementer(IOpenSSLClientConnectionCreator)
class ClientTls:
    """A client's side of TLS: the server must show a certificate of a trusted issuer, for the name it was called by.

    Args:
        name: the server's name or address.
        ca: a PEM file with the issuers to trust; None for those that this machine trusts.
        cert: a PEM file with this client's certificate and its chain.
        key: a PEM file with its private key; None: it is in ``cert``.

    Raises:
        SettingsError: a file cannot be read or used, the key is not the certificate's, or the name is none.
    """

    def __init__(self, name: str, ca: Path | None = None, cert: Path | None = None, key: Path | None = None) -> None:
        name = _as_in_certificates(name)
        self._is_address = isIPAddress(name) or isIPv6Address(name)
        self._name = name if self._is_address else _ascii(name)
        try:
            wanted = IPAddress_ID(name) if self._is_address else DNS_ID(self._name)
        except ValueError:
            raise SettingsError("tls_name", name, "a host name or an address") from None

        def check(certificate: X509) -> str | None:
            try:
                verify_service_identity(_patterns(certificate), [wanted], [])
            except (VerificationError, CertificateError):
                return f"it is not for {name}: connect by a name that it has, or give that as tls_name"
            return None

        self._context = _Files(cert, key, ca, "tls_ca").context()
        if ca is None:
            self._context.set_default_verify_paths()
        self._context.set_verify(_MUST, _verifier("the server", "tls_ca", check))

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Return the TLS of a new connection."""
        connection = SSL.Connection(self._context, None)
        if not self._is_address:
            connection.set_tlsext_host_name(self._name.encode("ascii"))
        return connection


def verify_by_name(
    host: str, folder: str | None = None, cert: str | None = None, key: str | None = None
) -> IOpenSSLClientConnectionCreator:
    """Return a client's side of TLS as Twisted's endpoint description ``tls:`` has it.

    Args:
        host: the name that the server's certificate must be for.
        folder: where the issuers to trust are, a ``.pem`` file each; None for those that this machine trusts.
        cert: a PEM file with this client's certificate.
        key: a PEM file with its private key; None: it is in ``cert``.
    """
    issuers = own = None
    if folder is not None:
        found = [ssl.Certificate.loadPEM(each.read_bytes()) for each in FilePath(folder).iterdir() if each.suffix == ".pem"]
        issuers = ssl.trustRootFromCertificates(found)
    if cert is not None and key is None:
        own = ssl.PrivateCertificate.loadPEM(FilePath(cert).read_bytes())
    elif cert is not None and key is not None:
        pair = ssl.KeyPair.load(FilePath(key).read_bytes(), FILETYPE_PEM)
        own = ssl.PrivateCertificate.fromCertificateAndKeyPair(ssl.Certificate.loadPEM(FilePath(cert).read_bytes()), pair)
    return ssl.optionsForClientTLS(host, trustRoot=issuers, clientCertificate=own)


@implementer(IStreamClientEndpoint)
class TlsEndpoint:
    """A client endpoint with TLS on top of another.

    Args:
        make: returns the client's side of TLS; called for each connection, so that files are read again for each.
        endpoint: where to connect.
        clock: a reactor.
    """

    def __init__(
        self, make: Callable[[], IOpenSSLClientConnectionCreator], endpoint: IStreamClientEndpoint, clock: IReactorTime
    ) -> None:
        self._make = make
        self._endpoint = endpoint
        self._clock = clock

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; the Deferred fires with the factory's own protocol before TLS is through."""
        connected: Deferred[Any] = self._endpoint.connect(_Factory(self._make(), True, protocolFactory, self._clock))
        return connected.addCallback(lambda protocol: protocol.wrappedProtocol)


class _Factory(TLSMemoryBIOFactory):
    """Takes a factory's refusal of a connection for one; Twisted's wraps TLS around None."""

    def buildProtocol(self, addr: IAddress | None) -> Any:
        wrapped = self.wrappedFactory.buildProtocol(addr)
        return None if wrapped is None else self.protocol(self, wrapped)


def _verifier(whose: str, ca_name: str, check: Callable[[X509], str | None]) -> Callable[..., bool]:
    """Return OpenSSL's question for each certificate of a chain; a refusal carries our words to ``connectionLost``."""

    def verify(connection: SSL.Connection, certificate: X509, number: int, depth: int, ok: int) -> bool:
        try:
            wrong = _wrong(certificate, number, ca_name) if not ok else check(certificate) if depth == 0 else None
        except Exception as error:  # of a certificate that nobody has seen the like of
            wrong = f"it cannot be understood ({excerpt(error)})"
        if wrong is not None:
            raise SSL.Error([(OURS, "", f"{whose}'s certificate is refused: {wrong}")])
        return True

    return verify


def _patterns(certificate: X509) -> list[DNSPattern | IPAddressPattern]:
    """Return the names and addresses that a certificate is for.

    One that no host can have, such as an address given as a name, ``*`` or ``*.local``, is skipped and the others count, as with
    Python's ssl; service_identity refuses the whole certificate for it. Names of other kinds, such as URIs, are not looked at.
    """
    try:
        names = certificate.to_cryptography().extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        return []
    addresses = [each for each in names.get_values_for_type(IPAddress) if isinstance(each, (IPv4Address, IPv6Address))]
    patterns: list[DNSPattern | IPAddressPattern] = [IPAddressPattern(address) for address in addresses]
    for name in names.get_values_for_type(DNSName):
        with suppress(CertificateError, ValueError):
            patterns.append(DNSPattern.from_bytes(name.encode()))
    return patterns


def _wrong(certificate: X509, number: int, ca_name: str) -> str:
    if number == _EXPIRED:
        return f"it expired on {_day(certificate.get_notAfter())}: renew it, or set this machine's clock"
    if number == _NOT_YET:
        return f"it is valid only from {_day(certificate.get_notBefore())} on: set this machine's clock"
    if number == _SELF_SIGNED:
        return f"it is self-signed and not trusted here: give it as {ca_name}"
    if number in _NO_ISSUER:
        issuer = excerpt(certificate.to_cryptography().issuer.rfc4514_string())
        return f"its issuer, {issuer}, is not trusted here: give the issuer's certificate as {ca_name}"
    if number == _PURPOSE:
        return "it is not for this use: issue one for it"
    return f"OpenSSL's verification says {number}"


def _day(time: bytes | None) -> str:
    text = (time or b"").decode("ascii", "replace")
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}"


def _as_in_certificates(name: str) -> str:
    """Return a name or an address as certificates have it: without brackets, the zone of an address or the dot at a name's end."""
    host = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    return host.partition("%")[0] if isIPv6Address(host) else host.removesuffix(".")


def _ascii(name: str) -> str:
    if name.isascii():
        return name
    import idna  # noqa: PLC0415 (needed for few names)

    try:
        return idna.encode(name).decode("ascii")
    except idna.IDNAError:
        raise SettingsError("tls_name", name, "a host name or an address") from None


def _certificates(name: str, path: Path) -> list[Certificate]:
    data = _bytes(name, path)
    try:
        found: list[Certificate] = load_pem_x509_certificates(data)
    except ValueError:
        raise SettingsError(name, fspath(path), "a PEM file with a certificate") from None
    return found


def _private_key(cert: Path, key: Path | None) -> Any:
    name, path = ("tls_cert", cert) if key is None else ("tls_key", key)
    rule = f"a PEM file with {'the private key, too, or tls_key given' if key is None else 'a private key'}"
    data = _bytes(name, path)
    try:
        return load_pem_private_key(data, password=None)
    except ValueError:
        raise SettingsError(name, fspath(path), rule) from None
    except TypeError:
        raise SettingsError(name, fspath(path), f"{rule} without a passphrase") from None


def _bytes(name: str, path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise SettingsError(name, fspath(path), f"a file that can be read ({error.strerror})") from None


def _said(error: Exception) -> str:
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(str(entry[-1]) for entry in queue) or str(error)
