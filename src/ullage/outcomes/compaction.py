"""What a compaction came to, and how the segments stand, in words. Pure."""

from __future__ import annotations

from ullage.core.stored_samples import CompactionReport, SegmentsReport
from ullage.core.units import format_bytes


def compaction_line(report: CompactionReport, *, is_dry: bool = False) -> str:
    """Return one line: what moved, what it takes now, what was given up."""
    moved = f"{report.moved_samples_count:,} samples of {report.moved_attempts_count:,} attempts"
    dropped = (
        f"{report.dropped_segments_count:,} segments given up"
        f"{_samples(report.dropped_samples_count)}"
    )
    if is_dry:
        return f"would move {moved} ({format_bytes(report.packed_bytes)}); {dropped}"
    words = [f"{moved} moved"]
    if report.moved_samples_count:
        per_sample_bytes = report.segments_bytes / report.moved_samples_count
        words[0] += (
            f" into {report.segments_count:,} segments: {format_bytes(report.packed_bytes)} -> "
            f"{format_bytes(report.segments_bytes)}, {per_sample_bytes:.2f} bytes a sample"
        )
    words.append(
        f"state file {format_bytes(report.state_before_bytes)} -> "
        f"{format_bytes(report.state_after_bytes)}"
    )
    words.append(dropped)
    if report.kept_attempts_count:
        words.append(f"the samples of {report.kept_attempts_count:,} attempts stay where they are")
    if report.leftovers_count:
        words.append(f"{report.leftovers_count:,} left-over files cleared")
    return "; ".join(words)


def segments_words(report: SegmentsReport) -> str:
    """Return how the segments stand, in one line."""
    words = [
        f"{report.segments_count:,} files, {report.samples_count:,} samples, "
        f"{format_bytes(report.segments_bytes)}"
    ]
    words.append(
        f"{len(report.faults):,} of them cannot be read" if report.faults else "all digests right"
    )
    words.append(f"{report.waiting_samples_count:,} samples still in the state")
    if report.dropped_segments_count:
        words.append(
            f"{report.dropped_segments_count:,} given up{_samples(report.dropped_samples_count)}"
        )
    if report.foreign:
        words.append(f"not ours, left alone: {', '.join(report.foreign[:3])}")
    return "; ".join(words)


def _samples(count: int) -> str:
    return f" with {count:,} samples" if count else ""
