"""The real controller in the simulated world, driven by Hypothesis; and the same seed twice."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from serve_machine import ServeMachine

EXAMPLES = int(os.environ.get("ULLAGE_MACHINE_EXAMPLES", "500"))
LONG_EXAMPLES = int(os.environ.get("ULLAGE_MACHINE_LONG_EXAMPLES", "3000"))


def _run(examples: int) -> None:
    run_state_machine_as_test(
        ServeMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_nothing_that_may_happen_breaks_the_contract() -> None:
    _run(EXAMPLES)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nothing_that_may_happen_breaks_the_contract_for_long() -> None:
    _run(LONG_EXAMPLES)
