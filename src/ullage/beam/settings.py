"""How the workers of one execution are run, as words of `ullage run`. Knows nothing of Beam."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How the workers of one execution are run. Quantities are texts, as `ullage run` takes them.

    features: k=v words, known before the start.
    """

    workload_key: str
    workers_count: int
    request: str | None = None
    max_memory: str | None = None
    limit: str | None = None
    is_observing: bool = False
    is_recording: bool = True
    features: tuple[str, ...] = ()

    def run_words(self) -> list[str]:
        """Return the words of `ullage run` that these settings are."""
        words = ["run", "--quiet", "--name", self.workload_key]
        quantities = {
            "--request": self.request,
            "--max-memory": self.max_memory,
            "--limit": self.limit,
        }
        for option, quantity in quantities.items():
            words += [] if quantity is None else [option, quantity]
        words += ["--observe"] if self.is_observing else []
        words += [] if self.is_recording else ["--no-record"]
        for feature in self.features:
            words += ["--feature", feature]
        return words
