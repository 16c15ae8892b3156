"""The tables of `ullage serve`: migration 6 of the state store.

Names of targets and workloads stand in key columns as JSON text without its quotes, so that
whatever a host calls its cgroups can be stored (stores.service_rows.key_of).
"""

from __future__ import annotations

SERVICE_STATEMENTS: tuple[str, ...] = (
    # S6: the hash chain. month: of the sealed segment that the record belongs to, "2026-01"
    """CREATE TABLE service_journal (
        number INTEGER NOT NULL PRIMARY KEY,
        month TEXT NOT NULL,
        at_us INTEGER NOT NULL,
        token INTEGER NOT NULL,
        kind TEXT NOT NULL,
        target_key TEXT,
        workload_key TEXT,
        entry_json TEXT NOT NULL,
        previous_digest TEXT NOT NULL,
        digest TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX service_journal_by_target ON service_journal (target_key, number)",
    "CREATE INDEX service_journal_by_workload ON service_journal (workload_key, number)",
    # a dropped month keeps its row: what follows is sealed onto its last digest
    """CREATE TABLE service_month (
        month TEXT NOT NULL PRIMARY KEY,
        first_number INTEGER NOT NULL,
        last_number INTEGER NOT NULL,
        previous_digest TEXT NOT NULL,
        last_digest TEXT NOT NULL,
        last_at_us INTEGER NOT NULL,
        dropped_at_us INTEGER
    ) STRICT""",
    # S9: one row. renewed_mono_us: CLOCK_MONOTONIC of this boot; a reboot ends every tenure
    """CREATE TABLE service_lease (
        id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
        token INTEGER NOT NULL,
        holder TEXT,
        boot_id TEXT NOT NULL,
        pid_space TEXT NOT NULL,
        pid INTEGER NOT NULL,
        pid_start_ticks INTEGER NOT NULL,
        renewed_mono_us INTEGER NOT NULL,
        renewed_at_us INTEGER NOT NULL
    ) STRICT""",
    # originals (S22), pending changes (S7, S17), watches, envelopes, hands-off: core TargetState
    """CREATE TABLE service_state (
        target_key TEXT NOT NULL PRIMARY KEY,
        workload_key TEXT NOT NULL,
        state_json TEXT NOT NULL
    ) STRICT""",
    # people's orders; workload_key "" = all of them
    """CREATE TABLE service_freeze (
        workload_key TEXT NOT NULL PRIMARY KEY,
        freeze_json TEXT NOT NULL
    ) STRICT""",
    # breaker_since_at_us (S12), incident (S10), conservative:WORKLOAD (S16)
    """CREATE TABLE service_switch (
        name TEXT NOT NULL PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT""",
    # what people ask of the loop: it obeys in its next pass and says what came of it
    """CREATE TABLE service_intent (
        number INTEGER NOT NULL PRIMARY KEY,
        asked_at_us INTEGER NOT NULL,
        intent_json TEXT NOT NULL,
        done_at_us INTEGER,
        result_json TEXT
    ) STRICT""",
    # services started by `ullage run --service`
    """CREATE TABLE service_registration (
        target_key TEXT NOT NULL PRIMARY KEY,
        registered_at_us INTEGER NOT NULL,
        owner TEXT NOT NULL,
        spec_json TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE service_target (
        number INTEGER NOT NULL PRIMARY KEY,
        target_key TEXT NOT NULL UNIQUE,
        first_seen_at_us INTEGER NOT NULL,
        last_seen_at_us INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX service_target_by_age ON service_target (last_seen_at_us)",
    # per day pairs (start of interval, largest need); five weeks
    """CREATE TABLE service_peaks (
        target INTEGER NOT NULL REFERENCES service_target (number) ON DELETE CASCADE,
        day INTEGER NOT NULL,
        packed BLOB NOT NULL,
        PRIMARY KEY (target, day)
    ) STRICT, WITHOUT ROWID""",
    # per quarter of an hour triples (at, need, limit); some hours
    """CREATE TABLE service_recent (
        target INTEGER NOT NULL REFERENCES service_target (number) ON DELETE CASCADE,
        quarter INTEGER NOT NULL,
        packed BLOB NOT NULL,
        PRIMARY KEY (target, quarter)
    ) STRICT, WITHOUT ROWID""",
    # S23: once per (target, instance, moment); history for ever
    """CREATE TABLE service_oom (
        target_key TEXT NOT NULL,
        instance TEXT NOT NULL,
        at_us INTEGER NOT NULL,
        workload_key TEXT NOT NULL,
        at_least_bytes INTEGER NOT NULL,
        limit_bytes INTEGER,
        kills INTEGER NOT NULL,
        attribution TEXT NOT NULL,
        PRIMARY KEY (target_key, instance, at_us)
    ) STRICT""",
    "CREATE INDEX service_oom_by_workload ON service_oom (workload_key, at_us)",
)
