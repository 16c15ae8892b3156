"""The work of `ullage compact`: read the options, do it, say in one line what it came to."""

from __future__ import annotations

from dataclasses import dataclass

from ullage import bootstrap
from ullage.cli.progress_bar import progress_bar
from ullage.cli.reading import say
from ullage.cli.spans import parse_span
from ullage.config import load_settings
from ullage.core.stored_samples import CompactionOrder
from ullage.outcomes.compaction import compaction_line


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactOptions:
    """The options as they were typed. keep None = as the settings say."""

    older_than: str = "1d"
    keep: str | None = None
    forgets_damaged: bool = False
    is_dry: bool = False


def compact_samples(options: CompactOptions) -> None:
    """Compact the state of the settings. Raises UllageError, in one line."""
    settings = load_settings()
    order = CompactionOrder(
        at=bootstrap.SystemClock().now(),
        older_than=parse_span(options.older_than, name="--older-than"),
        keep=settings.keep_samples
        if options.keep is None
        else parse_span(options.keep, name="--keep"),
        forgets_damaged=options.forgets_damaged,
        is_dry=options.is_dry,
    )
    if not (settings.state_dir / "state.db").exists():
        say(f"nothing is recorded in {settings.state_dir} yet: nothing to compact")
        return
    store = bootstrap.open_store(settings, read_only=options.is_dry)
    try:
        with progress_bar("compacting", unit="samples") as tell:
            report = store.compact(order, tell=tell)
    finally:
        store.close()
    for note in report.notes:
        say(note)
    if report.foreign:
        shown = ", ".join(report.foreign[:3])
        say(f"{len(report.foreign):,} names in segments/ are not ours and are left alone: {shown}")
    say(compaction_line(report, is_dry=options.is_dry))
