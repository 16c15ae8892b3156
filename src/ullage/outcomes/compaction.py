"""What a compaction came to, and how the segments stand, in words. Pure."""

from __future__ import annotations

from ullage.core.stored_samples import CompactionReport, SegmentsReport
from ullage.core.units import format_bytes


def compaction_line(report: CompactionReport, *, is_dry: bool = False) -> str:
    """Return one line: what moved, what it takes now, what was given up."""
    moved = (
        f"{_counted(report.moved_samples_count, 'sample')} of "
        f"{_counted(report.moved_attempts_count, 'attempt')}"
    )
    dropped = (
        f"{_counted(report.dropped_segments_count, 'segment')} given up"
        f"{_samples(report.dropped_samples_count)}"
    )
    if is_dry:
        return f"would move {moved} ({format_bytes(report.packed_bytes)}); {dropped}"
    words = [f"{moved} moved"]
    if report.moved_samples_count:
        per_sample_bytes = report.segments_bytes / report.moved_samples_count
        words[0] += (
            f" into {_counted(report.segments_count, 'segment')}: "
            f"{format_bytes(report.packed_bytes)} -> {format_bytes(report.segments_bytes)}, "
            f"{per_sample_bytes:.2f} bytes a sample"
        )
    words.append(
        f"state file {format_bytes(report.state_before_bytes)} -> "
        f"{format_bytes(report.state_after_bytes)}"
    )
    words.append(dropped)
    if report.kept_attempts_count:
        kept = _counted(report.kept_attempts_count, "attempt")
        words.append(f"the samples of {kept} stay where they are")
    if report.leftovers_count:
        words.append(f"{_counted(report.leftovers_count, 'left-over file')} cleared")
    return "; ".join(words)


def segments_words(report: SegmentsReport) -> str:
    """Return how the segments stand, in one line."""
    words = [
        f"{_counted(report.segments_count, 'file')}, {_counted(report.samples_count, 'sample')}, "
        f"{format_bytes(report.segments_bytes)}"
    ]
    words.append(
        f"{len(report.faults):,} of them cannot be read" if report.faults else "all digests right"
    )
    words.append(f"{_counted(report.waiting_samples_count, 'sample')} still in the state")
    if report.dropped_segments_count:
        words.append(
            f"{report.dropped_segments_count:,} given up{_samples(report.dropped_samples_count)}"
        )
    if report.foreign:
        words.append(f"not ours, left alone: {', '.join(report.foreign[:3])}")
    return "; ".join(words)


def _samples(count: int) -> str:
    return f" with {_counted(count, 'sample')}" if count else ""


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
