"""Certificates for a cluster that encrypts: an authority of its own, and one for each node.

Ray's processes show each other the node's certificate, in both directions, and believe the
authority's alone, so a host without one cannot join, whatever token it has.
"""

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster.session import ClusterError

YEARS = timedelta(days=3 * 365)
EARLY = timedelta(hours=1)
"""Clocks of hosts differ."""


class CertificateError(ClusterError):
    """No certificate could be made; the message says what is missing."""


def make_authority(folder: Path) -> None:
    """Make ca.crt and ca.key in a folder, if they are not there."""
    if (folder / "ca.key").exists() and (folder / "ca.crt").exists():
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("codeladder cluster authority")
    built = (
        _lasting(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_key(folder / "ca.key", key)
    _write(folder / "ca.crt", built.public_bytes(serialization.Encoding.PEM), 0o644)


def sign_node(folder: Path, ip: str) -> None:
    """Make node.crt and node.key for a node, if they are not there or are another node's.

    Args:
        folder: holds ca.crt, and ca.key unless the node's own are there already.
        ip: the node's address; the certificate is good for it and for the node itself.

    Raises:
        CertificateError: neither is there.
    """
    if _is_for(folder / "node.crt", ip):
        return
    try:
        authority = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
        signing = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    except FileNotFoundError as error:
        raise CertificateError(
            f"{folder} has no certificate for {ip}, and no authority to make one: "
            f"{error.filename} is not there"
        ) from None
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    built = (
        _lasting(_name(ip), authority.subject, key)
        .add_extension(x509.SubjectAlternativeName(_names(ip)), critical=False)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .sign(signing, hashes.SHA256())
    )
    _write_key(folder / "node.key", key)
    _write(folder / "node.crt", built.public_bytes(serialization.Encoding.PEM), 0o644)


def _is_for(path: Path, ip: str) -> bool:
    if not path.exists():
        return False
    names = x509.load_pem_x509_certificate(path.read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return ipaddress.ip_address(ip) in names.value.get_values_for_type(x509.IPAddress)


def _names(ip: str) -> list[x509.GeneralName]:
    addresses = dict.fromkeys([ip, "127.0.0.1"])
    return [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses] + [
        x509.DNSName("localhost")
    ]


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _lasting(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLY)
        .not_valid_after(now + YEARS)
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _write(path, text, 0o600)


def _write(path: Path, content: bytes, mode: int) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode), "wb") as file:  # noqa: PTH123
        file.write(content)
    draft.replace(path)
