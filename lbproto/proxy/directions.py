"""What becomes of a request whose head is known: the routes have their say.

Before them, there are requests that must not pass, whoever would take them.
A route may answer by itself, or change what holds for the request and name an
upstream. Where no route takes it, the service's upstream does; without one it is not
found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbproto.framing.messages import COUNTED, RequestHead, ResponseHead
from lbproto.machine.errors import ErrorCode
from lbproto.proxy.replies import fixed_reply, redirect_reply
from lbproto.proxy.terms import ANY_SIZE
from lbproto.rewriting.outgoing import has_underscore, loops
from lbproto.rewriting.rules import apply_rules
from lbproto.rewriting.variables import filled

if TYPE_CHECKING:
    from lbproto.config import Redirect
    from lbproto.proxy.exchange import Exchange
    from lbproto.routing.plan import Plan

__all__ = ["direct", "refused"]


def refused(exchange: Exchange, head: RequestHead, now: float) -> bool:
    """Fail a request that must not pass; tell whether it was one.

    One whose fields are `ordinary` never is.
    """
    site = exchange.site
    if site.rejects_underscores and has_underscore(head):
        exchange.fail(ErrorCode.SYNTAX, "underscore in a field name", now)
        return True
    if loops(head, site.via):
        exchange.fail(ErrorCode.LOOP, "our own pseudonym in Via", now)
        return True
    return False


def direct(exchange: Exchange, head: RequestHead, now: float) -> None:
    """Find out who takes a request, and begin with it."""
    table = exchange.site.table
    if table is None:
        _forward(exchange, head, head.target, exchange.terms.upstream, now)
        return
    path = table.path(head.target)
    if path is None:
        exchange.fail(ErrorCode.SYNTAX, "a path that is not safe to compare", now)
        return
    plan = table.find(head, path)
    if plan is None:
        _forward(exchange, head, head.target, exchange.terms.upstream, now)
        return
    exchange.follow(exchange.site.terms_of(plan))
    if plan.respond is not None:
        date = exchange.date(now)
        _answer(exchange, head, *fixed_reply(plan.respond, head.stream, date), now)
    elif plan.redirect is not None:
        _redirect(exchange, head, plan.redirect, now)
    else:
        _follow(exchange, head, plan, path, now)


def _follow(
    exchange: Exchange, head: RequestHead, plan: Plan, path: bytes, now: float
) -> None:
    target = plan.target(head.target, path)
    if target is None:
        exchange.fail(ErrorCode.SYNTAX, "a path that a rewrite leads astray", now)
        return
    chance = exchange.site.env.random() if plan.splits else 0.0
    _forward(exchange, head, target, plan.upstream(chance), now)


def _forward(
    exchange: Exchange,
    head: RequestHead,
    target: bytes,
    upstream: str | None,
    now: float,
) -> None:
    limit = exchange.terms.body_size
    if limit != ANY_SIZE and head.body.kind is COUNTED and head.body.length > limit:
        detail = f"Content-Length is over the {limit} bytes of its route"
        exchange.fail(ErrorCode.CONTENT_TOO_LARGE, detail, now)
    else:
        exchange.forward(head, target, upstream, now)


def _redirect(
    exchange: Exchange, head: RequestHead, redirect: Redirect, now: float
) -> None:
    location = redirect.location
    if not isinstance(location, bytes):
        location = filled(location, head, exchange.remote)
    date = exchange.date(now)
    reply = redirect_reply(redirect.status, location, head.stream, date)
    _answer(exchange, head, *reply, now)


def _answer(
    exchange: Exchange,
    head: RequestHead,
    reply: ResponseHead,
    content: bytes,
    now: float,
) -> None:
    rules = exchange.service.response_headers
    apply_rules(reply.headers, rules, head, exchange.remote)
    exchange.reply(reply, content, None, now)
