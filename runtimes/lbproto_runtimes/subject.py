"""The subject of a certificate as text (RFC 4514), as nginx's `$ssl_client_s_dn`.

Most specific first, short names where the RFC has them, everything but printable
ASCII escaped byte by byte: what comes out can stand in a header field or a log
line, whatever an authority has signed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["subject_of"]

SHORT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "commonName": "CN",
        "countryName": "C",
        "domainComponent": "DC",
        "localityName": "L",
        "organizationName": "O",
        "organizationalUnitName": "OU",
        "stateOrProvinceName": "ST",
        "streetAddress": "STREET",
        "userId": "UID",
    }
)

_SPECIAL: Final = re.compile(r'[,+"\\<>;=]')
_FOREIGN: Final = re.compile(r"[^ -~]+")


def subject_of(certificate: Mapping[str, object]) -> str:
    """Return the subject of what `getpeercert` gave; empty if there is none."""
    names = certificate.get("subject", ())
    assert isinstance(names, tuple), "as the ssl module documents it"
    return ",".join(
        "+".join(f"{SHORT.get(kind, kind)}={_escaped(text)}" for kind, text in relative)
        for relative in reversed(names)
    )


def _escaped(text: str) -> str:
    first, last = text.startswith((" ", "#")), text.endswith(" ") and len(text) > 1
    text = _SPECIAL.sub(lambda found: "\\" + found[0], text)
    text = _FOREIGN.sub(_bytewise, text)
    if first:
        text = "\\" + text
    if last:
        text = text[:-1] + "\\ "
    return text


def _bytewise(found: re.Match[str]) -> str:
    data = found[0].encode("utf-8", "surrogatepass")
    return "".join(f"\\{byte:02X}" for byte in data)
