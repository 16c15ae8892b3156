"""Processes that write are killed at random moments; several write at once."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ullage.core.units import GIB, MIB
from ullage.core.workload import Outcome
from ullage.stores.ledger import HostLedger
from ullage.stores.state import SqliteStateStore
from ullage.testing.ledger_contract import HostDouble
from ullage.testing.records import START, begun_run

WRITER = """
import sys
from pathlib import Path
from ullage.core.telemetry import SampleSeries
from ullage.stores.state import SqliteStateStore
from ullage.testing.records import begun_run, ended, one_attempt, one_decision, one_oom

first, last = int(sys.argv[2]), int(sys.argv[3])
store = SqliteStateStore.open(Path(sys.argv[1]))
for number in range(first, last):
    decision = one_decision(f"d-{number}")
    run = begun_run(number, decision_id=decision.decision_id)
    store.begin_run(run, decision, owner="writer")
    print("begun", run.run_id, flush=True)
    store.add_attempt(run.run_id, one_attempt(), SampleSeries())
    store.end_run(ended(run), [one_oom(run)])
    print("ended", run.run_id, flush=True)
"""


def start_writer(path: Path, first: int, last: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(first), str(last)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_kill_9_at_any_moment_loses_no_acknowledged_run(tmp_path: Path) -> None:
    path = tmp_path / "state" / "state.db"
    chance = random.Random(20261123)
    begun: set[str] = set()
    ended: set[str] = set()
    for turn in range(10):
        process = start_writer(path, turn * 100_000, (turn + 1) * 100_000)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(chance.randrange(1, 60))]
        time.sleep(chance.random() * 0.01)
        process.kill()
        for line in [*lines, *process.communicate()[0].splitlines(keepends=True)]:
            verb, _, run_id = line.strip().partition(" ")
            if line.endswith("\n"):
                (begun if verb == "begun" else ended).add(run_id)
        store = SqliteStateStore.open(path)
        runs = {run.run_id: run for run in store.runs()}
        assert begun <= runs.keys()
        assert {run_id for run_id in ended if runs[run_id].outcome is not Outcome.OK} == set()
        assert all(runs[run_id].attempts for run_id in ended)
        assert all(store.decision(run.decision_id or "") for run in runs.values())
        assert ended <= {event.run_id for event in store.ooms()}
        assert store.integrity() == []
        store.close()
    store = SqliteStateStore.open(path)
    orphans = store.close_orphans(lambda _: False, at=START)
    assert not ended & set(orphans)
    assert all(run.outcome is not None for run in store.runs())
    store.close()


def test_several_processes_make_and_write_one_store(tmp_path: Path) -> None:
    """All start on nothing at all, so making the file and its tables is a race too."""
    path = tmp_path / "state" / "state.db"
    writers = [start_writer(path, turn * 1000, turn * 1000 + 40) for turn in range(4)]
    assert [len(writer.communicate()[0].splitlines()) for writer in writers] == [80] * 4
    assert [writer.returncode for writer in writers] == [0] * 4
    store = SqliteStateStore.open(path)
    assert {run.run_id for run in store.runs()} == {
        begun_run(turn * 1000 + number).run_id for turn in range(4) for number in range(40)
    }
    assert store.integrity() == []
    store.close()


MAKER = """
import os, sys
from pathlib import Path
from ullage.stores.ledger import HostLedger
from ullage.stores.state import SqliteStateStore

for line in sys.stdin:
    folder = Path(line.strip())
    SqliteStateStore.open(folder / "state.db").close()
    ledger = HostLedger.open(folder / "ledger.db", read_memory=lambda: (8 << 30, 16 << 30))
    ledger.join(run_id=str(os.getpid()), pid=os.getpid())
    print("made", flush=True)
"""


def test_many_that_find_nothing_make_one_file_together(tmp_path: Path) -> None:
    """None of them takes the half-made file of another for a stranger's, or for damaged."""
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", MAKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(5)
    ]
    for turn in range(40):
        for maker in makers:
            assert maker.stdin is not None
            maker.stdin.write(f"{tmp_path / str(turn)}\n")
            maker.stdin.flush()
        answers = [maker.stdout.readline() for maker in makers if maker.stdout is not None]
        if answers != ["made\n"] * 5:
            break
        ledger = HostLedger.open(tmp_path / str(turn) / "ledger.db", read_memory=HostDouble())
        assert ledger.summary()[2] == 5
    assert [maker.communicate()[1] for maker in makers] == [""] * 5
    assert not list(tmp_path.rglob("*.damaged"))


BOOKER = """
import os, sys
from pathlib import Path
from ullage.stores.ledger import HostLedger

GIB = 1 << 30
ledger = HostLedger.open(Path(sys.argv[1]), read_memory=lambda: (10 * GIB, 16 * GIB))
booking = ledger.join(run_id=sys.argv[2], pid=os.getpid())
print("ready", flush=True)
sys.stdin.readline()
for turn in range(200):
    got = min(booking.book(booked_bytes=6 * GIB, need_bytes=0), 6 * GIB)
    if turn < 199:
        booking.book(booked_bytes=0, need_bytes=0)
print(got, flush=True)
sys.stdin.read()
"""


def start_booker(path: Path, run_id: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", BOOKER, str(path), run_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_that_race_for_the_last_memory_never_both_get_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    racers = [start_booker(path, name) for name in ("one", "other", "third")]
    got: list[int] = []
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:
        assert racer.stdout is not None
        got.append(int(racer.stdout.readline()))
    ledger = HostLedger.open(path, read_memory=HostDouble())
    left_bytes, booked_bytes, count = ledger.summary()
    assert (sum(got), count) == (9 * GIB, 3)
    assert (left_bytes, booked_bytes) == (0, 9 * GIB)
    for racer in racers:
        racer.communicate()
    assert ledger.summary() == (9 * GIB, 0, 0)


@pytest.mark.parametrize("seed", range(3))
def test_kill_9_of_those_who_book_leaves_a_sound_ledger(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "ledger.db"
    chance = random.Random(seed)
    for turn in range(3):
        process = start_booker(path, f"run-{turn}")
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(chance.random() * 0.02)
        process.kill()
        process.communicate()
    ledger = HostLedger.open(path, read_memory=HostDouble())
    assert ledger.summary() == (9 * GIB, 0, 0)
    assert not Path(f"{path}.damaged").exists()
    own = ledger.join(run_id="own", pid=process.pid)
    assert own.book(booked_bytes=512 * MIB, need_bytes=0) == 9 * GIB
    own.release()
