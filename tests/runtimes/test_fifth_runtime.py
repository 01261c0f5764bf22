"""The example of a runtime keeps the contract like ours."""

from __future__ import annotations

import importlib.util

import pytest

from lbproto_runtimes.api import Runtime
from lbproto_runtimes.contract import CHECKS, Check
from tests.certificates import Authority
from tests.runtimes.process import ROOT
from tests.runtimes.secured import authority

__all__ = ["authority"]


@pytest.fixture(scope="module")
def fifth() -> Runtime:
    path = ROOT / "examples" / "selectors_runtime.py"
    spec = importlib.util.spec_from_file_location("selectors_runtime", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SelectorsRuntime()  # type: ignore[no-any-return]


@pytest.mark.parametrize("check", CHECKS, ids=str)
def test_the_fifth_runtime_keeps_the_contract(
    check: Check, fifth: Runtime, authority: Authority
) -> None:
    check.run(fifth, authority.issue("a.test"))
