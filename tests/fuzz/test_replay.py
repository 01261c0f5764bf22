"""Every seed and every input that ever broke something, once more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fuzz import (
    fuzz_affinity,
    fuzz_chunked,
    fuzz_config,
    fuzz_events,
    fuzz_handover,
    fuzz_proxy_protocol,
    fuzz_request,
    fuzz_response,
)

FUZZ = Path(__file__).parents[2] / "fuzz"
TARGETS: dict[str, Callable[[bytes], None]] = {
    "request": fuzz_request.one_input,
    "chunked": fuzz_chunked.one_input,
    "affinity": fuzz_affinity.one_input,
    "response": fuzz_response.one_input,
    "events": fuzz_events.one_input,
    "config": fuzz_config.one_input,
    "proxy_protocol": fuzz_proxy_protocol.one_input,
    "handover": fuzz_handover.one_input,
}


def inputs(target: str, kind: str) -> list[Path]:
    folder = FUZZ / kind / target
    return sorted(file for file in folder.iterdir() if file.name != ".gitkeep")


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_and_regressions_pass(target: str) -> None:
    assert len(inputs(target, "seeds")) > 10
    for seed in inputs(target, "seeds") + inputs(target, "regressions"):
        try:
            TARGETS[target](seed.read_bytes())
        except BaseException as error:
            error.add_note(f"in {seed.relative_to(FUZZ)}")
            raise


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("data", [b"", b"\0", b"\xff" * 64, bytes(range(256))])
def test_any_bytes_pass(target: str, data: bytes) -> None:
    TARGETS[target](data)


def test_seeds_are_small_and_not_too_many() -> None:
    for target in TARGETS:
        seeds = inputs(target, "seeds")
        assert len(seeds) < 150
        assert max(seed.stat().st_size for seed in seeds) < 2048
