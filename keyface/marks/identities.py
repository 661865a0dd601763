"""With whose key content credentials are signed: a user's own, or one that keyface makes for them."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from keyface.files import publish, temporary_beside
from keyface.untrusted import UntrustedError, read_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate

_LONGEST_PEM = 2**20
_VALID = timedelta(days=3650)
_ORGANIZATION = "keyface, self-made certificate"


@dataclass(frozen=True)
class Identity:
    """A private key with its certificates.

    Attributes:
        key: The private key, PEM.
        chain: The certificate of the key, then those that vouch for it, PEM.
        algorithm: How C2PA calls the kind of signature: es256, es384, es512, ed25519 or ps256.
        self_made: Whether keyface made it, so that nobody vouches for it.
    """

    key: bytes = field(repr=False)
    chain: bytes
    algorithm: str
    self_made: bool

    @cached_property
    def certificates(self) -> list[Certificate]:
        """Return the certificates, that of the key first."""
        from cryptography.x509 import load_pem_x509_certificates

        return load_pem_x509_certificates(self.chain)

    @property
    def name(self) -> str:
        """Return whom the certificate names."""
        return str(self.certificates[0].subject.rfc4514_string())


def identity_file() -> Path:
    """Return where the key that keyface makes for a user lies: in the folder for data of programs."""
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "keyface" / "signing.pem"


def own_identity() -> Identity:
    """Return this user's self-made identity, made when it is first asked for, or when its time is over.

    Raises:
        ValueError: The file with it is damaged, or cannot be written.
    """
    path = identity_file()
    found = _read_own(path)
    if found is not None and found.certificates[0].not_valid_after_utc > datetime.now(UTC):
        return found
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _keep(path, _make(), replace=found is not None)
    except OSError as error:
        raise ValueError(
            f"{path}: the key that signs outputs cannot be kept there ({error.strerror}); give --sign with a "
            "key of your own, or set XDG_DATA_HOME to a folder that you may write into"
        ) from error
    made = _read_own(path)
    assert made is not None, "it was written just now, by this process or another"
    return made


def given_identity(given: str) -> Identity:
    """Return the identity that `--sign` names.

    Args:
        given: KEY.pem:CERTIFICATES.pem, or one file that holds both.

    Raises:
        ValueError: The files do not hold a key and its certificates, or not ones that can sign.
        FileNotFoundError: There are no such files.
    """
    both = Path(given)
    key_file, _, chain_file = given.rpartition(":")
    paths = [both, both] if both.is_file() or not key_file else [Path(key_file), Path(chain_file)]
    try:
        key, chain = (read_bytes(path, _LONGEST_PEM) for path in paths)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"--sign {error}; give KEY.pem:CERTIFICATES.pem") from None
    except UntrustedError as error:
        raise ValueError(f"--sign {error}") from error
    return _parse(key, chain, f"--sign {given}", self_made=False)


def _keep(path: Path, content: bytes, *, replace: bool) -> None:
    """Write the file for its owner's eyes alone; one that another process made meanwhile counts."""
    temporary = temporary_beside(path)
    try:
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(content)
        if replace:
            publish(temporary, path)
        else:
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _read_own(path: Path) -> Identity | None:
    try:
        content = read_bytes(path, _LONGEST_PEM)
    except FileNotFoundError:
        return None
    return _parse(content, content, f"{path} (move it away, and a new one is made)", self_made=True)


def _parse(key: bytes, chain: bytes, where: str, *, self_made: bool) -> Identity:
    """Return key and certificates as an identity, checked to belong together."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        private = serialization.load_pem_private_key(key, None)
    except TypeError:
        raise ValueError(
            f"{where}: the key has a password; write one without by openssl pkey -in KEY.pem -out PLAIN.pem"
        ) from None
    except ValueError:
        raise ValueError(f"{where}: holds no private key in PEM") from None
    try:
        certificates = x509.load_pem_x509_certificates(chain)
    except ValueError:
        raise ValueError(f"{where}: holds no certificates in PEM") from None
    public = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if certificates[0].public_key().public_bytes(*public) != private.public_key().public_bytes(*public):
        raise ValueError(f"{where}: the first certificate is not that of the key")
    first = certificates[0]
    if not self_made and not first.not_valid_before_utc <= datetime.now(UTC) <= first.not_valid_after_utc:
        raise ValueError(
            f"{where}: the certificate is valid from {first.not_valid_before_utc:%Y-%m-%d} to "
            f"{first.not_valid_after_utc:%Y-%m-%d} only"
        )
    return Identity(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates),
        _algorithm(private, where),
        self_made,
    )


def _algorithm(key: PrivateKeyTypes, where: str) -> str:
    """Return how C2PA signs with a key."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    curves = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in curves:
        return curves[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return "ps256"
    raise ValueError(
        f"{where}: C2PA does not sign with such a key; take one on the curve P-256, P-384 or P-521, Ed25519, "
        "or RSA of at least 2048 bits"
    )


def _make() -> bytes:
    """Return a new key with a certificate and the authority that signed it, PEM.

    C2PA takes no certificate that vouches for itself. The authority's key is forgotten at once.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(of: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANIZATION),
                x509.NameAttribute(NameOID.COMMON_NAME, of),
            ]
        )

    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now = datetime.now(UTC)

    def certificate(subject: str, public: ec.EllipticCurvePublicKey, *, vouches: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("authority"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + _VALID)
            .add_extension(x509.BasicConstraints(ca=vouches, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not vouches,
                    key_cert_sign=vouches,
                    crl_sign=vouches,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False
            )
        )
        if not vouches:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
            )
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (
        private
        + certificate("signer", key.public_key(), vouches=False)
        + certificate("authority", authority.public_key(), vouches=True)
    )
