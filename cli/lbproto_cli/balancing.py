"""The shape of the keys about choosing a backend, and the records they become.

As in `schema`: defaults from the records of the core, and readers that show what they
got and say what they expect.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, TypeAlias, cast, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator

from lbproto.config import HashOn, OutlierDetection, PolicyName, Upstream
from lbproto.config.shown import shown
from lbproto_cli import quantities
from lbproto_cli.problems import nearest

__all__ = [
    "BalanceFactor",
    "MaxConnections",
    "OfHash",
    "OfOutliers",
    "OutlierEntry",
    "Percent",
    "Policy",
    "outlier_detection",
]

Plain: TypeAlias = Literal["client_ip", "path", "uri"]

POLICIES: Final[tuple[PolicyName, ...]] = get_args(PolicyName)

_STRICT: Final = ConfigDict(strict=True, extra="forbid", frozen=True)
_OUTLIERS: Final = OutlierDetection()
_MANY: Final = 1_000_000
_HASH_ON: Final = re.compile(
    r"(?P<kind>client_ip|path|uri)"
    r"|(?P<named>header|cookie):(?P<name>[!#$%&'*+\-.^_`|~0-9A-Za-z]++)"
)


def _policy(value: object) -> PolicyName:
    for policy in POLICIES:
        if value == policy:
            return policy
    hint = nearest(value, POLICIES) if isinstance(value, str) else ""
    message = f"got {shown(value)}, expected one of {', '.join(POLICIES)}"
    raise ValueError(message + hint)


def _hash_on(value: object) -> HashOn:
    """What the key is made of; null is the default, since it may just be unused."""
    if value is None:
        return Upstream(name="", backends=()).hash_on
    found = _HASH_ON.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        message = f"got {shown(value)}, expected client_ip, path, uri, header:NAME"
        raise ValueError(f"{message} or cookie:NAME")
    match found["named"]:
        case "header":
            return HashOn(kind="header", name=found["name"].lower().encode())
        case "cookie":
            return HashOn(kind="cookie", name=found["name"].encode())
    return HashOn(kind=cast("Plain", found["kind"]))


def _balance_factor(value: object) -> int | None:
    """A percentage, as in HAProxy, where 0 is off too."""
    if value is None or (type(value) is int and value == 0):
        return None
    return quantities.whole(101, 10_000)(value)


Policy: TypeAlias = Annotated[PolicyName, PlainValidator(_policy)]
OfHash: TypeAlias = Annotated[HashOn, PlainValidator(_hash_on)]
BalanceFactor: TypeAlias = Annotated[int | None, PlainValidator(_balance_factor)]
MaxConnections: TypeAlias = Annotated[
    int | None, PlainValidator(quantities.bound(_MANY))
]
Percent: TypeAlias = Annotated[int, PlainValidator(quantities.whole(0, 100))]


class OutlierEntry(BaseModel):
    """`outlier_detection` of an upstream."""

    model_config = _STRICT

    consecutive_failures: Annotated[int, PlainValidator(quantities.whole(1, _MANY))] = (
        _OUTLIERS.consecutive_failures
    )
    base_ejection: Annotated[float, PlainValidator(quantities.duration(zero=False))] = (
        _OUTLIERS.base_ejection
    )
    max_ejected_percent: Percent = _OUTLIERS.max_ejected_percent


def _outliers(value: object) -> object:
    if value is None or value is False:
        return None
    if value is True:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"got {shown(value)}, expected true, false or a mapping")
    return value


OfOutliers: TypeAlias = Annotated[OutlierEntry | None, BeforeValidator(_outliers)]


def outlier_detection(entry: OutlierEntry | None) -> OutlierDetection | None:
    """Make the record of an upstream."""
    return None if entry is None else OutlierDetection(**entry.model_dump())
