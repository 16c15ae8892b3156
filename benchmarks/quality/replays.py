"""Policies replayed on files of runs through the package's own API, each once: results are kept.

A kept result is found by the file's digest, the protocol, the policy, its setting, and the
digest of the code that it depends on: for a peer `peers`, `simulation` and `core`, for
`ullage` the whole package. Not here: what the results are compared with.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import ullage
from quality.curves import Point
from ullage import bootstrap
from ullage.core.allocation import Prices
from ullage.core.replay import GB_HOUR
from ullage.core.scoring import Outcomes
from ullage.simulation.backtest import Results, World
from ullage.simulation.compare import compare
from ullage.simulation.compiled import compile_for
from ullage.simulation.runs_file import read_runs
from ullage.simulation.timeline import Timeline, as_sizey, in_order

PACKAGE = Path(ullage.__file__).parent
OURS = "ullage"
_ARRAYS = ("row", "known_count", "first_limit_bytes", "oom_prob", "decision_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One file under one protocol: what all policies are asked about."""

    name: str
    protocol: str
    features: str
    seed: int | None
    limit_rows: int | None
    sha256: str
    timeline: Timeline

    @property
    def title(self) -> str:
        """Say in a few words what it is."""
        seed = "" if self.seed is None else f" seed {self.seed}"
        rows = "" if self.limit_rows is None else f", first {self.limit_rows:,} rows"
        return f"{self.name} ({self.protocol}{seed}, features {self.features}{rows})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A policy and where its knob is; for a peer there is none.

    failure_budget_ratio None: failures are free (rho 1, a failure costs no more than
    what it held).
    """

    policy_id: str
    failure_budget_ratio: float | None = 0.02

    @property
    def name(self) -> str:
        """Return the policy's id, and the knob."""
        if self.policy_id != OURS:
            return self.policy_id
        budget = self.failure_budget_ratio
        return f"{OURS} free" if budget is None else f"{OURS} {budget * 100:g} %"

    @property
    def world(self) -> World:
        """Return the world in which it is replayed: no node cap, ttf 1."""
        if self.failure_budget_ratio is None:
            return World(prices=Prices(rho=1.0, failure_gbh=0.0))
        return World(failure_budget_ratio=self.failure_budget_ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What became of the runs of a Work under one setting. seconds: of all processes."""

    setting: Setting
    results: Results
    seconds: float

    @property
    def point(self) -> Point:
        """Return the total as a point of the curve."""
        return self.point_of(np.ones(len(self.results.row), bool))

    def point_of(self, where: np.ndarray[Any, np.dtype[np.bool_]]) -> Point:
        """Return some of the runs as a point."""
        outcomes = self.results.outcomes
        waste = outcomes.reserved_byte_seconds[where] - outcomes.used_byte_seconds[where]
        return Point(
            name=self.setting.name,
            failures_ratio=float((outcomes.ooms_count[where] > 0).mean()),
            waste_gbh=float(waste.sum()) / GB_HOUR,
        )


class Lab:
    """Reads files below `folder` and replays policies on them; keeps results in `cache`.

    is_any_code: results of peers made by other versions of the code do as well.
    """

    def __init__(
        self, folder: Path, cache: Path | None, *, jobs: int = 1, is_any_code: bool = False
    ) -> None:
        self._folder, self._cache, self._jobs = folder, cache, jobs
        self._is_any_code = is_any_code
        for policy_id in bootstrap.backtest_policy_ids():
            code_digest(policy_id)
        self.timings: list[dict[str, object]] = []
        """What each replay took, in this run or when it was made."""

    def has(self, name: str) -> bool:
        """Whether the file runs_<name>.parquet is there."""
        return self._path(name).is_file()

    def work(
        self,
        name: str,
        *,
        protocol: str = "order",
        features: str = "apriori",
        seed: int | None = None,
        limit_rows: int | None = None,
    ) -> Work:
        """Read a file and lay it out."""
        scope: Any = features
        read = read_runs(self._path(name), features=scope, limit_rows=limit_rows)
        timeline = in_order(read.runs)
        if protocol == "sizey":
            timeline = as_sizey(read.runs, seed=seed or 0)
        return Work(
            name=name,
            protocol=protocol,
            features=features,
            seed=seed,
            limit_rows=limit_rows,
            sha256=read.sha256,
            timeline=timeline,
        )

    def replay(self, work: Work, setting: Setting) -> Replayed:
        """Return what becomes of the runs under the setting, kept or made now."""
        file = self._file(work, setting)
        found = None if file is None else _kept(file, setting)
        if found is None:
            found = self._made(work, setting)
            if file is not None:
                _keep(file, found)
        point = found.point
        entry = {"work": work.title, "policy": setting.name, "seconds": round(found.seconds, 1)}
        if entry not in self.timings:
            self.timings.append(entry)
            print(
                f"  {work.name} {work.seed or work.protocol}: {setting.name}"
                f" {found.seconds:.1f} s, fails {point.failures_ratio * 100:.2f} %,"
                f" wastes {point.waste_gbh:,.1f} GBh",
                file=sys.stderr,
                flush=True,
            )
        return found

    def peers(self, work: Work, policy_ids: Iterable[str]) -> list[Replayed]:
        """Replay peers, each once: they have no knob."""
        return [self.replay(work, Setting(policy_id=policy_id)) for policy_id in policy_ids]

    def curve(self, work: Work, budgets: Iterable[float | None]) -> list[Replayed]:
        """Replay our policy at each setting of its knob."""
        return [
            self.replay(work, Setting(policy_id=OURS, failure_budget_ratio=budget))
            for budget in budgets
        ]

    def _made(self, work: Work, setting: Setting) -> Replayed:
        if setting.policy_id == OURS and (plain := compile_for(len(work.timeline.runs))):
            print(plain, file=sys.stderr)
        run = next(
            compare(
                work.timeline,
                [setting.policy_id],
                make_policy=bootstrap.backtest_policy,
                world=setting.world,
                jobs=self._jobs,
            )
        )
        return Replayed(setting=setting, results=run.results, seconds=run.elapsed_s)

    def _path(self, name: str) -> Path:
        return self._folder / f"runs_{name}.parquet"

    def _file(self, work: Work, setting: Setting) -> Path | None:
        if self._cache is None:
            return None
        what: list[object] = [work.sha256, work.protocol, work.features, work.seed, work.limit_rows]
        what += [setting.policy_id, setting.failure_budget_ratio]
        stem = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:24]
        file = self._cache / f"{stem}-{code_digest(setting.policy_id)}.npz"
        if self._is_any_code and setting.policy_id != OURS and not file.exists():
            others = sorted(self._cache.glob(f"{stem}-*.npz"), key=os.path.getmtime)
            return others[-1] if others else file
        return file


@cache
def code_digest(policy_id: str) -> str:
    """Return a digest of the sources that the results of a policy depend on.

    Each is read once, as early as the code itself: what changes later was not run.
    """
    parts = ("",) if policy_id == OURS else ("peers", "simulation", "core")
    digest = hashlib.sha256()
    for part in parts:
        for file in sorted((PACKAGE / part).rglob("*.py")):
            digest.update(file.relative_to(PACKAGE).as_posix().encode() + b"\0")
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _keep(file: Path, replayed: Replayed) -> None:
    results = replayed.results
    arrays = {name: getattr(results, name) for name in _ARRAYS}
    arrays |= {each.name: getattr(results.outcomes, each.name) for each in fields(Outcomes)}
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as stream:
        np.savez_compressed(stream, seconds=np.array(replayed.seconds), **arrays)
    os.replace(stream.name, file)


def _kept(file: Path, setting: Setting) -> Replayed | None:
    """Return what was kept; None where there is nothing, or it cannot be read."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            outcomes = Outcomes(**{each.name: arrays[each.name] for each in fields(Outcomes)})
            results = Results(outcomes=outcomes, **{name: arrays[name] for name in _ARRAYS})
            return Replayed(setting=setting, results=results, seconds=float(arrays["seconds"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
