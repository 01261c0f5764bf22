"""The operator's own edits of the fields.

They come last, so that they have the last word, and in the order remove, set,
add: `set` may rely on a field being gone, and `add` stands beside what `set` put
there.
"""

from __future__ import annotations

from lbproto.config import HeaderRules
from lbproto.framing.headers import Headers

__all__ = ["apply_rules"]


def apply_rules(headers: Headers, rules: HeaderRules) -> None:
    """Edit fields in place by rules.

    Raises:
        ValueError: a rule's name is no token, or its value holds a control
            character; a checked configuration has no such rule.
    """
    if rules.remove:
        headers.remove_all(rules.remove)
    for name, value in rules.set:
        headers.insert_header(name, value)
    for name, value in rules.add:
        headers.append_header(name, value)
