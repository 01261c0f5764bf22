"""The operator's own edits of the fields.

They come last, so that they have the last word, and in the order remove, set,
add: `set` may rely on a field being gone, and `add` stands beside what `set` put
there.

A value may be a template. One that comes out empty leaves no field: not an empty
one, and above all not the one that was there, which the sender could have made up.
"""

from __future__ import annotations

from lbproto.config import HeaderRules
from lbproto.framing.headers import Headers
from lbproto.framing.messages import RequestHead
from lbproto.machine.events import PeerInfo
from lbproto.rewriting.variables import filled

__all__ = ["apply_rules", "combined"]


def apply_rules(
    headers: Headers, rules: HeaderRules, request: RequestHead, peer: PeerInfo
) -> None:
    """Edit fields in place by rules.

    What templates tell is of the client's request, as it came, and of the client
    (`peer`), who may be another than the peer of the connection.

    Raises:
        ValueError: a rule's name is no token, or its value holds a control
            character; a checked configuration has no such rule.
    """
    if rules.remove:
        headers.remove_all(rules.remove)
    for name, value in rules.set:
        if isinstance(value, bytes):
            headers.insert_header(name, value)
        elif text := filled(value, request, peer):
            headers.insert_header(name, text)
        else:
            headers.remove_header(name.lower())
    for name, value in rules.add:
        if isinstance(value, bytes):
            headers.append_header(name, value)
        elif text := filled(value, request, peer):
            headers.append_header(name, text)


def combined(first: HeaderRules, then: HeaderRules) -> HeaderRules:
    """Return rules that do what the first and then the others would."""
    gone = frozenset(then.remove) | {name.lower() for name, _ in then.set}
    return HeaderRules(
        remove=first.remove + then.remove,
        set=tuple(rule for rule in first.set if rule[0].lower() not in gone) + then.set,
        add=tuple(rule for rule in first.add if rule[0].lower() not in gone) + then.add,
    )
