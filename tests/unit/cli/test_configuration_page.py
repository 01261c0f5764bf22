"""The page about the configuration, and the example, keep up with the schema."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lbproto.config import Variable
from lbproto_cli.load import parse
from lbproto_cli.schema import SHAPES, File

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
WORKS, LATER = PAGE.split("## Keys that do not work yet")

LISTS = ("services", "listen", "certificates", "backends", "routes", "split")


def keys() -> list[tuple[str, str, bool]]:
    """Each key: how the page names it, its last part, whether it works later."""
    found = []
    for pattern, model in SHAPES:
        if pattern[:3] == ("services", "*", "upstream"):
            continue  # the same as below `upstreams`
        text = ".".join(pattern)
        for name in LISTS:
            text = re.sub(rf"\b{name}\.\*", f"{name}[]", text)
        text = text.replace("upstreams.*", "upstreams.NAME")
        for name, field in model.model_fields.items():
            path = f"{text}.{name}" if text else name
            found.append((path, name, field.annotation is type(None)))
    return found


@pytest.mark.parametrize(("path", "name", "later"), keys())
def test_every_key_is_on_the_page(path: str, name: str, later: bool) -> None:
    if later:
        assert f"`{name}`" in LATER
    else:
        assert f"| `{path}` |" in WORKS


def test_the_page_names_no_key_that_the_schema_lacks() -> None:
    known = {path for path, _, later in keys() if not later}
    named = re.findall(r"^\| `([^`]+)` \|", WORKS, re.MULTILINE)
    assert set(named) == known
    assert len(named) == len(known)


def test_the_defaults_on_the_page_are_those_of_the_schema() -> None:
    for name, default in re.findall(
        r"^\| `([a-z_]+)` \| `([^`]+)` \|", WORKS, re.MULTILINE
    ):
        loaded = parse(f"{name}: {default}".encode(), "page", ("uvloop",))
        empty = parse(b"", "page", ("uvloop",))
        assert loaded.config == empty.config, name
    assert set(File.model_fields) >= {"threads"}


def test_the_defaults_of_a_service_are_those_of_the_schema() -> None:
    def service(more: str) -> object:
        text = f"services: [{{listen: ['*:1'], upstream: {{backends: [h:1]}}{more}}}]"
        return parse(text.encode(), "page", ("uvloop",)).config.services

    rows = re.findall(
        r"^\| `services\[\]\.([a-z_.]+)` \| `([^`]+)` \|", WORKS, re.MULTILINE
    )
    rows = [(path, default) for path, default in rows if path != "name"]
    assert len(rows) > 20
    for path, default in rows:
        first, _, rest = path.partition(".")
        value = f"{{{rest}: {default}}}" if rest else default
        assert service(f", {first}: {value}") == service(""), path


def test_every_variable_is_on_the_page() -> None:
    listed = re.findall(r"^\* `\$([a-z_]+)`:", WORKS, re.MULTILINE)
    assert listed == [variable.value for variable in Variable]


def test_the_example_is_valid() -> None:
    data = (ROOT / "examples" / "conf.yaml").read_bytes()
    loaded = parse(data, "conf.yaml", ("asyncio", "uvloop"))
    assert [service.name for service in loaded.config.services] == ["web"]
