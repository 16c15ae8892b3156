"""The folder of segments: private, written whole or not at all, verified before it is read.

A segment is written to a temporary file, synced, renamed to a name made of its digest, and
its name is synced; it never changes afterwards. What is not ours in the folder is left alone.
Not here: what is in a segment (`stores.segment_parquet`), which there are
(`stores.segment_index`).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ullage.core.errors import ConfigError, DataError, PermanentError, TransientError
from ullage.stores.sqlite import sync_folder

FOLDER = "segments"
SET_ASIDE = ".damaged"
_LOCK = ".lock"
_OURS = re.compile(r"samples-[0-9]{4}-[0-9]{2}-[0-9a-f]{16}\.parquet", re.ASCII)
_TEMPORARY = re.compile(r"writing-[0-9a-f]{16}\.tmp", re.ASCII)
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFile:
    """A written segment: its name in the folder, its digest, its size."""

    file_name: str
    sha256: str
    file_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderNames:
    """The names in the folder by what they are. foreign: none of ours, escaped for a terminal."""

    segments: frozenset[str]
    temporary: frozenset[str]
    foreign: tuple[str, ...]


class SegmentFolder:
    """The folder `segments` beside the state's file."""

    def __init__(self, state_path: Path) -> None:
        self.path = state_path.parent / FOLDER

    def make(self) -> None:
        """Make the folder (0700), or take everybody else's rights to it away."""
        with self._translated():
            self.path.mkdir(mode=0o700, exist_ok=True)
            found = self.path.stat()
            if found.st_mode & 0o077 and found.st_uid == os.geteuid():
                self.path.chmod(0o700)
            sync_folder(self.path.parent)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against other writers. TransientError if another has it."""
        with self._translated():
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self.path / _LOCK, flags, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise TransientError(
                    f"{self.path}: another `ullage compact` is at work; let it finish, "
                    "then try again"
                ) from error
            yield
        finally:
            os.close(descriptor)

    def names(self) -> FolderNames:
        """Return what lies in the folder; nothing where there is none."""
        try:
            found = sorted(os.listdir(self.path))
        except OSError:
            found = []
        segments = frozenset(name for name in found if _OURS.fullmatch(name))
        temporary = frozenset(name for name in found if _TEMPORARY.fullmatch(name))
        known = segments | temporary | {_LOCK}
        known |= {name for name in found if _OURS.fullmatch(name.removesuffix(SET_ASIDE))}
        foreign = tuple(ascii(name) for name in found if name not in known)
        return FolderNames(segments=segments, temporary=temporary, foreign=foreign)

    def add(self, month: str, write: Callable[[int], None]) -> SegmentFile:
        """Have `write` fill a new file through its descriptor; return it, durable.

        month: "2026-11", for people. PermanentError where it cannot be written; then nothing
        of it is left.
        """
        temporary = self.path / f"writing-{secrets.token_hex(8)}.tmp"
        with self._translated():
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o600)
            try:
                write(descriptor)
                os.fsync(descriptor)
                sha256, size_bytes = digest_of(descriptor)
                name = f"samples-{month}-{sha256[:16]}.parquet"
                os.rename(temporary, self.path / name)
                sync_folder(self.path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)
                raise
            finally:
                os.close(descriptor)
        return SegmentFile(file_name=name, sha256=sha256, file_bytes=size_bytes)

    def remove(self, name: str) -> None:
        """Delete a file that is no longer needed."""
        with self._translated(), suppress(FileNotFoundError):
            os.unlink(self.path / name)

    def set_aside(self, name: str) -> None:
        """Rename a damaged segment, so that nobody takes it for one; it is not deleted."""
        with self._translated(), suppress(FileNotFoundError):
            os.rename(self.path / name, self.path / f"{name}{SET_ASIDE}")

    def open(self, name: str) -> int:
        """Return a descriptor of a regular file in the folder. DataError if there is none."""
        path = self.path / name
        try:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(path, flags)
        except FileNotFoundError as error:
            raise DataError(f"{path} is missing") from error
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror})") from error
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        raise DataError(f"{path} is not a regular file")

    def verify(self, descriptor: int, written: SegmentFile) -> None:
        """Read the file whole. DataError unless it is to the bit what was written."""
        path = self.path / written.file_name
        try:
            sha256, size_bytes = digest_of(descriptor)
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror})") from error
        if size_bytes != written.file_bytes:
            raise DataError(
                f"{path} is damaged: it has {size_bytes:,} bytes, {written.file_bytes:,} were "
                "written"
            )
        if sha256 != written.sha256:
            raise DataError(
                f"{path} is damaged or another file: its sha256 is not the recorded one"
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        elsewhere = "set ULLAGE_STATE_DIR to another place"
        try:
            yield
        except PermanentError as error:
            raise PermanentError(
                f"{self.path}: no segment can be written ({error}); free some space or check the "
                "disk, then try again: the samples stay in the state"
            ) from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise PermanentError(
                    f"{self.path}: the disk is full; free some space, then try again: the samples "
                    "stay in the state"
                ) from error
            raise ConfigError(
                f"{self.path} cannot be written to ({error.strerror}); give yourself the right "
                f"to, or {elsewhere}"
            ) from error


def digest_of(descriptor: int) -> tuple[str, int]:
    """Return the SHA-256 of an open file in hexadecimal, and its size in bytes."""
    digest, offset = hashlib.sha256(), 0
    while chunk := os.pread(descriptor, _CHUNK_BYTES, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest(), offset
