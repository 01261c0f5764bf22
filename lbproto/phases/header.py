"""Heads of messages in the hands of an application.

They are copies: what an application does to one changes that message and nothing
else. Names and values may be `str` or `bytes`; text is ISO 8859-1, the one reading of
field values that loses nothing (RFC 9110 5.5). What could split a message is refused.

Framing is what the fields say when the application is done: with `Transfer-Encoding`,
or without the `Content-Length` that was there, content goes out in chunks (or until
the connection closes, to a client of HTTP/1.0); with a `Content-Length` exactly so
much has to come. How chunks are written, and what belongs to one hop (`Connection`),
is not the application's to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol, TypeAlias

from lbproto.framing.field_lines import FIELD_VALUE, TOKEN
from lbproto.framing.grammar import ORIGIN_FORM, content_length
from lbproto.framing.headers import Headers
from lbproto.framing.messages import (
    ABSENT,
    COUNTED,
    NO_BODY,
    STREAM,
    BodyHint,
    RequestHead,
    ResponseHead,
    Version,
    length,
)

__all__ = ["RequestHeader", "ResponseHeader", "Text"]

Text: TypeAlias = str | bytes


def raw(text: Text) -> bytes:
    """Encode what an application gives.

    Raises:
        ValueError: there is a character outside of ISO 8859-1.
    """
    return text if isinstance(text, bytes) else text.encode("latin-1")


def framed(headers: Headers, before: BodyHint) -> BodyHint:
    """Read from edited fields how the content is framed; leave one answer in them.

    Raises:
        ValueError: Content-Length is not a number.
    """
    if headers.remove_header(b"transfer-encoding"):
        headers.remove_header(b"content-length")
        return STREAM
    said = headers.get(b"content-length")
    if said is None:
        return STREAM if before.kind is COUNTED and before.length else before
    count = content_length(said)
    if count is None:
        raise ValueError(f"Content-Length {said[:64]!r} is not a number")
    return length(count)


class Fields(Protocol):
    """The fields of a head, which both kinds of it have."""

    __slots__ = ()
    _headers: Headers

    def get(self, name: Text) -> str | None:
        """Return the first value of a field; None if it is not there."""
        found = self._headers.get(raw(name).lower())
        return None if found is None else found.decode("latin-1")

    def get_all(self, name: Text) -> list[str]:
        """Return every value of a field, in order."""
        found = self._headers.get_all(raw(name).lower())
        return [value.decode("latin-1") for value in found]

    def items(self) -> Iterator[tuple[str, str]]:
        """Yield names, as they were written, and values, in order."""
        for name, value in self._headers.raw_items():
            yield name.decode("latin-1"), value.decode("latin-1")

    def insert_header(self, name: Text, value: Text) -> None:
        """Replace a field where it stands, or add it at the end.

        Raises:
            ValueError: the name is no token, or the value no field value.
        """
        self._headers.insert_header(raw(name), raw(value))

    def append_header(self, name: Text, value: Text) -> None:
        """Add a field at the end, beside others of its name.

        Raises:
            ValueError: as `insert_header`.
        """
        self._headers.append_header(raw(name), raw(value))

    def remove_header(self, name: Text) -> bool:
        """Remove every field of a name; tell whether there was one."""
        return self._headers.remove_header(raw(name).lower())


class RequestHeader(Fields):
    """The head of a request."""

    __slots__ = ("_head", "_headers", "method", "target")

    def __init__(self, head: RequestHead) -> None:
        self._head = head
        self._headers = head.headers.copy()
        self.method = head.method.decode("ascii")
        """`GET`, `POST` ..."""
        self.target = head.target.decode("ascii")
        """The path with the query, in origin-form, or `*`."""

    @property
    def asked(self) -> str:
        """The method with which the client asked."""
        return self._head.method.decode("ascii")

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What stands behind `?`; empty if nothing does."""
        return self.target.partition("?")[2]

    @property
    def authority(self) -> str:
        """Whom the client asked for: the target's authority, or Host."""
        return self._head.authority.decode("ascii")

    @property
    def version(self) -> Version:
        """The version in which the request came."""
        return self._head.version

    @property
    def is_upgrade(self) -> bool:
        """Whether the client offers to switch to another protocol."""
        return bool(self._head.upgrade)

    def edited(self) -> RequestHead:
        """Return the head as it is now.

        Raises:
            ValueError: the method is no token, or the target no path.
        """
        method, target = raw(self.method), raw(self.target)
        if TOKEN.fullmatch(method) is None:
            raise ValueError(f"method {self.method[:64]!r} is not a token")
        if target != b"*" and ORIGIN_FORM.fullmatch(target) is None:
            raise ValueError(f"target {self.target[:64]!r} is not a path")
        headers = self._headers.copy()
        before = self._head.headers.get(b"host")
        now = headers.get(b"host")
        authority = self._head.authority
        if now is not None and now != before:
            authority = now
        body = framed(headers, self._head.body)
        return replace(
            self._head,
            method=method,
            target=target,
            authority=authority,
            headers=headers,
            body=body,
        )


class ResponseHeader(Fields):
    """The head of a response."""

    __slots__ = ("_head", "_headers", "reason", "status")

    def __init__(self, head: ResponseHead) -> None:
        self._head = head
        self._headers = head.headers.copy()
        self.status = head.status
        self.reason = head.reason.decode("latin-1")
        """The words behind the status; not sent in HTTP/2."""

    @classmethod
    def build(cls, status: int) -> ResponseHeader:
        """Begin a response of one's own, without any field."""
        head = ResponseHead(0, status, b"", Headers(), NO_BODY, Version.HTTP11)
        return cls(head)

    def set_status(self, status: int) -> None:
        """Answer with another status; the words behind it go."""
        self.status, self.reason = status, ""

    def edited(self) -> ResponseHead:
        """Return the head as it is now.

        Raises:
            ValueError: the status changes what the response is, or is none; or the
                words behind it are no text of a header.
        """
        before, reason = self._head.status, raw(self.reason)
        if self.status != before and (before < 200 or not 200 <= self.status <= 599):
            raise ValueError(f"{before} cannot become {self.status}")
        if FIELD_VALUE.fullmatch(reason) is None:
            raise ValueError(f"reason {self.reason[:64]!r} holds a control character")
        headers = self._headers.copy()
        head = self._head
        # No framing is to be read where there is no content, as after HEAD.
        body = head.body if head.body.kind is ABSENT else framed(headers, head.body)
        return replace(
            head, status=self.status, reason=reason, headers=headers, body=body
        )
