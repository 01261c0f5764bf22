"""What a reload says that it changed."""

from __future__ import annotations

from lbproto_cli.changes import changes, fixed
from lbproto_cli.load import parse

BEFORE = """
threads: 1
services:
- {name: web, listen: ["127.0.0.1:1"], upstream: app}
- {name: old, listen: ["127.0.0.1:2"], upstream: app}
upstreams:
  app: {backends: ["h:1", "h:2"]}
"""
AFTER = """
threads: 2
services:
- name: web
  listen: ["127.0.0.1:1", "unix:/run/lb"]
  timeouts: {connect: 2s}
  upstream: app
- {name: new, listen: ["127.0.0.1:2"], upstream: app}
upstreams:
  app: {backends: ["h:2", {address: "h:3", weight: 2}]}
"""


def between(old: str, new: str) -> list[tuple[str, str, str]]:
    configs = [
        parse(text.encode(), "conf.yaml", ("uvloop",)).config for text in (old, new)
    ]
    return list(changes(*configs))


def test_what_needs_a_restart_stays_as_it_is_and_is_named() -> None:
    top = "error_log: /a\nthreads: 1\n", "error_log: /b\ndaemon: true\nthreads: 2\n"
    old, new = (parse(one.encode(), "conf.yaml", ("uvloop",)).config for one in top)
    config, differ = fixed(old, new)
    assert differ == ("error_log", "daemon")
    assert list(changes(old, config)) == [("threads", "1", "2")]
    assert fixed(old, config) == (config, ())


def test_each_key_that_changed_is_named_with_both_values() -> None:
    assert between(BEFORE, AFTER) == [
        ("services.web.listen", "127.0.0.1:1", "127.0.0.1:1, unix:/run/lb"),
        ("services.web.timeouts.connect", "5.0", "2.0"),
        ("services.old", "old", "none"),
        ("services.new", "none", "new"),
        ("upstreams.app.backends", "h:1, h:2", "h:2, h:3"),
        ("threads", "1", "2"),
    ]


def test_nothing_is_said_of_what_stays() -> None:
    assert between(BEFORE, BEFORE) == []
