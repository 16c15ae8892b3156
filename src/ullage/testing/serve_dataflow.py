"""Runs the fake of Dataflow for people: `python -m ullage.testing.serve_dataflow [PORT]`.

Prints what a launch needs to reach it, then a line for each job that is posted, until Ctrl-C.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from ullage.testing.fake_dataflow import FakeDataflow

_POLL_S = 0.2


def flags_for(cloud: FakeDataflow) -> str:
    """Return the pipeline options that send a launch to the fake."""
    return (
        "--project=fake --region=us-central1 --temp_location=gs://bucket/tmp --no_auth "
        f"--dataflow_endpoint={cloud.endpoint}"
    )


def posted_line(posted: dict[str, Any]) -> str:
    """Return what of a posted job a launch is sized by, in one line."""
    environment = posted.get("environment", {})
    pool = (environment.get("workerPools") or [{}])[0]
    options = environment.get("sdkPipelineOptions", {}).get("options", {})
    parts = {
        "machine": pool.get("machineType", "the service's default"),
        "threads": pool.get("numThreadsPerWorker", "the service's default"),
        "hints": ", ".join(options.get("resource_hints") or []) or "none",
        "labels": ", ".join(f"{k}={v}" for k, v in posted.get("labels", {}).items()) or "none",
    }
    told = "; ".join(f"{name}: {value}" for name, value in parts.items())
    return ascii(f"job {posted.get('name')}: {told}")[1:-1]


def main() -> None:
    """Serve until Ctrl-C."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    with FakeDataflow(port=port) as cloud:
        _put(f"export STORAGE_EMULATOR_HOST={cloud.endpoint}\n{flags_for(cloud)}")
        if not cloud.is_validating:
            _put("(nothing is checked: install google-api-python-client)")
        told_count, faults_count = 0, 0
        try:
            while True:
                jobs = list(cloud.jobs.jobs.values())
                for job in jobs[told_count:]:
                    _put(posted_line(job.posted))
                told_count = len(jobs)
                for fault in cloud.violations[faults_count:]:
                    _put(ascii(f"not as the discovery document says: {fault}")[1:-1])
                faults_count = len(cloud.violations)
                time.sleep(_POLL_S)
        except KeyboardInterrupt:
            return


def _put(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
