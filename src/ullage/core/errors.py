"""Errors, named by what the caller must do about them.

    UllageError
    ├── ConfigError        a person fixes settings or arguments (exit 2)
    ├── AdapterError       the world outside answered badly
    │   ├── TransientError     back off for `retry_after`, then try again
    │   └── PermanentError     hold and tell somebody
    │       ├── VanishedError      the target is gone
    │       └── FencedError        stop writing: somebody else holds the lease
    ├── DataError          quarantine the workload, keep the rest going
    └── InvariantError     a bug of ours

Expected things (too little history, a refused raise, no room) are values with a
reason code, not exceptions. Every message is one line and names the way out.
"""

from __future__ import annotations

from datetime import timedelta


class UllageError(Exception):
    """Base of every error that Ullage raises on purpose."""


class ConfigError(UllageError):
    """A person has to change an argument, a setting or a file."""


class AdapterError(UllageError):
    """The kernel, a file system or a service answered badly."""


class TransientError(AdapterError):
    """Worth trying again after `retry_after`."""

    def __init__(self, message: str, *, retry_after: timedelta = timedelta(seconds=1)) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PermanentError(AdapterError):
    """Trying again will not help; hold what is there and say so."""


class VanishedError(PermanentError):
    """What was asked about is gone: removed, ended, or another life under the same name."""


class FencedError(PermanentError):
    """A newer holder of the lease writes now; this process must stop acting (S9)."""


class DataError(UllageError):
    """Recorded or received facts that cannot be right; quarantine their workload."""


class InvariantError(UllageError):
    """Something that our own code promised does not hold: a bug of Ullage."""
