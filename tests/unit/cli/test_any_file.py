"""Whatever a file holds, it becomes a configuration or a list of problems."""

from __future__ import annotations

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbproto_cli.load import parse
from lbproto_cli.problems import ConfigProblems, Problem
from lbproto_cli.schema import SHAPES

RUNTIMES = ("asyncio", "uvloop")

KEYS = sorted({key for _, model in SHAPES for key in model.model_fields})
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from(
        ["127.0.0.1:1", "unix:/x", "off", "h11", "5s", "1KiB", "web", "h:1"]
    ),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(KEYS) | st.text(), inner, max_size=4),
    ),
    max_leaves=12,
)
MAPPINGS = st.dictionaries(st.sampled_from(KEYS) | st.text(), TREES, max_size=5)


def accepts_or_explains(data: bytes) -> None:
    found: tuple[Problem, ...] | None = None
    try:
        parse(data, "conf.yaml", RUNTIMES)
    except ConfigProblems as error:
        found = error.problems
    assert found != ()
    for problem in found or ():
        assert str(problem).startswith("conf.yaml:")
        assert str(problem).isprintable()
        assert str(problem).isascii()


@given(MAPPINGS)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_no_mapping_makes_the_loader_raise_anything_else(
    tree: dict[str, object],
) -> None:
    accepts_or_explains(yaml.safe_dump(tree).encode())


SERVICES = st.fixed_dictionaries(
    {"services": st.lists(st.dictionaries(st.sampled_from(KEYS), TREES), max_size=2)},
    optional={"upstreams": st.dictionaries(st.text(), TREES, max_size=2)},
)


@given(SERVICES)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_no_service_makes_the_loader_raise_anything_else(
    tree: dict[str, object],
) -> None:
    accepts_or_explains(yaml.safe_dump(tree).encode())


@given(st.binary() | st.text().map(str.encode))
def test_no_bytes_make_the_loader_raise_anything_else(data: bytes) -> None:
    accepts_or_explains(data)


@given(st.text(alphabet="a:-[]{}&*!#|>'\"%@`,?\n \t~<0.", max_size=40))
def test_no_syntax_makes_the_loader_raise_anything_else(text: str) -> None:
    accepts_or_explains(text.encode())
