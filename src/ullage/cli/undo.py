"""`ullage undo` and `ullage uninstall --restore`: limits as they were.

Where a daemon holds the lease, an intent is appended and the loop obeys it; where none does,
the command takes the lease and makes one pass itself. Either way through the same guards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ullage.bootstrap_serve import SqliteServiceStore
    from ullage.core.intents import Intent

WAIT_S = 60.0
"""How long the command waits for a daemon to obey."""


def undo(
    to: Annotated[str, typer.Option("--to", metavar="TIME", help="A moment, or a span back: 2h.")],
    workload: Annotated[str | None, typer.Argument(help="Only this workload.")] = None,
    why: Annotated[str, typer.Option(help="For the record.")] = "",
) -> None:
    """Give limits back that were in force at TIME, and freeze cuts until you unfreeze them."""
    from ullage.cli.serving import moment, told, who
    from ullage.core.intents import Intent, IntentVerb

    with told():
        at = moment(to)
    _carry_out(
        Intent(verb=IntentVerb.UNDO, workload_key=workload, to_at=at, by=who(), why=why),
        after=f"cuts are frozen: `ullage unfreeze {workload or '--all'}` when you are ready",
    )


def uninstall(
    restore: Annotated[
        bool, typer.Option("--restore", help="Give every original limit back first.")
    ] = False,
) -> None:
    """Leave no limit of Ullage behind: restore the originals and freeze everything."""
    from ullage.cli.reading import EXIT_USAGE, fail
    from ullage.cli.serving import who
    from ullage.core.intents import Intent, IntentVerb

    if not restore:
        fail("say --restore: limits go back to what they were before Ullage", code=EXIT_USAGE)
    _carry_out(
        Intent(verb=IntentVerb.RESTORE, by=who(), why="uninstall"),
        after="now stop `ullage serve`, and uninstall the package",
    )


def _carry_out(intent: Intent, *, after: str) -> None:
    from ullage.cli.reading import put, say
    from ullage.cli.serving import loaded, service_store

    with service_store() as store:
        from datetime import UTC, datetime

        from ullage.bootstrap_serve import make_one_pass

        number = store.ask(intent, datetime.now(UTC))
        lines = _wait_for(store, number)
        if lines is None:
            settings, config = loaded()
            lines = make_one_pass(settings, config, store, number)
    if lines is None:
        from ullage.cli.reading import fail
        from ullage.cli.serving import EXIT_REFUSED

        fail(
            f"a daemon holds the lease and has not obeyed within {WAIT_S:.0f} s; the request "
            "stays, and is obeyed as soon as it comes round",
            code=EXIT_REFUSED,
        )
    put("".join(f"{line}\n" for line in lines))
    say(after)


def _wait_for(store: SqliteServiceStore, number: int) -> tuple[str, ...] | None:
    """Return the daemon's answer; None where no daemon is there, or none comes in time."""
    import time

    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s:
        [asked] = [one for one in store.intents(only_open=False) if one.number == number]
        if asked.result is not None or store.lease_holder() is None:
            return asked.result
        time.sleep(0.2)
    return None
