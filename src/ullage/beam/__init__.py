"""Apache Beam at launch: runners and options that give each pipeline the memory it needs.

Names are loaded when they are asked for, so that importing this package costs nothing and
says clearly what is not installed:

    DataflowRunner   Beam's own runner, which sizes the job's workers before it is submitted
    size             the same for options that are built in code
    LocalRunner      real SDK worker processes on this machine, each in its own memory cgroup
    DaskRunner       the same with Dask's scheduler and its retries
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "DataflowRunner": ("ullage.beam.dataflow_runner", "google.cloud.dataflow", "gcp"),
    "size": ("ullage.beam.sizing", "apache_beam", "beam"),
    "LocalRunner": ("ullage.beam.local_runner", "apache_beam", "beam"),
    "DaskRunner": ("ullage.beam.dask_runner", "distributed", "dask"),
}
"""Name -> (module, the package that it needs, the extra that installs it)."""

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, package, extra = _WHERE[name]
    for needed in ("apache_beam", package):
        try:
            import_module(needed)
        except ModuleNotFoundError as error:
            if not f"{needed}.".startswith(f"{error.name}."):
                raise
            raise ImportError(
                f"ullage.beam.{name} needs {needed}: pip install 'ullage[{extra}]'"
            ) from None
    return getattr(import_module(module), name)
