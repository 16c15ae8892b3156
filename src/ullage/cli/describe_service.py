"""What `ullage describe` says of a workload that the service loop watches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ullage.config import Settings
    from ullage.outcomes.formats import TextFormat
    from ullage.outcomes.tables import Table

SHOWN_DECISIONS = 10
SHOWN_OOMS = 1_000


def service_of(settings: Settings, workload: str) -> tuple[dict[str, Any], Table] | None:
    """Return (what is stored of the service, its latest decisions), None if it is none."""
    from ullage.bootstrap_serve import open_service_store
    from ullage.outcomes.service_tables import DECISION_KINDS, decisions_table, describe_service
    from ullage.serve_config import load_serve

    config = load_serve(settings)
    store = open_service_store(settings, config, read_only=True)
    try:
        states = [state for state in store.states() if state.workload_key == workload]
        records = store.latest(DECISION_KINDS, workload, limit=3 * SHOWN_DECISIONS)
        known = {spec.workload_key for spec in config.specs}
        if not states and not records and workload not in known:
            return None
        ooms = store.service_ooms(workload, limit=SHOWN_OOMS)
        found = describe_service(workload, states, store.fleet(), ooms)
    finally:
        store.close()
    return found, decisions_table(records, of=workload, limit=SHOWN_DECISIONS)


def show_service(found: dict[str, Any], decisions: Table, output: TextFormat) -> None:
    """Write it."""
    from ullage.cli.reading import put
    from ullage.outcomes.formats import OutputFormat, TextFormat
    from ullage.outcomes.render import render, to_json, to_yaml, visible
    from ullage.outcomes.service_tables import service_text

    if output is TextFormat.JSON:
        put(to_json(found))
    elif output is TextFormat.YAML:
        put(to_yaml(found))
    else:
        put("".join(f"{visible(line)}\n" for line in service_text(found)))
        put("\n" + render(decisions, OutputFormat.TABLE))
