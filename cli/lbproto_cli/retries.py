"""The shape of `retry`, and the record it becomes.

Without the key there is no budget: what is repeated then costs a backend nothing.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias, cast, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator

from lbproto.config import Backoff, Retry, RetryOn
from lbproto.config.shown import shown
from lbproto_cli import quantities
from lbproto_cli.problems import nearest

__all__ = ["BackoffEntry", "OfUpstream", "RetryEntry", "retry"]

_STRICT: Final = ConfigDict(strict=True, extra="forbid", frozen=True)
_WORDS: Final[tuple[str, ...]] = get_args(RetryOn)
_RETRY: Final = Retry()
_BACKOFF: Final = Backoff()
_PERCENT: Final = 20

_Duration: TypeAlias = Annotated[float, PlainValidator(quantities.duration(zero=False))]


def _event(value: object) -> str | int:
    if type(value) is int and 500 <= value <= 599:
        return value
    if isinstance(value, str) and value in _WORDS:
        return value
    hint = nearest(value, _WORDS) if isinstance(value, str) else ""
    expected = f"expected {', '.join(_WORDS)} or a status of 500-599"
    raise ValueError(f"got {shown(value)}, {expected}{hint}")


def _percent(value: object) -> int | None:
    return None if value is None else quantities.whole(0, 100)(value)


class BackoffEntry(BaseModel):
    """`backoff` of a retry."""

    model_config = _STRICT

    base: _Duration = _BACKOFF.base
    max: _Duration = _BACKOFF.max


class RetryEntry(BaseModel):
    """`retry` of an upstream."""

    model_config = _STRICT

    on: list[Annotated[str | int, PlainValidator(_event)]] = list(_RETRY.on)
    budget_percent: Annotated[int | None, PlainValidator(_percent)] = _PERCENT
    per_try_timeout: _Duration | None = None
    backoff: BackoffEntry | None = None


def _entry(value: object) -> object:
    if value is None or isinstance(value, dict):
        return value
    raise ValueError(f"got {shown(value)}, expected a mapping")


OfUpstream: TypeAlias = Annotated[RetryEntry | None, BeforeValidator(_entry)]


def retry(entry: RetryEntry | None) -> Retry:
    """Make the record of an upstream."""
    if entry is None:
        return Retry()
    backoff = entry.backoff
    return Retry(
        on=tuple(cast("RetryOn", it) for it in entry.on if isinstance(it, str)),
        statuses=tuple(it for it in entry.on if isinstance(it, int)),
        budget_percent=entry.budget_percent,
        per_try_timeout=entry.per_try_timeout,
        backoff=None
        if backoff is None
        else Backoff(base=backoff.base, max=backoff.max),
    )
