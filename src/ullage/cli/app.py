"""The Typer application: which commands there are. Each lives in its own file."""

from __future__ import annotations

from typing import Annotated

import typer

from ullage.cli.audit import app as audit
from ullage.cli.backtest import app as backtest
from ullage.cli.compact import compact
from ullage.cli.config import app as config
from ullage.cli.demo import demo
from ullage.cli.describe import describe
from ullage.cli.doctor import doctor
from ullage.cli.explain import explain
from ullage.cli.export import export
from ullage.cli.freeze import freeze, unfreeze
from ullage.cli.get import get
from ullage.cli.import_ import import_
from ullage.cli.jobs import app as jobs
from ullage.cli.run import run
from ullage.cli.serve import serve
from ullage.cli.top import top
from ullage.cli.undo import undo, uninstall

app = typer.Typer(
    name="ullage",
    help="Keep data jobs alive and small: learns each workload's memory, sets and moves its limit.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=True,
)
app.command(context_settings={"allow_interspersed_args": False})(run)
app.command()(get)
app.command()(describe)
app.command()(explain)
app.command()(doctor)
app.command()(demo)
app.command("import")(import_)
app.command()(export)
app.command()(compact)
app.command()(serve)
app.command()(top)
app.command()(freeze)
app.command()(unfreeze)
app.command()(undo)
app.command()(uninstall)
app.add_typer(audit)
app.add_typer(config)
app.add_typer(backtest)
app.add_typer(jobs)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from ullage import __version__

        typer.echo(f"ullage {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Keep data jobs alive and small: learns each workload's memory, sets and moves its limit."""
