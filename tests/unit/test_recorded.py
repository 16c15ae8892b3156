"""Found runs become runs of ours: what is believed, what stands in, which workload, which id."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.core.ids import check_name, fit_name
from ullage.core.recorded import (
    FoundRun,
    ImportedRun,
    Naming,
    clean_features,
    import_run,
)
from ullage.core.telemetry import Attribution
from ullage.core.view import history_of
from ullage.core.workload import ControlKind, Outcome, Workload

NOW = datetime(2026, 11, 24, tzinfo=UTC)
FOUND = FoundRun(
    line=2,
    name="etl",
    identity=("7",),
    started_at=NOW - timedelta(hours=2),
    runtime_s=60.0,
    peak_bytes=1e9,
    limit_bytes=2e9,
    exit_code=0,
)


def _import(found: FoundRun, naming: Naming | None = None) -> ImportedRun:
    imported = import_run(found, format_id="slurm", naming=naming or Naming(), now=NOW)
    assert isinstance(imported, ImportedRun), imported
    return imported


def _reason(found: FoundRun) -> str:
    imported = import_run(found, format_id="slurm", naming=Naming(), now=NOW)
    assert isinstance(imported, str)
    return imported


def test_a_plain_run() -> None:
    imported = _import(FOUND)
    run, (attempt,) = imported.run, imported.run.attempts
    assert run.workload.key == "etl"
    assert run.workload.key_reason == "imported: slurm calls it 'etl'"
    assert run.control is ControlKind.IMPORTED
    assert run.known_at == NOW - timedelta(hours=2) + timedelta(seconds=60)
    assert attempt.limit_bytes == attempt.final_limit_bytes == 2_000_000_000
    assert attempt.reserved_byte_seconds == 2e9 * 60
    assert attempt.used_byte_seconds is None
    assert (imported.ooms, imported.stand_ins) == ((), ())


def test_its_id_is_of_format_workload_and_identity_alone() -> None:
    run_id = _import(FOUND).run.run_id
    assert _import(replace(FOUND, line=9, peak_bytes=5e9)).run.run_id == run_id
    assert _import(replace(FOUND, identity=("8",))).run.run_id != run_id
    assert _import(replace(FOUND, name="other")).run.run_id != run_id
    other = import_run(FOUND, format_id="spark", naming=Naming(), now=NOW)
    assert isinstance(other, ImportedRun)
    assert other.run.run_id != run_id


def test_identities_do_not_run_into_each_other() -> None:
    ids = {
        _import(replace(FOUND, identity=each)).run.run_id
        for each in (("a", "b"), ("ab",), ("ab", ""), ("", "ab"))
    }
    assert len(ids) == 4


def test_an_oom_kill_is_a_lower_bound_and_an_event() -> None:
    imported = _import(replace(FOUND, outcome=Outcome.OOM_KILLED, exit_code=137))
    assert imported.run.attempts[0].peak_bytes == 2_000_000_000, "it needed its limit at least"
    (event,) = imported.ooms
    assert event.attribution is Attribution.ORGANIC
    assert event.at_least_bytes == event.limit_bytes == 2_000_000_000
    assert event.at == imported.run.known_at
    history = history_of([imported.run], at=NOW)
    assert history.is_censored.tolist() == [True]
    assert history.first_failed.tolist() == [True]
    assert history.failed_bytes.tolist() == [2e9]


def test_an_oom_kill_that_nobody_measured_needed_its_limit() -> None:
    found = replace(FOUND, outcome=Outcome.OOM_KILLED, peak_bytes=None)
    assert _import(found).run.attempts[0].peak_bytes == 2_000_000_000
    assert _reason(replace(found, limit_bytes=None)) == "peak_missing"


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.INTERRUPTED])
def test_what_did_not_end_well_is_censored(outcome: Outcome) -> None:
    run = _import(replace(FOUND, outcome=outcome)).run
    assert history_of([run], at=NOW).is_censored.tolist() == [True]
    assert run.attempts[0].peak_bytes == 1_000_000_000


@pytest.mark.parametrize(
    ("peak", "reason"),
    [
        (None, "peak_missing"),
        (0.0, "peak_not_above_zero"),
        (-5.0, "peak_not_above_zero"),
        (0.4, "peak_not_above_zero"),
        (math.nan, "peak_not_finite"),
        (math.inf, "peak_not_finite"),
        (2.0**51, "peak_above_1_pib"),
    ],
)
def test_peaks_that_cannot_be_meant(peak: float | None, reason: str) -> None:
    assert _reason(replace(FOUND, peak_bytes=peak)) == reason


@pytest.mark.parametrize("limit", [None, math.nan, -1.0, 0.0, 2.0**60])
def test_a_limit_that_cannot_be_meant_is_none(limit: float | None) -> None:
    attempt = _import(replace(FOUND, limit_bytes=limit)).run.attempts[0]
    assert attempt.limit_bytes is None
    assert attempt.reserved_byte_seconds is None


@pytest.mark.parametrize("runtime_s", [None, 0.0, -1.0, math.nan, math.inf, 1e12])
def test_a_second_stands_in_for_a_runtime(runtime_s: float | None) -> None:
    imported = _import(replace(FOUND, runtime_s=runtime_s))
    assert imported.run.attempts[0].runtime == timedelta(seconds=1)
    assert imported.stand_ins == ("runtime_missing",)


def test_no_run_is_known_before_now() -> None:
    soon = _import(replace(FOUND, started_at=NOW + timedelta(hours=9))).run
    assert soon.started_at == soon.known_at == NOW, "a time zone that was not told"
    long = _import(replace(FOUND, runtime_s=1e6)).run
    assert long.known_at == NOW
    assert len(history_of([soon, long], at=NOW)) == 2
    assert _reason(replace(FOUND, started_at=NOW + timedelta(days=2))) == "starts_in_the_future"


def test_a_start_that_is_guessed_is_told() -> None:
    assert _import(replace(FOUND, is_start_guessed=True)).stand_ins == ("start_missing",)
    missing = _import(replace(FOUND, started_at=None))
    assert missing.stand_ins == ("start_missing",)
    assert missing.run.started_at == NOW


def test_a_workload_that_is_named_takes_all() -> None:
    named = Naming(workload=Workload(key="w-etl-0123456789", key_reason="kept the script"))
    imported = _import(replace(FOUND, name=""), named)
    assert imported.run.workload.key == "w-etl-0123456789"
    assert _reason(replace(FOUND, name=" ")) == "workload_missing"


def test_a_run_of_our_own_comes_back_as_it_was() -> None:
    own = _import(FOUND).run
    again = replace(FOUND, recorded=own)
    assert _import(again).run is own
    elsewhere = _import(again, Naming(workload=Workload(key="b", key_reason="named")))
    assert elsewhere.run.workload.key == "b"
    assert elsewhere.run.run_id != own.run_id


def test_features_without_what_says_nothing() -> None:
    features = clean_features(
        {"a": 1, "b": math.nan, "c": math.inf}, {"d": "x" * 999, "e": " "}, source="s"
    )
    assert features.numbers == {"a": 1.0}
    assert features.labels == {"d": "x" * 500}
    assert features.sources == {"a": "s", "d": "s"}
    many = clean_features({str(n): 1.0 for n in range(9_999)}, {}, source="s")
    assert len(many.numbers) == 200


@pytest.mark.parametrize("name", ["etl", "RNASEQ:STAR_ALIGN", "a/b@c=d+e-f", "x" * 128])
def test_names_that_are_allowed_stay(name: str) -> None:
    assert fit_name(name) == name


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_name_fits_and_none_is_shared(one: str, other: str) -> None:
    fitted = fit_name(one)
    assert bool(fitted) == bool(one.strip())
    if fitted:
        assert check_name(fitted) == fitted
        assert fit_name(fitted) == fitted
    if one != other and fitted:
        assert fitted != fit_name(other) or fit_name(one) == other
