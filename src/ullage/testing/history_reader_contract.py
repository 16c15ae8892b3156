"""What every reader of other systems' history must do. Subclass it; give `reader`, `sample`.

Shown on small files: what is in them and what not, under any name, packed, grown, broken.
"""

from __future__ import annotations

import gzip
import os
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ullage.core.errors import ConfigError
from ullage.core.ids import check_name
from ullage.core.ports import HistoryReader
from ullage.core.recorded import (
    FoundRun,
    ImportedRun,
    Naming,
    ReadOptions,
    RejectedRow,
    import_run,
)

NOW = datetime(2026, 11, 24, tzinfo=UTC)
_WRITTEN_S = NOW.timestamp() - 3600
"""When every file of this suite was written: where rows have no time of their own, it counts."""
Item = FoundRun | RejectedRow
ReadAll = Callable[[bytes], list[Item]]


def silent(done: int, total: int) -> None:
    """Take progress and tell nobody."""


class HistoryReaderContract:
    """The suite. `sample` has at least two runs, and nothing that is rejected."""

    broken_line = b"half a li"
    """A line that no row of the format can be."""
    can_grow = True
    """Rows can be added at the end of a file."""

    @pytest.fixture
    def reader(self) -> HistoryReader:
        """Return the reader under test."""
        raise NotImplementedError

    @pytest.fixture
    def sample(self) -> bytes:
        """Return a small file of the format."""
        raise NotImplementedError

    @pytest.fixture
    def more(self) -> bytes:
        """Return what a grown file has after `sample`: one more run."""
        raise NotImplementedError

    @pytest.fixture
    def read(self, reader: HistoryReader, tmp_path: Path) -> ReadAll:
        """Return what writes a file and reads all of it."""

        def read_all(content: bytes, name: str = "file") -> list[Item]:
            file = tmp_path / name
            file.write_bytes(content)
            os.utime(file, (_WRITTEN_S, _WRITTEN_S))
            return list(reader.read(str(file), options=ReadOptions(), tell=silent))

        return read_all

    def run_ids(self, reader: HistoryReader, items: Sequence[Item]) -> list[str]:
        """Return the ids of the runs, in their order, all under one workload's name."""
        ids = []
        for item in items:
            assert isinstance(item, FoundRun), item
            imported = import_run(item, format_id=reader.format_id, naming=Naming(), now=NOW)
            assert isinstance(imported, ImportedRun), imported
            check_name(imported.run.workload.key)
            ids.append(imported.run.run_id)
        return ids

    def test_it_recognises_its_own(self, reader: HistoryReader, sample: bytes) -> None:
        """By content, and nothing else."""
        assert reader.recognises(sample)
        assert not reader.recognises(b"")
        assert not reader.recognises(b"\x00\xff" * 500)
        assert not reader.recognises(b"once upon a time\nthere was a file\n")

    def test_every_run_is_told_apart(
        self, reader: HistoryReader, read: ReadAll, sample: bytes
    ) -> None:
        """Each run has an id of its own, and lines rise."""
        items = read(sample)
        ids = self.run_ids(reader, items)
        assert len(ids) >= 2
        assert len(set(ids)) == len(ids)
        lines = [item.line for item in items]
        assert lines == sorted(lines)
        assert lines[0] >= 1

    def test_a_run_is_the_same_under_another_file_name(
        self, reader: HistoryReader, sample: bytes, tmp_path: Path
    ) -> None:
        """The identity is made of the content."""
        ids = []
        for folder in ("one", "two"):
            place = tmp_path / folder
            place.mkdir()
            (place / f"{folder}-trace").write_bytes(sample)
            found = reader.read(str(place / f"{folder}-trace"), options=ReadOptions(), tell=silent)
            named = [item for item in found if isinstance(item, FoundRun)]
            ids.append([item.identity for item in named])
        assert ids[0] == ids[1]
        assert ids[0]

    def test_a_grown_file_keeps_its_runs(
        self, reader: HistoryReader, read: ReadAll, sample: bytes, more: bytes
    ) -> None:
        """What was there before is the same run after."""
        before = self.run_ids(reader, read(sample))
        after = self.run_ids(reader, read(sample + more))
        assert len(after) == len(before) + 1
        assert set(before) <= set(after)

    def test_a_packed_file_is_the_same(self, read: ReadAll, sample: bytes) -> None:
        """As gzip."""
        plain = [item for item in read(sample) if isinstance(item, FoundRun)]
        packed = [item for item in read(gzip.compress(sample)) if isinstance(item, FoundRun)]
        assert [each.identity for each in packed] == [each.identity for each in plain]

    def test_a_broken_line_is_counted_and_the_rest_is_read(
        self, read: ReadAll, sample: bytes
    ) -> None:
        """One rejection, with its line and reason."""
        whole = [item for item in read(sample) if isinstance(item, FoundRun)]
        lines = sample.splitlines(keepends=True)
        lines.insert(len(lines) - 1, self.broken_line + b"\n")
        items = read(b"".join(lines))
        broken = [item for item in items if isinstance(item, RejectedRow)]
        assert len(broken) == 1
        assert broken[0].reason
        assert broken[0].line >= 1
        found = [item for item in items if isinstance(item, FoundRun)]
        assert [each.peak_bytes for each in found] == [each.peak_bytes for each in whole]

    def test_junk_after_the_beginning_is_rejected_and_nothing_breaks(
        self, read: ReadAll, sample: bytes
    ) -> None:
        """Random bytes are rows that are no runs."""
        junk = random.Random(7).randbytes(20_000)  # noqa: S311 (the same in every test run)
        try:
            items = read(sample + b"\n" + junk)
        except ConfigError:
            return  # a whole format may refuse such a file, in one line
        assert any(isinstance(item, RejectedRow) for item in items)

    def test_progress_ends_at_the_whole(
        self, reader: HistoryReader, sample: bytes, tmp_path: Path
    ) -> None:
        """The last word is (total, total)."""
        file = tmp_path / "file"
        file.write_bytes(sample)
        told: list[tuple[int, int]] = []
        list(reader.read(str(file), options=ReadOptions(), tell=lambda *each: told.append(each)))
        done, total = told[-1]
        assert done == total > 0

    def test_what_is_no_file_is_an_error(self, reader: HistoryReader, tmp_path: Path) -> None:
        """Missing, empty, a pipe, a folder, a name that cannot be."""
        (tmp_path / "empty").touch()
        os.mkfifo(tmp_path / "pipe")
        for name in ("missing", "empty", "pipe", ".", "nul\0"):
            with pytest.raises(ConfigError, match="cannot read"):
                list(reader.read(str(tmp_path / name), options=ReadOptions(), tell=silent))
