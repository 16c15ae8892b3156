"""Tells what memory this worker process needs, while it works. Importing it starts it.

Made to be loaded into every SDK worker process of an Apache Beam pipeline by
`--beam_plugin=ullage_agent`, and harmless anywhere else. One daemon thread reads /proc and the
cgroup, writes one log line now and then (logger `ullage_agent`), and each bundle that ends adds
its largest need to Beam's user metrics in the namespace `ullage`. Standard library only. It must
never harm the worker: importing it never raises and never waits; `ULLAGE_AGENT=off` switches it
off.

Not here: readings (`process`, `cgroup`), the thread (`sampler`), Beam (`beam_metrics`).
"""

from __future__ import annotations

import os

__version__ = "0.1.0"
__all__ = ["__version__", "start"]


def start() -> bool:
    """Start the agent unless it runs or is switched off; say whether it runs now. Never raises."""
    try:
        if os.environ.get("ULLAGE_AGENT", "").strip().lower() in ("off", "0", "false", "no"):
            return False
        from ullage_agent import agent

        return agent.start()
    except Exception:
        return False  # a worker without an agent works; one that has raised does not


start()
