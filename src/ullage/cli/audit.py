"""`ullage audit verify`: proves the journal of the service loop, row by row."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(name="audit", help="Prove what the service loop recorded.", no_args_is_help=True)


@app.callback()
def _main() -> None:
    """Prove what the service loop recorded."""


@app.command()
def verify(
    limit: Annotated[int, typer.Option(min=1, help="At most so many findings.")] = 50,
) -> None:
    """Check the chain of digests, the sealed months, and every rule of the safety contract."""
    from ullage.cli.reading import put, say
    from ullage.cli.serving import EXIT_FINDINGS, loaded, service_store
    from ullage.outcomes.render import plural, visible

    with service_store(read_only=True) as store:
        from ullage.core.audit import audit

        findings = [*store.month_findings(), *audit(store.each(), loaded()[1].settings)]
        size = store.journal_size()
    for finding in findings[:limit]:
        where = f" {finding.target_id}" if finding.target_id else ""
        put(visible(f"{finding.rule} record {finding.number}{where}: {finding.words}") + "\n")
    dropped = f", {size.dropped_months_count} older ones dropped" * bool(size.dropped_months_count)
    counted = f"{plural(size.records_count, 'record')} of "
    counted += f"{plural(size.months_count, 'month')}{dropped}"
    if findings:
        say(f"{len(findings)} findings in {counted}")
        raise typer.Exit(EXIT_FINDINGS)
    say(f"{counted}: the chain is whole, no rule is broken")
