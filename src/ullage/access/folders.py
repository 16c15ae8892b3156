"""Opens cgroup directories that somebody else made, by path, without being led astray.

Every name of the path is opened by itself and never through a symbolic link; the root, the
cgroup that this process is in, and whatever encloses it are refused. All files are reached
through the open directory, so what was checked is what is read and written, even if another
cgroup takes the name meanwhile. Not here: what the files mean (access.cgroup1, access.cgroup2).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from types import TracebackType

from ullage.core.errors import PermanentError, VanishedError
from ullage.core.selectors import ANY_DEPTH, cgroup_pattern, is_pattern, name_matches

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = (errno.ENOENT, errno.ENODEV)
OWN_PREFIX = "ullage-r-"
"""Cgroups of `ullage run`: a pattern does not match them, they have a supervisor already."""
_MOST_DEPTH = 64
_CHUNK_BYTES = 1 << 16


class Folder:
    """One open cgroup directory."""

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self.fd)

    @property
    def instance(self) -> str:
        """What tells this directory from a later one of the same name: its inode number."""
        return str(os.fstat(self.fd).st_ino)

    def open(self, name: str, mode: int) -> int:
        """Return a descriptor of the file `name`; OSError as the kernel has it."""
        return os.open(name, mode | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)

    def read(self, name: str) -> bytes:
        """Return what the file says; OSError as the kernel has it."""
        fd = self.open(name, os.O_RDONLY)
        try:
            text = os.read(fd, _CHUNK_BYTES)
            while text and len(text) % _CHUNK_BYTES == 0:
                more = os.read(fd, _CHUNK_BYTES)
                if not more:
                    break
                text += more
            return text
        finally:
            os.close(fd)

    def read_if_there(self, name: str) -> bytes:
        """Return what the file says, nothing where this kernel has no such file."""
        try:
            return self.read(name)
        except FileNotFoundError:
            return b""

    def write(self, name: str, text: str) -> None:
        """Write `text` in one call: the kernel parses each call as a whole command."""
        fd = self.open(name, os.O_WRONLY)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


def open_made(path: str) -> Folder:
    """Return a directory that this process made itself; OSError as the kernel has it."""
    return Folder(os.open(path, _FOLDER), path)


def number_after(text: bytes, key: bytes) -> int:
    """Return the number after `key` in a file of "name number" lines; 0 where it is missing.

    >>> number_after(b"oom_kill_disable 0\\nunder_oom 1\\n", b"\\nunder_oom ")
    1
    """
    start = text.find(key)
    if start < 0:
        return 0
    start += len(key)
    end = text.find(b"\n", start)
    return int(text[start:end] if end >= 0 else text[start:])


def is_gone(error: OSError) -> bool:
    """Say whether the error means that the cgroup has been removed."""
    return error.errno in _GONE


def cannot_read(path: str, error: Exception) -> PermanentError:
    """Return the error for a cgroup that could not be read: gone, or why not."""
    if isinstance(error, OSError) and is_gone(error):
        return VanishedError(f"cgroup {path!a} has been removed")
    why = error.strerror if isinstance(error, OSError) else "its files are not understood"
    return PermanentError(f"cgroup {path!a} cannot be read: {why}")


class CgroupTree:
    """The cgroups below one mount point, without those that must never be touched.

    point: the mount point. root: what the mount shows of the hierarchy. own_path: says in which
    cgroup of the hierarchy this process is, None where that cannot be told.
    """

    def __init__(self, point: str, own_path: Callable[[], str | None], *, root: str = "/") -> None:
        self.point = point
        self._root = root.rstrip("/")
        self._own_path = own_path

    def shown(self, path: str | None) -> str | None:
        """Return a path of the hierarchy as this mount shows it, None where it does not."""
        if path is None or path.startswith("/.."):
            return None
        return (path[len(self._root) :] or "/") if f"{path}/".startswith(f"{self._root}/") else None

    def open(self, path: str) -> Folder:
        """Return the open directory of the cgroup `path` ("/a/b").

        VanishedError if there is none (any more); PermanentError if it may not be touched.
        """
        return self._open(path, _checked(path, self._own()))

    def open_to_read(self, path: str) -> Folder:
        """Return the same for somebody who only reads: no harm, so no look at who we are."""
        return self._open(path, _checked(path, None))

    def _open(self, path: str, names: list[str]) -> Folder:
        fd = -1
        try:
            fd = os.open(self.point, _FOLDER & ~os.O_NOFOLLOW)
            for name in names:
                above, fd = fd, os.open(name, _FOLDER, dir_fd=fd)
                os.close(above)
        except OSError as error:
            if fd >= 0:
                os.close(fd)
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise PermanentError(
                    f"cgroup {path!a}: a part of the path is a link or no folder: refused"
                ) from error
            raise cannot_read(path, error) from error
        return Folder(fd, path)

    def find(self, selector: str) -> list[str]:
        """Return the paths that match `selector`, sorted; nobody for an empty one.

        ConfigError for a selector that cannot be meant; PermanentError where the mount
        cannot be read. Left out: what `open` refuses, links, names that cannot be printed,
        and, unless they are named whole, the cgroups of `ullage run`.
        """
        pattern = cgroup_pattern(selector)
        if not pattern:
            return []
        try:
            fd = os.open(self.point, _FOLDER & ~os.O_NOFOLLOW)
        except OSError as error:
            raise cannot_read(self.point, error) from error
        own = self._own()
        return sorted(path for path in set(_walk(fd, "", pattern)) if _is_allowed(path, own))

    def _own(self) -> str | None:
        return self.shown(self._own_path())


def _is_allowed(path: str, own: str | None) -> bool:
    try:
        _checked(path, own)
    except PermanentError:
        return False
    return True


def _checked(path: str, own: str | None) -> list[str]:
    """Return the names of a path that may be opened; own: where this process is, if it matters."""
    names = path.split("/")[1:]
    if not path.startswith("/") or any(name in ("", ".", "..") for name in names):
        raise PermanentError(f"cgroup {path[:200]!a}: not a path of a cgroup below the root")
    if "\0" in path or "\n" in path:
        raise PermanentError(f"cgroup {path[:200]!a}: not a name that a cgroup can have")
    if own is not None and f"{own}/".startswith(f"{path}/"):
        raise PermanentError(f"cgroup {path!a} holds Ullage itself: never managed")
    return names


def _walk(fd: int, path: str, pattern: tuple[str, ...]) -> Iterator[str]:
    """Yield the paths below the open directory `fd` (closed here) that match `pattern`."""
    try:
        name, rest = pattern[0], pattern[1:]
        if name == ANY_DEPTH:
            yield from _walk_any(fd, path, pattern)
        else:
            names = _names(fd, name) if is_pattern(name) else [name]
            for found in names:
                below = _open_below(fd, found)
                if below is None:
                    continue
                if rest:
                    yield from _walk(below, f"{path}/{found}", rest)
                else:
                    os.close(below)
                    yield f"{path}/{found}"
    finally:
        os.close(fd)


def _walk_any(fd: int, path: str, pattern: tuple[str, ...]) -> Iterator[str]:
    rest = pattern[1:]
    if rest:
        yield from _walk(os.dup(fd), path, rest)
    if path.count("/") >= _MOST_DEPTH:
        return
    for found in _names(fd, "*"):
        below = _open_below(fd, found)
        if below is not None:
            if not rest:
                yield f"{path}/{found}"
            yield from _walk(below, f"{path}/{found}", pattern)


def _names(fd: int, pattern: str) -> list[str]:
    """Return the names of the directories in `fd` that match, those that can be printed."""
    try:
        with os.scandir(fd) as entries:
            return [
                entry.name
                for entry in entries
                if entry.is_dir(follow_symlinks=False)
                and entry.name.isprintable()
                and name_matches(entry.name, pattern)
                and not entry.name.startswith(OWN_PREFIX)
            ]
    except OSError:
        return []  # removed meanwhile, or not ours to look into: nobody is meant by that


def _open_below(fd: int, name: str) -> int | None:
    try:
        return os.open(name, _FOLDER, dir_fd=fd)
    except OSError:
        return None
