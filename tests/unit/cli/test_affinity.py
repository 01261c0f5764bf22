"""`sticky` in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbproto.config import Secret, Sticky
from lbproto_cli import affinity as module
from lbproto_cli.changes import changes
from lbproto_cli.load import Loaded, parse
from lbproto_cli.problems import ConfigProblems

SECRET = "0123456789abcdef"


def loaded(value: str) -> Loaded:
    text = f"upstreams: {{a: {{backends: ['h:1'], sticky: {value}}}}}"
    return parse(text.encode(), "conf.yaml", ("uvloop",))


def sticky(value: str) -> Sticky:
    got = loaded(value).config.upstreams["a"].sticky
    assert got is not None
    return got


def test_everything() -> None:
    got = sticky(
        f"{{cookie: lb, secret: {SECRET}, secure: true, http_only: false,"
        " same_site: lax, max_age: 1h}"
    )
    assert got == Sticky(
        cookie=b"lb",
        secret=Secret(SECRET.encode()),
        secure=True,
        http_only=False,
        same_site="lax",
        max_age=3600,
    )
    assert sticky("{cookie: lb, max_age: 0.2, secure: null}").max_age == 1


def test_null_is_none() -> None:
    assert loaded("null").config.upstreams["a"].sticky is None


def test_without_a_secret_the_machine_makes_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one, two, none = tmp_path / "one", tmp_path / "two", tmp_path / "none"
    two.write_bytes(b"an identity\n")
    monkeypatch.setattr(module, "MACHINE_ID", (str(none), str(two)))
    first = sticky("{cookie: lb}").secret
    assert sticky("{cookie: lb}").secret == first
    assert b"identity" not in first.value
    one.write_bytes(b"")
    monkeypatch.setattr(module, "MACHINE_ID", (str(one),))
    named = sticky("{cookie: lb}").secret
    assert named != first
    monkeypatch.setattr(module.socket, "gethostname", lambda: "elsewhere")
    assert sticky("{cookie: lb}").secret != named


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{}", "sticky.cookie: missing, expected this key"),
        ("{cookie: 'a b'}", 'got "a b", expected the name of a cookie'),
        ("{cookie: a, secret: short}", "expected text of at least 16 characters"),
        ("{cookie: a, secure: maybe}", 'got "maybe", expected true or false'),
        ("{cookie: a, same_site: loose}", "expected one of lax, strict, none"),
        ("{cookie: a, same_site: none, secure: false}", "expected secure: true beside"),
        ("{cookie: a, max_age: 0}", "expected a duration above 0"),
        ("{cookie: a, max_aeg: 0}", "unknown key, did you mean max_age?"),
        ("lb", 'got "lb", expected a mapping with a cookie'),
    ],
)
def test_what_is_wrong_is_told(value: str, message: str) -> None:
    with pytest.raises(ConfigProblems, match=r"^conf\.yaml:1:") as caught:
        loaded(value)
    assert message in str(caught.value)
    assert "short" not in str(caught.value)


def test_the_log_of_a_reload_shows_no_secret() -> None:
    configs = [
        loaded(f"{{cookie: a, secret: {SECRET}{n}}}").config for n in ("one", "two")
    ]
    change = ("upstreams.a.sticky.secret", "(secret)", "(another secret)")
    assert list(changes(*configs)) == [change]
    none = loaded("null").config
    assert SECRET not in str(list(changes(none, configs[0])))
