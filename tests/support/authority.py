"""Certificates for tests: an issuer, and what it issues, as PEM files."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)

_ISSUES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
"""What an issuer's key is for: the ssl module of Python 3.13 insists on it."""


class Files(NamedTuple):
    """A certificate: alone (with its chain), its key alone, the two together."""

    cert: Path
    key: Path
    both: Path


def pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    """Return a private key as PEM."""
    how = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


def _alternative(name: str) -> x509.GeneralName:
    kind, _, given = name.partition(":")
    if kind == "DNS":
        return x509.DNSName(given)
    if kind == "URI":
        return x509.UniformResourceIdentifier(given)
    return x509.IPAddress(ip_address(name)) if name[-1].isdigit() else x509.DNSName(name)


class Authority:
    """An issuer of certificates.

    Args:
        folder: where the files go.
        name: what it is called.
        issuer: the authority whose intermediate this is.

    Attributes:
        ca: its own certificate.
        chain: this one and those between it and the root, as they go behind a certificate of its own.
    """

    def __init__(self, folder: Path, name: str, issuer: Authority | None = None) -> None:
        self.folder = folder
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.ca = folder / f"{name}.pem"
        signer = issuer or self
        certificate = self._sign(signer, self.name, self.key, [x509.BasicConstraints(ca=True, path_length=None), _ISSUES])
        self.ca.write_bytes(certificate)
        self.chain = certificate + issuer.chain if issuer else b""

    def issue(
        self,
        name: str,
        *names: str,
        age: timedelta = DAY,
        life: timedelta = 30 * DAY,
        client: bool = False,
        self_signed: bool = False,
        passphrase: bytes | None = None,
    ) -> Files:
        """Issue a certificate.

        Args:
            name: what its files are called, and its common name.
            names: host names and addresses it is for; with ``DNS:`` in front a name, whatever it looks like, with ``URI:`` a URI.
            age: for how long it has been valid.
            life: for how long it is valid in all.
            client: it is a client's.
            self_signed: its own issuer.
            passphrase: of the key's file.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        alternatives = [_alternative(each) for each in names]
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        extensions: list[x509.ExtensionType] = [x509.ExtendedKeyUsage([usage])]
        if alternatives:
            extensions.append(x509.SubjectAlternativeName(alternatives))
        signer = Authority.__new__(Authority) if self_signed else self
        signer.name, signer.key = (subject, key) if self_signed else (self.name, self.key)
        certificate = self._sign(signer, subject, key, extensions, age, life)
        if not self_signed:
            certificate += self.chain
        files = Files(*(self.folder / f"{name}-{kind}.pem" for kind in ("cert", "key", "both")))
        files.cert.write_bytes(certificate)
        files.key.write_bytes(pem(key, passphrase))
        files.both.write_bytes(certificate + pem(key, passphrase))
        return files

    @staticmethod
    def _sign(
        signer: Authority,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        extensions: list[x509.ExtensionType],
        age: timedelta = DAY,
        life: timedelta = 30 * DAY,
    ) -> bytes:
        start = datetime.now(timezone.utc) - age
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(signer.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + life)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, (x509.BasicConstraints, x509.KeyUsage)))
        return builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.PEM)
