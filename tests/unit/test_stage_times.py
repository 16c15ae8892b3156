"""Times of stages, noted and then recorded with what real workers needed. Without Beam."""

from __future__ import annotations

import os
import sys
from datetime import timedelta

import pytest

from ullage import bootstrap
from ullage.beam.crew import Crew, WorkerEnd
from ullage.beam.settings import WorkerSettings
from ullage.beam.stage_times import StageTimes, record_stages
from ullage.config import load_settings
from ullage.core.stages import StageSpan
from ullage.core.units import MIB
from ullage.testing.records import START

GROW = """
import time
held = b"x" * (5 << 20)
time.sleep(0.5)
held += b"y" * (80 << 20)
time.sleep(0.5)
"""


def test_spans_have_the_names_that_people_know_and_nothing_idle_is_kept() -> None:
    times = StageTimes()
    times.expect([("s1", "Create"), ("s2", "Create"), ("s3", "")])
    for own_name in ("s1", "s2", "unexpected"):
        with times.during(own_name):
            pass
    with times.during("s1") as block:
        block.is_kept = False
    with pytest.raises(ValueError, match="boom"), times.during("s2"):
        raise ValueError("boom")
    noted = [span.name for span in times.spans]
    assert noted == ["Create", "Create (2)", "unexpected", "Create (2)"]
    assert times.current == "Create (2)"
    assert all(span.started_at <= span.ended_at for span in times.spans)


def test_what_a_real_worker_needed_is_recorded_by_stage() -> None:
    settings = WorkerSettings(workload_key="beam/test", workers_count=1, is_observing=True)
    with Crew("beam/test", settings.run_words()) as crew:
        crew.start("w", [sys.executable, "-S", "-c", GROW], env=os.environ)
        crew.let_go("w")
        crew.end("w")
    (end,) = crew.ends
    store = bootstrap.open_store(load_settings())
    (run,) = store.runs("beam/test")
    store.close()
    (attempt,) = run.attempts
    middle = attempt.started_at + attempt.runtime / 2
    spans = [
        StageSpan(name="small", started_at=attempt.started_at, ended_at=middle),
        StageSpan(name="large", started_at=middle, ended_at=middle + timedelta(seconds=9)),
    ]
    uses = record_stages("beam/test", [end], spans, execution_id="e-1")
    assert [use.name for use in uses] == ["small", "large"]
    assert (uses[1].peak_bytes or 0) > 80 * MIB
    store = bootstrap.open_store(load_settings(), read_only=True)
    assert store.stages("beam/test") == uses
    store.close()


def test_without_runs_or_stages_nothing_is_opened() -> None:
    nobody = WorkerEnd(name="w", exit_code=125, result={})
    span = StageSpan(name="a", started_at=START, ended_at=START)
    assert record_stages("beam/test", [nobody], [span], execution_id="e-1") == []
    assert record_stages("beam/test", [], [], execution_id="e-1") == []
    assert not (load_settings().state_dir / "state.db").exists()


def test_a_record_that_cannot_be_opened_breaks_no_pipeline(
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = load_settings().state_dir
    folder.mkdir(parents=True)
    (folder / "state.db").write_bytes(b"no database at all" * 100)
    end = WorkerEnd(name="w", exit_code=0, result={"run_id": "r-0000000001-000000"})
    span = StageSpan(name="a", started_at=START, ended_at=START)
    assert record_stages("beam/test", [end], [span], execution_id="e-1") == []
    assert "the stages of beam/test are not recorded" in caplog.text
