from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from lbproto.machine.errors import LocalProtocolError
from lbproto.proxy.stages import TRANSITIONS, Stage, Step, advance, mermaid

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(("stage", "step"), list(itertools.product(Stage, Step)))
def test_a_step_is_in_the_table_or_refused(stage: Stage, step: Step) -> None:
    following = TRANSITIONS[stage].get(step)
    if following is None:
        with pytest.raises(LocalProtocolError, match=f"{step.name}.*{stage.name}"):
            advance(stage, step)
    else:
        assert advance(stage, step) == following


def test_every_stage_is_reached_and_leads_to_the_end() -> None:
    reached = {Stage.IDLE}
    while True:
        more = {to for stage in reached for to in TRANSITIONS[stage].values()}
        if more <= reached:
            break
        reached |= more
    assert reached == set(Stage)
    ending = {Stage.DONE}
    while True:
        more = {s for s in Stage if set(TRANSITIONS[s].values()) & ending}
        if more <= ending:
            break
        ending |= more
    assert ending == set(Stage)


def test_the_diagram_in_the_documents_is_the_table() -> None:
    # python -c 'from lbproto.proxy.stages import mermaid; print(mermaid())'
    page = (DOCS / "states.md").read_text("utf-8")
    assert f"```mermaid\n{mermaid()}```\n" in page
