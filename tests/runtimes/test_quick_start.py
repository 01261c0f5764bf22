"""The applications of the examples, in every runtime."""

from __future__ import annotations

import importlib.util
import json
import sys
from types import ModuleType

import pytest
import yaml

from tests.runtimes.fixtures import Conducted, OriginFactory
from tests.runtimes.origins import Recorder, answers, reply
from tests.runtimes.process import ROOT
from tests.runtimes.wire import dial


def example(name: str) -> ModuleType:
    """Import a program of the examples."""
    path = ROOT / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


def test_a_client_that_asks_too_often_is_told_so(
    conducted: Conducted, origin: OriginFactory
) -> None:
    module = example("rate_limiter")
    now = [10.0]
    backend = origin(answers(reply(), reply(), reply(), reply()))
    window = module.Window(lambda: now[0])
    with dial(conducted(module.RateLimiter(backend.address, window))) as client:
        assert client.ask("/", "appid: a\r\n").status == 200
        refused = client.ask("/", "appid: a\r\n")
        assert refused.status == 429
        assert refused.get("x-rate-limit-limit") == b"1"
        assert refused.body == b"too many requests\n"
        assert client.ask("/", "appid: b\r\n").status == 200
        assert client.ask().status == 200
        now[0] += 1.0
        assert client.ask("/", "appid: a\r\n").status == 200


def test_json_becomes_yaml(conducted: Conducted, origin: OriginFactory) -> None:
    module = example("modify_response")
    about = {"name": "a", "tags": ["b", "c"]}
    body = json.dumps(about).encode()
    fields = "Content-Type: application/json\r\n"
    backend = origin(answers(reply(body, fields=fields)))
    with dial(conducted(module.Json2Yaml(backend.address))) as client:
        changed = client.ask()
    assert changed.get("content-type") == b"application/yaml"
    assert changed.get("content-length") is None
    assert yaml.safe_load(changed.body) == about


def test_what_is_no_json_breaks_that_response_alone(
    conducted: Conducted, origin: OriginFactory, capfd: pytest.CaptureFixture[str]
) -> None:
    module = example("modify_response")
    backend = origin(answers(reply(b"no json")))
    with dial(conducted(module.Json2Yaml(backend.address))) as client:
        client.get()
        assert not client.rest().endswith(b"0\r\n\r\n"), "it looks complete"
    assert "JSONDecodeError" in capfd.readouterr().err


def test_an_error_has_the_page(conducted: Conducted, origin: OriginFactory) -> None:
    module = example("error_page")
    backend = origin()
    backend.close()
    with dial(conducted(module.Apologetic(backend.address))) as client:
        sorry = client.ask()
    assert sorry.status == 502
    assert sorry.get("content-type") == b"text/html"
    assert b"(status 502)" in sorry.body


def test_the_path_chooses(conducted: Conducted, origin: OriginFactory) -> None:
    module = example("gateway")
    family, others = Recorder(reply(b"family")), Recorder(reply(b"a"), reply(b"b"))
    gateway = module.Gateway(origin(family).address, origin(others).address, "sesame")
    with dial(conducted(gateway)) as client:
        assert client.ask("/family/x").body == b"family"
        answer = client.ask("/x")
        assert answer.body == b"a"
        assert answer.get("server") == b"MyGateway"
        assert client.ask("/login").status == 403
        assert client.ask("/login", "Authorization: sesame\r\n").body == b"b"


def test_the_second_server_stands_in_for_the_first(
    conducted: Conducted, origin: OriginFactory
) -> None:
    module = example("failover")
    first, second = origin(), origin(answers(reply(b"second")))
    first.close()
    with dial(conducted(module.Failover(first.address, second.address))) as client:
        assert client.ask().body == b"second"
