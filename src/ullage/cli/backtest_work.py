"""The work of `ullage backtest`: read, replay with a progress bar, tell, write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ullage import __version__, bootstrap
from ullage.cli.backtest_options import (
    STDOUT,
    BacktestOptions,
    build_world,
    check_outputs,
    choose_policies,
    redo_command,
    usable_cpus,
)
from ullage.cli.progress_bar import progress_bar
from ullage.cli.reading import is_on_terminal, put, reading, say
from ullage.core.errors import ConfigError
from ullage.outcomes.backtest_document import (
    Document,
    backtest_document,
    document_text,
    feature_report,
    own_table,
    results_table,
)
from ullage.outcomes.formats import OutputFormat
from ullage.outcomes.render import render
from ullage.outcomes.tables import Table
from ullage.simulation.compare import ORACLE, PolicyRun, compare
from ullage.simulation.compiled import compile_for
from ullage.simulation.figures import held_figures, policy_figures, workload_figures
from ullage.simulation.own_runs import own_timeline, recorded_outcomes
from ullage.simulation.run_features import FeatureScope
from ullage.simulation.runs_file import RunsFile, read_runs
from ullage.simulation.timeline import Timeline, as_sizey, in_order

if TYPE_CHECKING:
    from ullage.config import Settings
    from ullage.core.ports import RunReader
    from ullage.core.workload import Run

CURVE_BUDGETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""Failure budgets at which the page's curve of `ullage` is drawn."""
_SHOWN_NAMES = 12


class Work:
    """One `ullage backtest`: its options, checked, and what they lead to."""

    def __init__(self, options: BacktestOptions, settings: Settings, jobs: int | None) -> None:
        check_outputs(json_file=options.json_file, html_file=options.html_file)
        self._options, self._price = options, settings.prices
        self._world, self._told = build_world(options, settings)
        self._jobs = jobs or usable_cpus()
        self._policy_ids = _usable_policies(options.policy)

    def on_file(
        self,
        file: Path,
        *,
        protocol: str,
        seed: int,
        scope: FeatureScope,
        limit_rows: int | None,
    ) -> None:
        """Replay the runs of a file."""
        read = read_runs(file, features=scope, limit_rows=limit_rows)
        _say_what_was_read(read)
        timeline = in_order(read.runs) if protocol == "order" else as_sizey(read.runs, seed=seed)
        if not timeline.is_scored.any():
            raise ConfigError(
                "protocol sizey leaves no task type: none has 34 runs that all took time; "
                "use --protocol order"
            )
        self._say_unfit(timeline)
        policy_runs = self._replay(timeline)
        results = [policy_figures(run, timeline, self._price) for run in policy_runs]
        document = backtest_document(
            file=str(file),
            sha256=read.sha256,
            protocol=protocol,
            settings={
                **self._told,
                "policies": self._policy_ids,
                "seed": seed if protocol == "sizey" else None,
                "features": scope,
                "limit_rows": limit_rows,
                "replaced": dict(read.replaced),
                "features_report": feature_report(read.features),
                "version": __version__,
            },
            rejected=read.rejected,
            results=results,
        )
        self._put(results_table(results))
        command = redo_command(
            ["runs", str(file)],
            self._typed(protocol=protocol, seed=seed, features=scope, limit_rows=limit_rows),
        )
        self._write(document, timeline, policy_runs, command)

    def on_own_runs(self, *, limit_rows: int | None) -> None:
        """Replay what the record holds, and say what it was in truth."""
        with reading() as (_, reader):
            found = [] if reader is None else reader.runs(limit=limit_rows)
            requests = {} if reader is None else _requests(reader, found)
        timeline = own_timeline(found, requests)
        policy_runs = self._replay(timeline) if len(timeline.runs) else []
        results = [
            policy_figures(run, timeline, self._price)
            | held_figures(run.results.outcomes, self._price)
            for run in policy_runs
        ]
        was = recorded_outcomes(found)
        recorded = None if was is None else held_figures(was, self._price)
        table = own_table(results, recorded)
        if not table.rows:
            say(table.empty)
            return
        self._put(table)
        left_out = len(found) - len(timeline.runs)
        say(
            f"{len(timeline.runs)} runs, {left_out} without an end or a peak left out; "
            f"{self._told['price']}; replayed without growth, so a policy's OOM kill here may be "
            "a raise in a live run"
        )
        settings = {**self._told, "policies": self._policy_ids, "recorded": recorded}
        document = backtest_document(
            file="own",
            sha256="",
            protocol="order",
            settings=settings | {"version": __version__},
            rejected={"not_ended_or_no_peak": left_out} if left_out else {},
            results=results,
        )
        command = redo_command(["own"], self._typed(limit_rows=limit_rows))
        self._write(document, timeline, policy_runs, command)

    def _put(self, table: Table) -> None:
        """Show the table, unless the JSON takes its place on stdout."""
        if self._options.json_file != STDOUT:
            put(render(table, OutputFormat.TABLE, on_terminal=is_on_terminal()))

    def _replay(self, timeline: Timeline) -> list[PolicyRun]:
        if "ullage" in self._policy_ids and (plain := compile_for(len(timeline.runs))):
            say(plain)
        with progress_bar("replaying") as tell:
            return list(
                compare(
                    timeline,
                    self._policy_ids,
                    make_policy=bootstrap.backtest_policy,
                    world=self._world,
                    jobs=self._jobs,
                    on_progress=tell,
                )
            )

    def _say_unfit(self, timeline: Timeline) -> None:
        ceiling_bytes = self._world.bounds.ceiling_bytes
        unfit = int((timeline.runs.peak_bytes > ceiling_bytes).sum())
        if unfit:
            say(f"{unfit:,} runs need more than the node has: no policy can finish them")

    def _typed(self, **more: object) -> dict[str, object]:
        """Return the options that matter to the figures, as they would be typed."""
        options = self._options
        return {
            "--policy": ",".join(self._policy_ids),
            "--preset": options.preset,
            "--failure-budget": options.failure_budget_ratio,
            "--rho": options.rho,
            "--ttf": options.ttf_ratio,
            "--node-bytes": options.node,
            **{f"--{name.replace('_', '-')}": value for name, value in more.items()},
        }

    def _write(
        self, document: Document, timeline: Timeline, runs: Sequence[PolicyRun], command: str
    ) -> None:
        if self._options.json_file is not None:
            _write_text(self._options.json_file, document_text(document))
        if self._options.html_file is None:
            return
        from ullage.outcomes.backtest_html import render as render_page

        page = {
            **document,
            "curves": self._curves(timeline),
            "workloads": workload_figures(runs, timeline),
            "command": command,
        }
        _write_text(self._options.html_file, render_page(page))

    def _curves(self, timeline: Timeline) -> list[dict[str, object]]:
        """Return the line of `ullage` over its own knob; peers have none and are points."""
        if "ullage" not in self._policy_ids:
            return []
        points = []
        with progress_bar("drawing the curve") as tell:
            total = len(timeline.runs) * len(CURVE_BUDGETS)
            for part, budget in enumerate(CURVE_BUDGETS):
                prices = replace(self._world.prices, failure_gbh=None)
                world = replace(self._world, prices=prices, failure_budget_ratio=budget)
                run = next(
                    compare(
                        timeline,
                        ["ullage"],
                        make_policy=bootstrap.backtest_policy,
                        world=world,
                        jobs=self._jobs,
                        on_progress=partial(_shifted, tell, part * len(timeline.runs), total),
                    )
                )
                got = policy_figures(run, timeline, self._price)
                points.append(
                    {
                        "value": budget,
                        "oom_run_share": got["oom_run_share"],
                        "waste_gbh": got["waste_gbh"],
                    }
                )
        return [{"policy": "ullage", "knob": "failure_budget", "points": points}]


def _shifted(tell: Callable[[int, int], None], before: int, total: int, done: int, _: int) -> None:
    tell(before + done, total)


def _usable_policies(words: str) -> list[str]:
    """Return the policies asked for; under `all` those that miss a package are left out, aloud."""
    chosen, is_all = choose_policies(words, bootstrap.backtest_policy_ids())
    usable = []
    for policy_id in chosen:
        try:
            if policy_id != ORACLE:
                bootstrap.backtest_policy(policy_id)
        except ConfigError as error:
            if not is_all:
                raise
            say(str(error))
        else:
            usable.append(policy_id)
    return usable


def _requests(reader: RunReader, runs: Sequence[Run]) -> Mapping[str, int]:
    """Return what the user asked for, run by run, as the decisions have it."""
    requests = {}
    for run in runs:
        decision = reader.decision(run.decision_id) if run.decision_id else None
        if decision is not None and decision.question.request_bytes is not None:
            requests[run.run_id] = decision.question.request_bytes
    return requests


def _say_what_was_read(read: RunsFile) -> None:
    runs = read.runs
    say(f"{len(runs):,} runs of {len(runs.workload_names):,} workloads")
    if read.rejected:
        say(f"rows left out: {_counts(read.rejected)}")
    if read.replaced:
        say(f"stand-ins (1 s for a runtime, 3600 s where no run has one): {_counts(read.replaced)}")
    used = [note.name for note in read.features if note.left_out is None]
    say(f"features: {_names(used) or 'none'}")
    for note in [note for note in read.features if note.left_out][:_SHOWN_NAMES]:
        say(f"no feature: {note.name[:60]} ({note.source[:80]}): {note.left_out}")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items())


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(name[:60] for name in names[:_SHOWN_NAMES])
    more = len(names) - _SHOWN_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def _write_text(file: Path, text: str) -> None:
    if file == STDOUT:
        put(text)
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {str(file)!a}: {error.strerror}") from error
