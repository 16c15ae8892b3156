"""`ullage backtest`: what each policy would have done, on a file of runs or on one's own.

Tables go to stdout, words and the progress bar to stderr.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ullage.cli.backtest_options import BacktestOptions
    from ullage.cli.backtest_work import Work

app = typer.Typer(
    name="backtest",
    help="What each policy would have done on recorded runs: waste, OOM kills, money.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


class Protocol(StrEnum):
    """In which order runs are asked about."""

    ORDER = "order"
    SIZEY = "sizey"


class Scope(StrEnum):
    """Which columns may be used."""

    APRIORI = "apriori"
    ALL = "all"


Policy = Annotated[str, typer.Option(help="Ids separated by commas (ullage,tovar), or all.")]
Preset = Annotated[str | None, typer.Option(help="batch, batch-tolerant or batch-critical.")]
Budget = Annotated[float | None, typer.Option(help="Share of first attempts that may fail (0.02).")]
Rho = Annotated[
    float | None, typer.Option(help="Price of lost memory-time; then no budget is held.")
]
Ttf = Annotated[float, typer.Option(help="Share of its runtime after which an attempt fails.")]
Node = Annotated[str | None, typer.Option(help="Largest limit there is, e.g. 64GiB.")]
LimitRows = Annotated[int | None, typer.Option(min=1, help="Only the first so many rows.")]
Jobs = Annotated[int | None, typer.Option(min=1, max=256, help="Processes (default: all CPUs).")]
Json = Annotated[
    Path | None,
    typer.Option("--json", metavar="OUT", help="Write the figures as JSON; - is stdout."),
]
Html = Annotated[Path | None, typer.Option("--html", metavar="OUT", help="Write a report page.")]


@app.command()
def runs(
    file: Annotated[Path, typer.Argument(help="Parquet or CSV with workload and peak_bytes.")],
    policy: Policy = "ullage",
    protocol: Annotated[Protocol, typer.Option(help="Order of the questions.")] = Protocol.ORDER,
    preset: Preset = None,
    failure_budget: Budget = None,
    rho: Rho = None,
    ttf: Ttf = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the permutations of `sizey`.")] = 1996,
    features: Annotated[Scope, typer.Option(help="What may be used.")] = Scope.APRIORI,
    node_bytes: Node = None,
    limit_rows: LimitRows = None,
    jobs: Jobs = None,
    json_file: Json = None,
    html_file: Html = None,
) -> None:
    """Replay the runs of FILE under each policy, side by side."""
    options: dict[str, Any] = {
        "policy": policy,
        "preset": preset,
        "failure_budget_ratio": failure_budget,
        "rho": rho,
        "ttf_ratio": ttf,
        "node": node_bytes,
        "json_file": json_file,
        "html_file": html_file,
    }
    with _working(options, jobs) as work:
        work.on_file(
            file,
            protocol=protocol.value,
            seed=seed,
            scope=features.value,
            limit_rows=limit_rows,
        )


@app.command()
def usage(
    file: Annotated[Path, typer.Argument(help="Parquet or CSV with workload, ts, bytes_used.")],
    policy: Policy = "all",
    price: Annotated[
        str, typer.Option(help="Prices of an OOM kill, in hours of the first day's peak.")
    ] = "0.5,2,10,50",
    decide_every: Annotated[str, typer.Option(help="Minutes between decisions.")] = "30,60",
    prior_from: Annotated[
        list[Path] | None,
        typer.Option(help="Learn our prior from these usage files, not the shipped one."),
    ] = None,
    limit_rows: LimitRows = None,
    jobs: Jobs = None,
    json_file: Json = None,
) -> None:
    """Replay the memory of running services in FILE under each policy, side by side."""
    with _one_line_errors():
        from ullage.cli.backtest_usage import UsageWork

        work = UsageWork(
            policy=policy, prices=price, minutes=decide_every, json_file=json_file, jobs=jobs
        )
        work.on_file(file, prior_from=prior_from or [], limit_rows=limit_rows)


@app.command()
def own(
    policy: Policy = "all",
    preset: Preset = None,
    failure_budget: Budget = None,
    rho: Rho = None,
    ttf: Ttf = 1.0,
    node_bytes: Node = None,
    limit_rows: LimitRows = None,
    jobs: Jobs = None,
    json_file: Json = None,
    html_file: Html = None,
) -> None:
    """Say what each policy would have done on the runs that `ullage run` has recorded."""
    options: dict[str, Any] = {
        "policy": policy,
        "preset": preset,
        "failure_budget_ratio": failure_budget,
        "rho": rho,
        "ttf_ratio": ttf,
        "node": node_bytes,
        "json_file": json_file,
        "html_file": html_file,
    }
    with _working(options, jobs) as work:
        work.on_own_runs(limit_rows=limit_rows)


@contextmanager
def _working(options: dict[str, Any], jobs: int | None) -> Iterator[Work]:
    """Yield what does the work on runs; errors of ours end the command in one line."""
    with _one_line_errors():
        from ullage.cli.backtest_options import BacktestOptions
        from ullage.cli.backtest_work import Work
        from ullage.config import load_settings

        checked: BacktestOptions = BacktestOptions(**options)
        yield Work(checked, load_settings(), jobs)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """End the command in one line where an error of ours is raised."""
    import os

    # Before numpy is loaded: processes are the parallelism here, and threads survive no fork.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from ullage.cli.reading import EXIT_USAGE, fail
    from ullage.core.errors import ConfigError, UllageError

    try:
        yield
    except ConfigError as error:
        fail(str(error), code=EXIT_USAGE)
    except UllageError as error:
        fail(str(error))
