"""Switch each guard off, run the tests, print who noticed (`make test-mutants`).

First the tests that carry its S-number, then all of the service loop's (a name in brackets: it was
noticed, but by a test of something else), then the contracts, then a small number of examples of
the state machine.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from switch_off import GUARD_NAMES, MUTANTS  # noqa: E402

from ullage.core.live_guards import GUARDS  # noqa: E402

QUICK = (
    "tests/unit/test_live_guards.py",
    "tests/unit/test_serve_loop.py",
    "tests/unit/test_serve_machine_finds.py",
    "tests/unit/test_audit.py",
)
CONTRACTS = (
    "tests/contract/test_simulated_targets.py",
    "tests/contract/test_service_store.py",
    "tests/contract/test_live_cgroup1.py",
)
MACHINE = ("tests/robustness/test_controller_machine.py",)
FAILED = re.compile(r"^(?:FAILED|ERROR) \S+::(\w+)", re.MULTILINE)
NOTHING_SELECTED = 5


def own_tests(name: str) -> str:
    """Return the words by which pytest selects the tests of a mutant's S-numbers; "" = no number.

    >>> own_tests("S17/S20: guard")
    's17_ or s17- or s20_ or s20-'
    """
    numbers = re.findall(r"S(\d+)", name.partition(":")[0])
    return " or ".join(f"s{number}_ or s{number}-" for number in numbers)


def caught_by(name: str) -> str:
    """Return the first test that fails without `name`, of its own number if there is one.

    "" = none; in brackets: a test that is about something else.
    """
    own = own_tests(name)
    stages = [(("-k", own), QUICK)] if own else []
    for words, files in [*stages, ((), QUICK), ((), CONTRACTS), ((), MACHINE)]:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "switch_off", *words, *files],
            cwd=ROOT,
            env={
                **os.environ,
                "ULLAGE_MUTANT": name,
                "ULLAGE_MACHINE_EXAMPLES": "40",
                "PYTHONPATH": str(HERE),
            },
            capture_output=True,
            text=True,
        )
        found = FAILED.search(done.stdout)
        if found:
            return found.group(1) if words or not own else f"({found.group(1)})"
        if done.returncode not in (0, 1, NOTHING_SELECTED):
            raise SystemExit(f"{name}: pytest itself failed:\n{done.stdout}{done.stderr}")
    return ""


def main() -> int:
    """Print the table."""
    unknown = {name for name, _ in GUARDS} ^ set(GUARD_NAMES)
    if unknown:
        print(f"guards and mutants differ: {sorted(unknown)}")
        return 1
    wanted = [name for name in MUTANTS if not sys.argv[1:] or name.startswith(sys.argv[1])]
    missed = []
    print(f"{'guard':<46} | caught by")
    print(f"{'-' * 46} | {'-' * 60}")
    for name in wanted:
        test = caught_by(name)
        print(f"{name:<46} | {test or 'NOBODY'}", flush=True)
        missed += [] if test else [name]
    print(f"{len(wanted) - len(missed)} of {len(wanted)} mutants caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
