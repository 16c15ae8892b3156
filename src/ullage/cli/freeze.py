"""`ullage freeze` and `ullage unfreeze`: people's orders to the service loop.

Written to the store; the loop reads them at each pass, and obeys within one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ullage.bootstrap_serve import SqliteServiceStore


def freeze(
    workload: Annotated[str | None, typer.Argument(help="The workload to hold still.")] = None,
    is_all: Annotated[bool, typer.Option("--all", help="All workloads.")] = False,
    everything: Annotated[
        bool,
        typer.Option(
            "--everything", help="Growth and rescue too; the kernel gets its OOM killer back."
        ),
    ] = False,
    span: Annotated[
        str | None, typer.Option("--for", metavar="SPAN", help="Until then, as in 2h.")
    ] = None,
    why: Annotated[str, typer.Option(help="For the record.")] = "",
) -> None:
    """Hold limits still: no more cuts (growth and rescue go on)."""
    from ullage.cli.reading import say
    from ullage.cli.serving import service_store, who

    _one_of(workload, is_all, "freeze")
    with service_store() as store:
        _say_unknown(workload, store)
        from datetime import UTC, datetime

        from ullage.core.service import Freeze, FreezeScope
        from ullage.serve_config import parse_span

        now = datetime.now(UTC)
        scope = FreezeScope.EVERYTHING if everything else FreezeScope.CUTS
        until_at = None if span is None else now + parse_span(span, "--for")
        store.freeze(
            Freeze(
                scope=scope,
                workload_key=workload,
                since_at=now,
                until_at=until_at,
                by=who(),
                why=why,
            )
        )
    say(f"frozen ({scope}): {workload or 'all workloads'}, obeyed within one pass")


def _say_unknown(workload: str | None, store: SqliteServiceStore) -> None:
    """Tell of a name that no workload has: a freeze of nobody is easily a slip of the hand."""
    from ullage.cli.reading import say
    from ullage.cli.serving import loaded
    from ullage.config import nearest

    known = [spec.workload_key for spec in loaded()[1].specs]
    known += [spec.workload_key for _, _, spec in store.registered()]
    if workload is not None and workload not in known:
        close = nearest(workload, dict.fromkeys(known))
        say(f"warning: no workload {workload!a} is served here now{close}")


def unfreeze(
    workload: Annotated[str | None, typer.Argument(help="The workload to set free.")] = None,
    is_all: Annotated[bool, typer.Option("--all", help="The freeze of all workloads.")] = False,
    breaker: Annotated[
        bool, typer.Option("--breaker", help="Re-arm the breaker after OOM kills by cuts.")
    ] = False,
) -> None:
    """Lift a freeze, or re-arm the breaker."""
    from ullage.cli.reading import fail, say
    from ullage.cli.serving import service_store, who

    if not breaker:
        _one_of(workload, is_all, "unfreeze")
    with service_store() as store:
        from datetime import UTC, datetime

        now = datetime.now(UTC)
        if breaker:
            was_open = store.rearm(by=who(), at=now)
            say("breaker re-armed" if was_open else "the breaker was not open")
        if workload is not None or is_all:
            if not store.unfreeze(workload, by=who(), at=now):
                frozen = [one.workload_key or "--all" for one in store.fleet().freezes]
                fail(f"no such freeze; frozen: {', '.join(frozen) or 'nothing'}")
            say(f"free again: {workload or 'all workloads'}")


def _one_of(workload: str | None, is_all: bool, verb: str) -> None:
    from ullage.cli.reading import EXIT_USAGE, fail

    if (workload is None) == (not is_all):
        fail(f"name a workload, or --all: ullage {verb} web", code=EXIT_USAGE)
