"""Every figure of decision quality by one command: policies side by side, targets, reached or not.

    .venv/bin/python benchmarks/decision_quality.py --data DIR
    .venv/bin/python benchmarks/decision_quality.py --data DIR --sections AB --quick
    make benchmarks-quality DATA=DIR

DIR holds runs_sizey.parquet, runs_lotaru.parquet ...: files as `ullage backtest runs` reads
them. Figures, definitions and targets are in docs/benchmarks.md. Results are kept below
--cache, so that another run does again only what another version of the code changes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import bench_backtest
from quality import field_benchmark, honest_order, promises, report, speed
from quality.curves import Point
from quality.line import Line
from quality.replays import Lab, Replayed
from ullage import __version__, bootstrap
from ullage.core.errors import ConfigError, UllageError
from ullage.peers.registry import PEER_IDS

SLOW_PEERS = ("sizey",)
"""Replayed in section A alone: they take hours elsewhere."""
QUICK_ROWS = 1500
QUICK_WORKLOADS = 4


def main() -> int:
    """Run the sections asked for, and print or write the report."""
    options = _options()
    began = time.perf_counter()
    try:
        report_ = _Report(options)
        report_.run()
    except UllageError as error:
        print(f"decision_quality: {error}", file=sys.stderr)
        return 2
    facts = {
        "version": f"ullage {__version__}",
        "command": _command(options),
        **report.machine(),
        "took": f"{time.perf_counter() - began:.0f} s, results that were kept not counted",
    }
    _write(options, report_, facts)
    return 0


class _Report:
    """The sections, in order, and what they found."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._lab = Lab(
            options.data,
            options.cache,
            jobs=options.jobs,
            is_any_code=options.any_peer_code,
        )
        self._budgets = field_benchmark.FEW_BUDGETS if options.quick else field_benchmark.BUDGETS
        self._rows = QUICK_ROWS if options.quick else options.limit_rows
        self._peers = _usable(options.peers.split(",") if options.peers else PEER_IDS)
        self._fast = [name for name in self._peers if name not in SLOW_PEERS]
        self.lines: list[Line] = []
        self.curves: dict[str, list[Point]] = {}

    @property
    def timings(self) -> Sequence[dict[str, object]]:
        """Return what each replay took."""
        return self._lab.timings

    def run(self) -> None:
        """Fill `lines` and `curves`."""
        sections = self._options.sections
        curve: Sequence[Replayed] = ()
        if set(sections) & set("AE"):
            curve = self._field()
        if set(sections) & set("BCD"):
            self._ordered()
        if "E" in sections:
            self.lines += speed.decision_speed(curve)
            few = self._options.quick
            count = QUICK_WORKLOADS if few else bench_backtest.ALL_WORKLOADS
            self.lines += speed.backtest_speed(count, self._options.jobs)
        self.lines = [line for line in self.lines if line.section in sections]

    def _field(self) -> Sequence[Replayed]:
        self._needs("sizey")
        is_short = self._options.quick or "A" not in self._options.sections
        seeds = field_benchmark.SEEDS[: 1 if is_short else None]
        peers = self._peers if "A" in self._options.sections else ["request"]
        lines, seeded = field_benchmark.field_benchmark(
            self._lab, peers, seeds=seeds, budgets=self._budgets, limit_rows=self._rows
        )
        self.lines += lines
        for each in seeded:
            self._add_curve(each.work.title, each.curve, each.peers)
        return seeded[0].curve

    def _ordered(self) -> None:
        sections = self._options.sections
        several = []
        if set(sections) & set("BD"):
            self._needs("sizey")
            several.append(self._one("sizey"))
            self.lines += honest_order.chronological(several[0])
        if set(sections) & set("CD"):
            there = [name for name in honest_order.FILES if self._lab.has(name)]
            missing = [name for name in honest_order.FILES if name not in there]
            others = [self._one(name) for name in there]
            self.lines += honest_order.per_file(others, missing)
            several += others
        if "D" in sections:
            self.lines += promises.kept_promises(several)

    def _one(self, name: str) -> honest_order.Ordered:
        ordered = honest_order.replay_in_order(
            self._lab, name, self._fast, budgets=self._budgets, limit_rows=self._rows
        )
        self._add_curve(ordered.work.title, ordered.curve, ordered.peers)
        return ordered

    def _add_curve(self, title: str, curve: Sequence[Replayed], peers: Sequence[Replayed]) -> None:
        self.curves[title] = [each.point for each in (*curve, *peers)]

    def _needs(self, name: str) -> None:
        if not self._lab.has(name):
            raise ConfigError(f"no runs_{name}.parquet in {str(self._options.data)!a}: give --data")


def _options() -> argparse.Namespace:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of runs_*.parquet")
    parser.add_argument("--sections", default="ABCDE", help="which of A B C D E (all)")
    parser.add_argument("--peers", help="ids separated by commas (all that can be replayed)")
    parser.add_argument("--jobs", type=int, default=1, help="processes of a replay (1)")
    parser.add_argument("--limit-rows", type=int, help="only the first so many rows of a file")
    parser.add_argument(
        "--quick", action="store_true", help=f"one seed, {QUICK_ROWS} rows: whether it works at all"
    )
    parser.add_argument(
        "--cache", type=Path, default=Path(cache, "ullage", "quality"), help="kept results"
    )
    parser.add_argument("--no-cache", dest="cache", action="store_const", const=None)
    parser.add_argument(
        "--any-peer-code",
        action="store_true",
        help="take kept results of peers made by other versions of the code",
    )
    parser.add_argument("--json", type=Path, metavar="OUT")
    parser.add_argument(
        "--markdown", type=Path, metavar="OUT", help="a page: between its marks, if it has them"
    )
    options = parser.parse_args()
    options.sections = options.sections.upper().replace(",", "")
    if not options.sections or set(options.sections) - set("ABCDE"):
        parser.error("--sections: letters A to E")
    for file in (options.json, options.markdown):
        if file is not None and not file.parent.is_dir():
            parser.error(f"{file.parent} is no folder")
    return options


def _usable(policy_ids: Sequence[str]) -> list[str]:
    """Return the peers whose packages are installed; say which are not."""
    usable = []
    for policy_id in policy_ids:
        try:
            bootstrap.backtest_policy(policy_id)
        except ConfigError as error:
            print(error, file=sys.stderr)
        else:
            usable.append(policy_id)
    return usable


def _command(options: argparse.Namespace) -> str:
    words = ["benchmarks/decision_quality.py", "--data", "DIR", "--sections", options.sections]
    words += ["--quick"] if options.quick else []
    words += ["--peers", options.peers] if options.peers else []
    words += ["--limit-rows", str(options.limit_rows)] if options.limit_rows else []
    words += ["--any-peer-code"] if options.any_peer_code else []
    return " ".join([*words, "--jobs", str(options.jobs)])


def _write(options: argparse.Namespace, found: _Report, facts: dict[str, object]) -> None:
    if options.json is not None:
        options.json.write_text(
            report.as_json(found.lines, found.curves, facts, found.timings), encoding="utf-8"
        )
    if options.markdown is not None:
        text = report.as_markdown(found.lines, found.curves, facts)
        page = options.markdown.read_text("utf-8") if options.markdown.exists() else ""
        options.markdown.write_text(report.pasted(page, text), encoding="utf-8")
    print(report.as_text(found.lines))
    for key, value in facts.items():
        print(f"{key}: {value}")


if __name__ == "__main__":
    sys.exit(main())
