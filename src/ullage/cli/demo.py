"""`ullage demo`: real commands over real data, first under a fixed limit, then under Ullage."""

from __future__ import annotations

import os
import sys
from threading import Lock
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ullage.core.prices import MemoryPrice
    from ullage.demo.rounds import Demo, Job, JobRun

_BAR_CHARS = 24
_STEP_BYTES = 64 << 20
_SCREEN_CHARS = 79


def demo() -> None:
    """Show it: real jobs over real data under a naive limit, then under Ullage (about 1 min)."""
    import tempfile
    from pathlib import Path

    from ullage.bootstrap import SandboxFactory
    from ullage.config import load_settings
    from ullage.core.errors import UllageError
    from ullage.demo.flights import find_flights, write_months
    from ullage.demo.rounds import Demo, jobs_here

    sandboxes = SandboxFactory()
    try:
        settings = load_settings()
        source, jobs = find_flights(), jobs_here()
        with tempfile.TemporaryDirectory(prefix="ullage-demo-") as folder:
            typer.echo(_what_runs(jobs))
            months = {count for job in jobs for count in job.months}
            inputs = write_months(source, Path(folder), tuple(sorted(months)))
            screen = _Screen()
            prepared = Demo(
                jobs=jobs, inputs=inputs, source=source, folder=Path(folder), begins=screen.begin
            )
            if sandboxes.reason:
                _observe(prepared, sandboxes.reason, screen)
            else:
                _compare(prepared, settings.prices, screen)
    except UllageError as error:
        typer.echo(f"ullage: {error}", err=True)
        raise typer.Exit(1) from error


def _what_runs(jobs: tuple[Job, ...]) -> str:
    pipelines = sum(job.is_pipeline for job in jobs)
    beam = f"{pipelines} Apache Beam pipelines with real SDK workers and " if pipelines else ""
    hint = "" if pipelines else " (pip install 'ullage[beam]' adds Apache Beam pipelines)"
    return (
        f"{beam}{len(jobs) - pipelines} plain commands over real data{hint}:\n"
        "flights out of New York in 2013, the first one to twelve months of them."
    )


class _Screen:
    """A line for each run that has ended; below it, on a terminal, what runs now."""

    def __init__(self) -> None:
        self._running: list[tuple[str, int]] = []
        self._lock = Lock()
        self._is_live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"

    def begin(self, job: str, months: int) -> None:
        """Show that a run of `job` has begun."""
        with self._lock:
            self._running.append((job, months))
            self._draw()

    def end(self, run: JobRun) -> None:
        """Tell how a run ended."""
        with self._lock:
            self._running = [each for each in self._running if each[0] != run.job]
            self._clear()
            typer.echo(_line_of(run))
            self._draw()

    def _draw(self) -> None:
        if self._is_live and self._running:
            now = ", ".join(f"{job} {months}" for job, months in self._running)
            self._clear()
            typer.echo(f"  running: {now}"[:_SCREEN_CHARS], nl=False)
        sys.stdout.flush()

    def _clear(self) -> None:
        if self._is_live:
            typer.echo("\r\x1b[K", nl=False)


def _compare(prepared: Demo, prices: MemoryPrice, screen: _Screen) -> None:
    from ullage.core.units import format_bytes
    from ullage.demo.rounds import run_naive_round, run_ullage_round

    fixed = sorted({job.naive_limit_bytes for job in prepared.jobs})
    typer.echo(
        f"\nRound 1: a fixed limit ({', '.join(format_bytes(limit) for limit in fixed)}); what the "
        "kernel kills is run again with twice as much."
    )
    before = run_naive_round(prepared, screen.end)
    typer.echo("\nRound 2: the same work under Ullage, beginning with the same numbers.")
    after = run_ullage_round(prepared, screen.end)
    typer.echo("")
    for line in comparison_table(before, after, prices):
        typer.echo(line)
    typer.echo("\nWhat was learned:")
    for run in {run.job: run for run in after}.values():
        typer.echo(f"  {run.job}: {run.result['recommendation']['reason']}")
    typer.echo("\nNext: ullage run --name my-job -- YOUR COMMAND    then: ullage explain my-job")


def _observe(prepared: Demo, reason: str, screen: _Screen) -> None:
    from ullage.demo.rounds import run_ullage_round

    typer.echo(f"\nNo limit can be set here ({reason}), so the jobs are only observed.")
    seen = run_ullage_round(prepared, screen.end)
    typer.echo("\nWhat was learned:")
    for run in {run.job: run for run in seen}.values():
        typer.echo(f"  {run.job}: {run.result['recommendation']['reason']}")
    typer.echo("\nNext: ullage doctor    says what is missing, and the command that grants it")


def _line_of(run: JobRun) -> str:
    """Return one line: the job, its input, and a picture of limit against need."""
    from ullage.core.units import format_bytes

    attempt = run.result["attempts"][-1]
    limit_bytes, peak_bytes = attempt["final_limit_bytes"], attempt["peak_bytes"]
    verdict = "ok" if run.is_ok else "OOM-KILLED"
    raises = f", raised {run.result['raises']}x" if run.result["raises"] else ""
    months = "month " if run.months == 1 else "months"
    limit = "no limit" if limit_bytes is None else format_bytes(limit_bytes)
    return (
        f"  {run.job:<17} {run.months:>2} {months}  {_bar(peak_bytes, limit_bytes)} "
        f"need {format_bytes(peak_bytes):>8} of {limit:>8}  {verdict}{raises}"
    )


def _bar(peak_bytes: int, limit_bytes: int | None) -> str:
    """Return need (#) within the limit (.), one character for 64 MiB.

    >>> _bar(128 << 20, 256 << 20)
    '[##..]                    '
    """
    limit_chars = min(_BAR_CHARS, max(1, -(-(limit_bytes or peak_bytes) // _STEP_BYTES)))
    need_chars = min(limit_chars, max(1, round(peak_bytes / _STEP_BYTES)))
    bar = "#" * need_chars + "." * (limit_chars - need_chars)
    return f"[{bar}]".ljust(_BAR_CHARS + 2)


def comparison_table(before: list[JobRun], after: list[JobRun], prices: MemoryPrice) -> list[str]:
    """Return the table of both rounds, a pair of lines per job, and the totals."""
    titles = f"{'runs':>5}{'OOM kills':>11}{'GiB-s reserved':>16}{'slack':>8}{'USD':>13}"
    head = f"{'job':<18}{'':<8}{titles}"
    lines = [head, "-" * len(head)]
    jobs = list(dict.fromkeys(run.job for run in before))
    for job in (*jobs, "total"):
        for name, runs in (("before", before), ("Ullage", after)):
            chosen = [run for run in runs if job in (run.job, "total")]
            lines.append(
                f"{job if name == 'before' else '':<18}{name:<8}{_figures(chosen, prices)}"
            )
    lines.append(f"USD: memory alone, {prices.in_words()}")
    return lines


def _figures(runs: list[JobRun], prices: MemoryPrice) -> str:
    from ullage.core.prices import memory_cost_usd

    reserved = sum(run.result["reserved_byte_seconds"] for run in runs)
    useful = sum(run.result["used_byte_seconds"] for run in runs if run.is_ok)
    kills = sum(run.result["oom_kills"] for run in runs)
    slack_ratio = 1 - useful / reserved if reserved else 0.0
    usd = memory_cost_usd(reserved, prices)
    return f"{len(runs):>5}{kills:>11}{reserved / 2**30:>16.2f}{slack_ratio:>8.0%}{usd:>13.8f}"
