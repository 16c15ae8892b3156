"""When each stage of an execution had work, and where that is recorded afterwards."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from ullage.beam.crew import WorkerEnd
from ullage.core.errors import UllageError
from ullage.core.stages import StageSpan, StageUse, distinct_names, stage_uses

_log = logging.getLogger("ullage.beam")
_RUNS_LOOKED_AT = 1_000


@dataclass(slots=True)
class Block:
    """A block that is being timed; it may say that it was not worth noting."""

    is_kept: bool = True


class StageTimes:
    """Notes when stages had work. names: of all stages, distinct once they are shown."""

    def __init__(self) -> None:
        self.spans: list[StageSpan] = []
        self.current: str | None = None
        """The stage that has work now, or had it last."""
        self._shown: dict[str, str] = {}

    def expect(self, stages: Sequence[tuple[str, str]]) -> None:
        """Say which stages there are: (the runner's own name, what a person calls it)."""
        shown = distinct_names([name for _, name in stages])
        self._shown = {own: name for (own, _), name in zip(stages, shown, strict=True)}

    @contextmanager
    def during(self, own_name: str) -> Iterator[Block]:
        """Note the span of the block as work of the stage that the runner calls `own_name`.

        Nothing is noted where the block says that it did nothing (`is_kept`).
        """
        name = self._shown.get(own_name, own_name)
        self.current = name
        block = Block()
        started_at = datetime.now(UTC)
        try:
            yield block
        finally:
            span = StageSpan(name=name, started_at=started_at, ended_at=datetime.now(UTC))
            if block.is_kept:
                self.spans.append(span)


def record_stages(
    workload_key: str,
    ends: Sequence[WorkerEnd],
    spans: Sequence[StageSpan],
    *,
    execution_id: str,
) -> list[StageUse]:
    """Record what each worker needed in each stage, and return it.

    Never fails: where the record cannot be written that is logged, and nothing is returned.
    """
    run_ids = {end.run_id for end in ends if end.run_id is not None}
    if not run_ids or not spans:
        return []
    from ullage import bootstrap
    from ullage.config import load_settings

    try:
        store = bootstrap.open_store(load_settings())
        try:
            runs = store.runs(workload_key, limit=_RUNS_LOOKED_AT)
            uses = [
                use
                for run in runs
                if run.run_id in run_ids
                for use in stage_uses(
                    run.run_id,
                    [(each, store.samples(run.run_id, each.number)) for each in run.attempts],
                    spans,
                    execution_id=execution_id,
                )
            ]
            store.add_stages(workload_key, uses)
        finally:
            store.close()
    except UllageError as error:
        _log.warning("the stages of %s are not recorded: %s", workload_key, error)
        return []
    return uses
