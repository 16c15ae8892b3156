"""Slurm's accounting: jobs and steps joined, units, states, what was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from trace_files import as_run, read_text

from ullage.core.units import GIB, MIB
from ullage.core.workload import Outcome
from ullage.sources.trace_slurm import SlurmAccountingReader, requested_bytes

READER = SlurmAccountingReader()
HEADER = "JobID|JobName|State|ExitCode|Elapsed|MaxRSS|ReqMem|AllocCPUS|NNodes|Submit|Start|End"
TIMES = "2026-11-01T09:00:00|2026-11-01T10:00:00|2026-11-02T12:03:04"


def _job(
    number: str = "101",
    *,
    state: str = "COMPLETED",
    exit_code: str = "0:0",
    peaks: tuple[str, ...] = ("145792K", "992K"),
    request: str = "4G",
    elapsed: str = "1-02:03:04",
    step_state: str | None = None,
) -> str:
    lines = [f"{number}|align|{state}|{exit_code}|{elapsed}||{request}|4|1|{TIMES}"]
    for step, peak in zip(("batch", "extern", "0", "1"), peaks, strict=False):
        shown = step_state or state
        lines.append(f"{number}.{step}|{step}|{shown}|0:0|{elapsed}|{peak}||4|1|{TIMES}")
    return "\n".join(lines) + "\n"


def _read(folder: Path, *jobs: str) -> tuple[list, list]:  # type: ignore[type-arg]
    return read_text(READER, folder, HEADER + "\n" + "".join(jobs))


def test_a_job_and_its_steps_are_one_run(tmp_path: Path) -> None:
    found, rejected = _read(tmp_path, _job(), _job("102", peaks=("1K", "2K", "1.5G")))
    assert not rejected
    assert [each.name for each in found] == ["align", "align"]
    assert [each.peak_bytes for each in found] == [145792 * 1024, 1.5 * GIB]
    assert [each.line for each in found] == [2, 5]
    assert found[0].runtime_s == 93_784
    assert found[0].limit_bytes == 4 * GIB
    assert found[0].features.numbers == {"threads_count": 4}
    assert found[0].started_at.isoformat() == "2026-11-01T10:00:00+00:00"


@pytest.mark.parametrize(
    ("request_text", "expected_bytes"),
    [
        *(("4G", 4 * GIB), ("4Gn", 4 * GIB), ("4000M", 4000 * MIB)),
        *(("1Gc", 4 * GIB), ("512Mc", 2 * GIB), ("0n", None), ("", None)),
    ],
)
def test_what_was_asked_for(request_text: str, expected_bytes: int | None) -> None:
    assert requested_bytes(request_text, 4, 1) == expected_bytes


def test_memory_per_processor_needs_the_processors() -> None:
    assert requested_bytes("1Gc", None, None) is None
    assert requested_bytes("1Gc", 8, 2) == 4 * GIB


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("COMPLETED", Outcome.OK),
        ("FAILED", Outcome.ERROR),
        ("CANCELLED by 1000", Outcome.INTERRUPTED),
        ("TIMEOUT", Outcome.INTERRUPTED),
        ("NODE_FAIL", Outcome.ERROR),
        ("OUT_OF_MEMORY", Outcome.OOM_KILLED),
    ],
)
def test_states(tmp_path: Path, state: str, outcome: Outcome) -> None:
    found, _ = _read(tmp_path, _job(state=state))
    assert found[0].outcome is outcome


def test_a_step_out_of_memory_is_the_jobs_too(tmp_path: Path) -> None:
    found, _ = _read(tmp_path, _job(state="FAILED", step_state="OUT_OF_MEMORY", exit_code="0:9"))
    run = as_run(found[0])
    assert run.outcome is Outcome.OOM_KILLED
    assert run.exit_code == 137
    assert run.attempts[0].peak_bytes == 4 * GIB, "the limit is the least that was needed"


def test_array_jobs_stay_apart(tmp_path: Path) -> None:
    found, _ = _read(tmp_path, _job("7_1"), _job("7_2"), _job("7+0"))
    assert len({each.identity for each in found}) == 3


def test_what_is_no_run_is_rejected_with_its_reason(tmp_path: Path) -> None:
    found, rejected = _read(
        tmp_path,
        _job("1", state="RUNNING", peaks=()),
        _job("2", peaks=("lots",)),
        _job("3", elapsed="soon", peaks=()),
        _job("4", state="", peaks=()),
        f"5.batch|batch|COMPLETED|0:0|00:01|1K||1|1|{TIMES}\n",
        "6|a|b\n",
    )
    assert not found
    assert {each.reason for each in rejected} == {
        "not_ended",
        "size_unreadable",
        "span_unreadable",
        "state_missing",
        "step_without_its_job",
        "wrong_number_of_cells",
    }
    assert min(each.line for each in rejected) == 2


def test_a_job_without_steps_has_no_peak(tmp_path: Path) -> None:
    found, _ = _read(tmp_path, _job(peaks=()))
    assert found[0].peak_bytes is None


def test_a_bar_at_the_end_of_every_line_is_fine(tmp_path: Path) -> None:
    text = (HEADER + "\n" + _job()).replace("\n", "|\n")
    assert READER.recognises(text.encode())
    found, rejected = read_text(READER, tmp_path, text)
    assert len(found) == 1
    assert not rejected
