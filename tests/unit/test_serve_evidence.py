"""Evidence of a source that does not believe its own answer."""

from __future__ import annotations

import pytest
from serve_worlds import DOCKER, SmallWorld

from ullage.core.errors import DataError
from ullage.core.service import GuardCode, LiveReading
from ullage.simulation.world_ports import WorldSource


def test_a_source_that_cannot_believe_its_answer_has_poisoned_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = SmallWorld([DOCKER])
    small.run.advance(300)

    def lie(source: WorldSource, target: object) -> LiveReading:
        raise DataError("docker: 99 bytes of cache in 1 used")

    with monkeypatch.context() as patch:
        patch.setattr(WorldSource, "read", lie)
        small.run.tick()
    small.run.advance(60)
    assert small.counts.rejected_readings["poisoned"] == 1
    assert not small.counts.broken
    assert small.daemon.controller.targets()[0].hold_codes == (GuardCode.S2_POISONED,)
