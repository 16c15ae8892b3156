"""The tables of the state store as numbered steps, each made in one transaction.

A released step never changes; a new one is added at the end. Conventions: instants are
`_at_us` (integer microseconds since 1970 UTC), spans `_us`, sizes `_bytes`; JSON only for
small vectors and for whole decisions; "cannot tell" is NULL. Portable SQL but for STRICT.
Not here: how a record becomes a row (`stores.rows`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from ullage.stores.schema.service_tables import SERVICE_STATEMENTS

APPLICATION_ID = 0x556C4C67
"""'UlLg' in the file's header: whose file it is."""


@dataclass(frozen=True, slots=True)
class Migration:
    """Brings a store from schema number - 1 to `number`."""

    number: int
    statements: tuple[str, ...]


_RUNS_AND_DECISIONS = Migration(
    1,
    (
        """CREATE TABLE decision (
            decision_id TEXT NOT NULL PRIMARY KEY,
            workload_key TEXT NOT NULL,
            policy TEXT NOT NULL,
            asked_at_us INTEGER NOT NULL,
            limit_bytes INTEGER NOT NULL,
            record_json TEXT NOT NULL
        ) STRICT""",
        """CREATE TABLE run (
            run_id TEXT NOT NULL PRIMARY KEY,
            workload_key TEXT NOT NULL,
            key_reason TEXT NOT NULL,
            command_json TEXT NOT NULL,
            started_at_us INTEGER NOT NULL,
            known_at_us INTEGER,
            features_json TEXT NOT NULL,
            control TEXT NOT NULL,
            outcome TEXT,
            exit_code INTEGER,
            decision_id TEXT,
            expert_costs_gbh_json TEXT NOT NULL,
            spent_prob_json TEXT NOT NULL,
            owner TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX run_by_start ON run (started_at_us, run_id)",
        "CREATE INDEX run_by_workload ON run (workload_key, started_at_us, run_id)",
        "CREATE INDEX run_still_open ON run (run_id) WHERE known_at_us IS NULL",
        # S6: growth is authorised in advance, up to the ceiling and until the run ends
        """CREATE TABLE envelope (
            run_id TEXT NOT NULL PRIMARY KEY REFERENCES run (run_id),
            decision_id TEXT NOT NULL REFERENCES decision (decision_id),
            ceiling_bytes INTEGER NOT NULL,
            valid_from_us INTEGER NOT NULL,
            valid_until_us INTEGER
        ) STRICT""",
        """CREATE TABLE attempt (
            run_id TEXT NOT NULL REFERENCES run (run_id),
            number INTEGER NOT NULL,
            started_at_us INTEGER NOT NULL,
            limit_bytes INTEGER,
            final_limit_bytes INTEGER,
            peak_bytes INTEGER,
            runtime_us INTEGER NOT NULL,
            outcome TEXT NOT NULL,
            exit_code INTEGER,
            oom_kills INTEGER NOT NULL,
            raises INTEGER NOT NULL,
            waits INTEGER NOT NULL,
            wait_total_us INTEGER NOT NULL,
            reserved_byte_seconds REAL,
            used_byte_seconds REAL,
            PRIMARY KEY (run_id, number)
        ) STRICT""",
        """CREATE TABLE samples (
            run_id TEXT NOT NULL,
            attempt INTEGER NOT NULL,
            samples_count INTEGER NOT NULL,
            packed BLOB NOT NULL,
            PRIMARY KEY (run_id, attempt),
            FOREIGN KEY (run_id, attempt) REFERENCES attempt (run_id, number)
        ) STRICT""",
        # S23: an OOM counts once, by its run, attempt and moment
        """CREATE TABLE oom (
            run_id TEXT NOT NULL REFERENCES run (run_id),
            attempt INTEGER NOT NULL,
            at_us INTEGER NOT NULL,
            workload_key TEXT NOT NULL,
            at_least_bytes INTEGER,
            limit_bytes INTEGER,
            kills INTEGER NOT NULL,
            attribution TEXT NOT NULL,
            PRIMARY KEY (run_id, attempt, at_us)
        ) STRICT""",
        "CREATE INDEX oom_by_time ON oom (at_us)",
        "CREATE INDEX oom_by_workload ON oom (workload_key, at_us)",
    ),
)

_ANNOUNCED_CHANCE = Migration(
    2,
    ("ALTER TABLE run ADD COLUMN first_oom_prob REAL",),
)

_SEGMENTS = Migration(
    3,
    (
        # a dropped segment keeps its row: what was given up can be told for ever
        """CREATE TABLE segment (
            segment_id INTEGER NOT NULL PRIMARY KEY,
            file_name TEXT NOT NULL UNIQUE,
            sha256 TEXT NOT NULL,
            file_bytes INTEGER NOT NULL,
            attempts_count INTEGER NOT NULL,
            samples_count INTEGER NOT NULL,
            first_at_us INTEGER NOT NULL,
            last_at_us INTEGER NOT NULL,
            made_at_us INTEGER NOT NULL,
            dropped_at_us INTEGER
        ) STRICT""",
        # rows first_row .. first_row + samples_count - 1 of the file, counted from 0
        """CREATE TABLE segment_attempt (
            run_id TEXT NOT NULL,
            attempt INTEGER NOT NULL,
            workload_key TEXT NOT NULL,
            segment_id INTEGER NOT NULL REFERENCES segment (segment_id),
            first_row INTEGER NOT NULL,
            samples_count INTEGER NOT NULL,
            first_at_us INTEGER NOT NULL,
            last_at_us INTEGER NOT NULL,
            PRIMARY KEY (run_id, attempt),
            FOREIGN KEY (run_id, attempt) REFERENCES attempt (run_id, number)
        ) STRICT""",
        "CREATE INDEX segment_attempt_by_segment ON segment_attempt (segment_id)",
        "CREATE INDEX segment_attempt_by_workload ON segment_attempt (workload_key, last_at_us)",
    ),
)

_STAGES = Migration(
    4,
    (
        """CREATE TABLE stage (
            run_id TEXT NOT NULL REFERENCES run (run_id),
            name TEXT NOT NULL,
            workload_key TEXT NOT NULL,
            execution_id TEXT NOT NULL,
            started_at_us INTEGER NOT NULL,
            ended_at_us INTEGER NOT NULL,
            start_bytes INTEGER,
            peak_bytes INTEGER,
            used_byte_seconds REAL,
            PRIMARY KEY (run_id, name)
        ) STRICT""",
        "CREATE INDEX stage_by_workload ON stage (workload_key, started_at_us)",
    ),
)

_JOBS = Migration(
    5,
    (
        # the latest facts of each job of a service; its run stands in `run` as any other
        """CREATE TABLE job (
            project TEXT NOT NULL,
            region TEXT NOT NULL,
            job_id TEXT NOT NULL,
            workload_key TEXT NOT NULL,
            run_id TEXT,
            state TEXT NOT NULL,
            created_at_us INTEGER NOT NULL,
            synced_at_us INTEGER NOT NULL,
            record_json TEXT NOT NULL,
            PRIMARY KEY (project, region, job_id)
        ) STRICT""",
        "CREATE INDEX job_by_id ON job (job_id)",
        "CREATE INDEX job_by_run ON job (run_id)",
        "CREATE INDEX job_by_creation ON job (created_at_us, job_id)",
    ),
)

_SERVICES = Migration(6, SERVICE_STATEMENTS)

MIGRATIONS: tuple[Migration, ...] = (
    _RUNS_AND_DECISIONS,
    _ANNOUNCED_CHANCE,
    _SEGMENTS,
    _STAGES,
    _JOBS,
    _SERVICES,
)
SCHEMA_VERSION = MIGRATIONS[-1].number
"""What this Ullage writes; it reads nothing newer."""


def schema_version(connection: sqlite3.Connection) -> int:
    """Return the schema number that the open file has, 0 where nothing was made yet."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, steps: Sequence[Migration] = MIGRATIONS) -> None:
    """Make the missing steps in order, each with its number in one transaction.

    Several processes may do this at once: each looks again under the write lock.
    `connection` is in autocommit mode. A step that fails leaves the file as it was.
    """
    for step in steps:
        connection.execute("BEGIN IMMEDIATE")
        try:
            if schema_version(connection) < step.number:
                for statement in step.statements:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {step.number:d}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
