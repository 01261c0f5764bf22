"""A local authority, and certificates of every kind, as files."""

from __future__ import annotations

import datetime
from pathlib import Path

import trustme

from lbproto.machine.tls import Certificate

__all__ = ["Authority"]

LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


class Authority:
    """Signs certificates, and writes them to a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._ca = trustme.CA()
        self._count = 0
        self.ca_file = str(folder / "ca.pem")
        self._ca.cert_pem.write_to_path(self.ca_file)

    def issue(
        self, *names: str, expired: bool = False, common_name: str | None = None
    ) -> Certificate:
        """Issue a certificate for names (or addresses), with its key."""
        until = LONG_AGO + datetime.timedelta(days=30) if expired else None
        leaf = self._ca.issue_cert(
            *names,
            common_name=common_name,
            not_before=LONG_AGO if expired else None,
            not_after=until,
        )
        return self._write(leaf)

    def self_signed(self, *names: str) -> Certificate:
        """Make a certificate that nobody has signed but its owner."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
        now = datetime.datetime.now(datetime.UTC)
        alternatives = x509.SubjectAlternativeName([x509.DNSName(one) for one in names])
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(alternatives, critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        private = key.private_bytes(
            pem,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return self.store(certificate.public_bytes(pem), private)

    def issue_strange(self, *, names: bytes) -> Certificate:
        """Issue a certificate whose alternative names (DER) are no names.

        OpenSSL verifies it; who reads the names finds out.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        pem = serialization.Encoding.PEM
        plain = serialization.NoEncryption()
        private = self._ca.private_key_pem.bytes()
        signer = serialization.load_pem_private_key(private, None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey), "trustme's default"
        issuer = x509.load_pem_x509_certificate(self._ca.cert_pem.bytes()).subject
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        alternatives = x509.UnrecognizedExtension(
            x509.ExtensionOID.SUBJECT_ALTERNATIVE_NAME, names
        )
        certificate = (
            x509.CertificateBuilder(issuer, x509.Name([]), key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(alternatives, critical=False)
            .sign(signer, hashes.SHA256())
        )
        written = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        return self.store(certificate.public_bytes(pem), written)

    def store(self, cert: bytes, key: bytes) -> Certificate:
        """Write any two files."""
        self._count += 1
        paths = [self.folder / f"{kind}{self._count}.pem" for kind in ("cert", "key")]
        for path, content in zip(paths, (cert, key), strict=True):
            path.write_bytes(content)
        return Certificate(cert=str(paths[0]), key=str(paths[1]))

    def _write(self, leaf: trustme.LeafCert) -> Certificate:
        chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
        return self.store(chain, leaf.private_key_pem.bytes())
