"""Services that `ullage run --service` has started, so that `ullage serve` finds them.

The run supervises its command as always; the registration only says where the cgroup is. It
is a hint: who reads it looks at the cgroup itself before anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ullage.core.workload import ControlKind


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredService:
    """One running service. folder: the directory of its cgroup. owner: its supervisor."""

    run_id: str
    workload_key: str
    kind: ControlKind
    folder: str
    owner: str
    started_at: datetime
    max_bytes: int | None = None


class ServiceRegistry(Protocol):
    """Who runs now as a service. Adapters translate errors: PermanentError."""

    def add(self, service: RegisteredService) -> None:
        """Register a service, replacing what was registered for its run."""
        ...

    def drop(self, run_id: str) -> None:
        """Forget a run's service; one that is not registered is no error."""
        ...

    def all(self) -> list[RegisteredService]:
        """Return the registered services, by run; what cannot be read is left out."""
        ...
