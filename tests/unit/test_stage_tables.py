"""What people and machines are told of stages."""

from __future__ import annotations

import json
from datetime import timedelta

from ullage.core.prices import DEFAULT_MEMORY_PRICE
from ullage.core.units import MIB
from ullage.outcomes.description import describe_workload, description_text
from ullage.outcomes.formats import OutputFormat
from ullage.outcomes.render import render, to_json
from ullage.outcomes.stages import stages_plain, stages_sentence, stages_table
from ullage.testing.records import begun_run, ended, one_stage

ONE, TWO = begun_run(1), begun_run(1, run_id="r-0000000002-000000")
USES = [
    one_stage(ONE, name="read", start_bytes=10 * MIB, peak_bytes=90 * MIB, used_byte_seconds=1.0),
    one_stage(TWO, name="read", start_bytes=10 * MIB, peak_bytes=70 * MIB, used_byte_seconds=2.0),
    one_stage(
        TWO,
        name="group",
        started_at=TWO.started_at + timedelta(seconds=9),
        ended_at=TWO.started_at + timedelta(seconds=12),
        start_bytes=70 * MIB,
        peak_bytes=700 * MIB,
        used_byte_seconds=3.0,
    ),
    one_stage(ONE, name="group", start_bytes=None, peak_bytes=None, used_byte_seconds=None),
]


def test_a_stage_is_a_row_with_its_hottest_worker() -> None:
    read, group = stages_table(USES).rows
    assert (read["peak_bytes"], read["hottest_run_id"]) == (90 * MIB, ONE.run_id)
    assert (read["workers_count"], read["used_byte_seconds"]) == (2, 3.0)
    assert (group["peak_bytes"], group["grown_bytes"]) == (700 * MIB, 630 * MIB)
    assert (group["workers_count"], group["hottest_run_id"]) == (1, TWO.run_id)
    assert (read["start_s"], read["span_s"]) == (0.0, 9.0)


def test_the_sentence_names_the_stage_that_needs_the_memory() -> None:
    assert stages_sentence(USES) == (
        "2 stages by 2 workers; the memory goes into group: 700 MiB, 630 MiB more than it began "
        "with"
    )
    assert stages_sentence(USES[3:]) == "1 stage by 1 worker; too short to be measured"
    assert stages_sentence([]) == ""


def test_hostile_names_stay_in_their_cell() -> None:
    uses = [one_stage(ONE, name="\x1b[31m" + "x" * 200)]
    text = render(stages_table(uses), OutputFormat.TABLE)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) < 220


def test_a_description_has_the_stages() -> None:
    found = describe_workload(ONE.workload, [ended(ONE)], price=DEFAULT_MEMORY_PRICE, stages=USES)
    assert json.loads(to_json(found))["stages"] == stages_plain(USES)
    assert any("the memory goes into group" in line for line in description_text(found))
    without = describe_workload(ONE.workload, [ended(ONE)], price=DEFAULT_MEMORY_PRICE)
    assert (without["stages"], without["stages_sentence"]) == ([], None)
    assert not any(line.startswith("  stages") for line in description_text(without))
