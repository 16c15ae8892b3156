"""What a line of a job's log or message says about an OOM kill, and how surely. Pure text.

Dataflow has no metric of OOM kills: they are told in messages and logs. Definite: the kernel, the
harness or the JVM says so. Strong: the container was killed as the OOM killer kills. Weak: a
worker was lost, which has other causes too (preemption, network); it counts as an OOM only where
memory is known to have been nearly full, and here nobody knows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from ullage.core.units import KIB, MAX_BYTES

MOST_TEXT = 20_000
"""Letters of a message that are looked at."""


class Surety(StrEnum):
    """How surely a line tells of an OOM kill."""

    DEFINITE = "definite"
    STRONG = "strong"
    WEAK = "weak"


@dataclass(frozen=True, slots=True, kw_only=True)
class OomSignal:
    """What a line says. need_bytes: what the killed process needed, where the kernel says it."""

    name: str
    surety: Surety
    need_bytes: int | None = None


_KERNEL = re.compile(
    r"out of memory: killed process [0-9]{1,10}\b.{0,300}?\banon-rss:([0-9]{1,15}) ?kb"
    r"(?:.{0,100}?\bshmem-rss:([0-9]{1,15}) ?kb)?",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)
_SIGNALS = tuple(
    (name, surety, re.compile(pattern, re.ASCII | re.IGNORECASE | re.DOTALL))
    for name, surety, pattern in (
        ("kernel", Surety.DEFINITE, r"out of memory: killed process [0-9]{1,10}\b"),
        ("python_killed", Surety.DEFINITE, r"\bexited\b.{0,200}?\bsignal: killed\b"),
        (
            "gc_thrashing",
            Surety.DEFINITE,
            r"shutting down jvm after [0-9]{1,6} consecutive periods of measured gc thrashing",
        ),
        ("java_heap", Surety.DEFINITE, r"\bjava\.lang\.OutOfMemoryError\b"),
        ("oom_killed", Surety.STRONG, r"\bOOMKilled\b"),
        (
            "exit_137",
            Surety.STRONG,
            r"\bexit(?:ed)?(?: with)?(?: (?:code|status))?[ :=]{1,3}137\b|\bexit status 137\b",
        ),
        ("harness_disconnected", Surety.WEAK, r"\bsdk harness\b.{0,200}?\bdisconnected\b"),
        ("worker_lost", Surety.WEAK, r"\bworker lost contact with the service\b"),
    )
)


def oom_signal(text: str) -> OomSignal | None:
    """Return what `text` says about an OOM kill, None where it says nothing.

    >>> oom_signal("Out of memory: Killed process 71 (python) total-vm:9kB, anon-rss:2048kB")
    OomSignal(name='kernel', surety=<Surety.DEFINITE: 'definite'>, need_bytes=2097152)
    >>> oom_signal("The worker lost contact with the service.").surety.value
    'weak'
    """
    head = text[:MOST_TEXT]
    for name, surety, pattern in _SIGNALS:
        if pattern.search(head):
            need = _killed_bytes(head) if name == "kernel" else None
            return OomSignal(name=name, surety=surety, need_bytes=need)
    return None


def _killed_bytes(text: str) -> int | None:
    """Return the anonymous and shared memory of the process that the kernel killed."""
    found = _KERNEL.search(text)
    if found is None:
        return None
    need_bytes = sum(int(kib) for kib in found.groups() if kib) * KIB
    return need_bytes if 0 < need_bytes <= MAX_BYTES else None
