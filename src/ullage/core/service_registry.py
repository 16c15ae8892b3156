"""How `ullage run --service` tells `ullage serve` of the service that it has started.

The run supervises its command as always; the registration only says where the cgroup is. It
is a hint: who reads it looks at the cgroup itself before anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ullage.core.workload import ControlKind


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningService:
    """One running service. folder: the directory of its cgroup. owner: its supervisor."""

    workload_key: str
    kind: ControlKind
    folder: str
    owner: str
    started_at: datetime
    max_bytes: int | None = None


class ServiceRegistry(Protocol):
    """Where running services are entered. AdapterError, DataError: it was not done."""

    def add(self, service: RunningService) -> None:
        """Enter a service."""
        ...

    def drop(self, service: RunningService) -> None:
        """Take it out; one that is not there is no error."""
        ...
