"""Text files that other systems wrote, line by line: plain, gzip or Zstandard, of any size.

The file and its name are hostile: only a regular file is opened, once; a line that never
ends is skipped, not kept; bytes that are no UTF-8 become U+FFFD. Zstandard is unpacked by
DuckDB, which reads the open descriptor and can reach nothing else. Not here: what lines mean.
"""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple

from ullage.core.errors import ConfigError

Tell = Callable[[int, int], None]

HEAD_BYTES = 1 << 16
MAX_LINE_BYTES = 1 << 20
_TELL_LINES = 20_000
_GZIP, _ZSTANDARD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_BROKEN_PACKING = (EOFError, gzip.BadGzipFile, zlib.error)


class Line(NamedTuple):
    """A line without its end. fault: why it is none (its text is then only a beginning)."""

    number: int
    text: str
    fault: str | None = None


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Yield a descriptor of a regular file that is not empty. ConfigError for anything else."""
    shown = ascii(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"cannot read {shown}: {why}; name a file that you may read") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"cannot read {shown}: it is not a regular file")
        if status.st_size == 0:
            raise ConfigError(f"cannot read {shown}: it is empty")
        yield descriptor
    finally:
        os.close(descriptor)


def head_of(path: str) -> bytes:
    """Return the first 64 KiB of a file, unpacked: enough to tell what it is."""
    with opened(path) as descriptor:
        head = os.pread(descriptor, HEAD_BYTES, 0)
        if head.startswith(_GZIP):
            unpack = zlib.decompressobj(wbits=31)
            try:
                return unpack.decompress(head, HEAD_BYTES)
            except zlib.error:
                return b""
        if head.startswith(_ZSTANDARD):
            lines = _unpacked(descriptor, MAX_LINE_BYTES)
            return "\n".join(line.text for line, _ in zip(lines, range(3), strict=False)).encode()
        return head


def modified_at_s(path: str) -> float:
    """Return when a file was last written, in epoch seconds."""
    with opened(path) as descriptor:
        return os.fstat(descriptor).st_mtime


def each_line(path: str, tell: Tell, *, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[Line]:
    """Yield the lines of a file that are not empty; `tell(bytes read, bytes)` now and then."""
    with opened(path) as descriptor:
        size_bytes = os.fstat(descriptor).st_size
        magic = os.pread(descriptor, 4, 0)
        if magic.startswith(_ZSTANDARD):
            yield from _unpacked(descriptor, max_line_bytes)
        else:
            with os.fdopen(os.dup(descriptor), "rb") as raw:
                os.lseek(descriptor, 0, os.SEEK_SET)
                stream: IO[bytes] = raw
                if magic.startswith(_GZIP):
                    stream = gzip.GzipFile(fileobj=raw)  # type: ignore[assignment]
                for line in _split(stream, max_line_bytes):
                    if line.number % _TELL_LINES == 0:
                        tell(raw.tell(), size_bytes)
                    yield line
        tell(size_bytes, size_bytes)


def _split(stream: IO[bytes], max_line_bytes: int) -> Iterator[Line]:
    number = 0
    try:
        while raw := stream.readline(max_line_bytes):
            number += 1
            if len(raw) == max_line_bytes and not raw.endswith(b"\n"):
                while (rest := stream.readline(max_line_bytes)) and not rest.endswith(b"\n"):
                    pass
                yield Line(number, _text(raw[:200]), "line_too_long")
                continue
            text = _text(raw)
            if text:
                yield Line(number, text)
    except _BROKEN_PACKING as error:
        yield Line(number + 1, str(error), "packing_broken")


def _unpacked(descriptor: int, max_line_bytes: int) -> Iterator[Line]:
    """Yield the lines of a Zstandard file."""
    import duckdb

    place = f"/dev/fd/{descriptor}"
    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
            "memory_limit": "1GiB",
            "threads": 1,
        },
    )
    number = 0
    try:
        connection.execute(f"SET allowed_paths = ['{place}']")
        connection.execute("SET enable_external_access = false")
        # \x01 is in no text and in no JSON: the whole line is one column
        sizes = f"max_line_size = {max_line_bytes}, buffer_size = {2 * max_line_bytes}"
        found = connection.execute(
            "SELECT line FROM read_csv(?, columns = {'line': 'VARCHAR'}, header = false, "  # noqa: S608
            "delim = '\x01', quote = '', escape = '', compression = 'zstd', "
            f"auto_detect = false, {sizes}, strict_mode = false, null_padding = true, "
            "ignore_errors = true, store_rejects = true)",
            [place],
        )
        while page := found.fetchmany(1_000):
            for (text,) in page:
                number += 1
                if text and text.strip():
                    yield Line(number, text.rstrip("\r"))
        lost = connection.execute("SELECT line, left(csv_line, 200) FROM reject_errors").fetchall()
        yield from (Line(int(at), text or "", "line_unreadable") for at, text in lost)
    except duckdb.Error as error:
        first = str(error).splitlines()[0] if str(error) else "?"
        yield Line(number + 1, first.replace(place, "the file"), "packing_broken")
    finally:
        connection.close()


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").rstrip("\r\n")
