"""What `ullage compact` and `ullage doctor` say about segments."""

from __future__ import annotations

from ullage.core.stored_samples import CompactionReport, SegmentsReport
from ullage.outcomes.compaction import compaction_line, segments_words


def test_one_line_says_what_moved_what_it_takes_and_what_is_gone() -> None:
    report = CompactionReport(
        moved_attempts_count=9_791,
        moved_samples_count=10_000_000,
        packed_bytes=79_300_000,
        segments_count=11,
        segments_bytes=64_800_000,
        state_before_bytes=91_000_000,
        state_after_bytes=4_800_000,
        dropped_segments_count=1,
        dropped_samples_count=1,
        kept_attempts_count=2,
        leftovers_count=1,
    )
    assert compaction_line(report) == (
        "10,000,000 samples of 9,791 attempts moved into 11 segments: 75.6 MiB -> 61.8 MiB, "
        "6.48 bytes a sample; state file 86.8 MiB -> 4.58 MiB; 1 segment given up with 1 sample; "
        "the samples of 2 attempts stay where they are; 1 left-over file cleared"
    )
    assert compaction_line(report, is_dry=True) == (
        "would move 10,000,000 samples of 9,791 attempts (75.6 MiB); "
        "1 segment given up with 1 sample"
    )


def test_nothing_moved_has_no_bytes_a_sample() -> None:
    assert compaction_line(CompactionReport()) == (
        "0 samples of 0 attempts moved; state file 0 B -> 0 B; 0 segments given up"
    )


def test_the_segments_as_they_stand() -> None:
    well = SegmentsReport(
        segments_count=1,
        samples_count=5,
        segments_bytes=2048,
        waiting_samples_count=0,
        dropped_segments_count=0,
        dropped_samples_count=0,
    )
    assert segments_words(well) == (
        "1 file, 5 samples, 2.00 KiB; all digests right; 0 samples still in the state"
    )
    sick = SegmentsReport(
        segments_count=3,
        samples_count=5,
        segments_bytes=2048,
        waiting_samples_count=1,
        dropped_segments_count=2,
        dropped_samples_count=7,
        faults=("x",),
        foreign=("'mine'",),
    )
    assert segments_words(sick) == (
        "3 files, 5 samples, 2.00 KiB; 1 of them cannot be read; 1 sample still in the state; "
        "2 given up with 7 samples; not ours, left alone: 'mine'"
    )
