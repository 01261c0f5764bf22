"""The shape of `request_headers` and `response_headers`, and what they become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator

from lbproto.config import HeaderRules, Template
from lbproto_cli import words

__all__ = ["NULL_IS_EMPTY", "RequestRules", "ResponseRules", "header_rules"]

_STRICT: Final = ConfigDict(strict=True, extra="forbid", frozen=True)


def _empty_if_null(value: object) -> object:
    """A key with nothing after it, its content commented out, means defaults."""
    return {} if value is None else value


def _field_values(value: object) -> tuple[bytes | Template, ...]:
    """One value of `add`; a list adds the field several times."""
    values = value if isinstance(value, list) else [value]
    return tuple(map(words.field_value, values))


NULL_IS_EMPTY: Final = BeforeValidator(_empty_if_null)

FieldName: TypeAlias = Annotated[bytes, PlainValidator(words.field_name)]
RequestField: TypeAlias = Annotated[bytes, PlainValidator(words.request_field)]
FieldValue: TypeAlias = Annotated[bytes | Template, PlainValidator(words.field_value)]
AddedValues: TypeAlias = Annotated[
    tuple[bytes | Template, ...], PlainValidator(_field_values)
]


class RequestRules(BaseModel):
    """`request_headers` of a service or a route."""

    model_config = _STRICT

    set: Annotated[dict[FieldName, FieldValue], NULL_IS_EMPTY] = {}
    add: Annotated[dict[RequestField, AddedValues], NULL_IS_EMPTY] = {}
    remove: list[RequestField] = []


class ResponseRules(BaseModel):
    """`response_headers` of a service or a route."""

    model_config = _STRICT

    set: Annotated[dict[FieldName, FieldValue], NULL_IS_EMPTY] = {}
    add: Annotated[dict[FieldName, AddedValues], NULL_IS_EMPTY] = {}
    remove: list[FieldName] = []


def header_rules(entry: RequestRules | ResponseRules) -> HeaderRules:
    """Make the record."""
    add: Mapping[bytes, tuple[bytes | Template, ...]] = entry.add
    return HeaderRules(
        remove=tuple(name.lower() for name in entry.remove),
        set=tuple(entry.set.items()),
        add=tuple((name, value) for name, values in add.items() for value in values),
    )
