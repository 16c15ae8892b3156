"""The work of `ullage backtest usage`: read, replay, tell, write."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ullage import __version__, bootstrap
from ullage.cli.backtest_options import STDOUT, check_outputs, choose_policies, usable_cpus
from ullage.cli.progress_bar import progress_bar
from ullage.cli.reading import is_on_terminal, put, say
from ullage.core.errors import ConfigError
from ullage.outcomes.backtest_document import document_text
from ullage.outcomes.backtest_usage import usage_document, usage_table
from ullage.outcomes.formats import OutputFormat
from ullage.outcomes.render import render
from ullage.policies.service_rules import RulePrior
from ullage.simulation.usage_backtest import UsageWorld
from ullage.simulation.usage_compare import compare_usage, fit_traces
from ullage.simulation.usage_file import read_usage
from ullage.simulation.usage_prior import prior_of


class UsageWork:
    """One `ullage backtest usage`: its options, checked before anything is read."""

    def __init__(
        self, *, policy: str, prices: str, minutes: str, json_file: Path | None, jobs: int | None
    ) -> None:
        check_outputs(json_file=json_file)
        known = bootstrap.usage_policy_ids()
        self._policy_ids, _ = choose_policies(policy, known)
        for policy_id in self._policy_ids:
            if policy_id not in known or policy_id != known[-1]:
                bootstrap.usage_policy(policy_id, 1.0)
        self._prices = _numbers(prices, "--price", 0.01, 10_000)
        spans = _numbers(minutes, "--decide-every", 1, 24 * 60)
        self._worlds = [UsageWorld(decide_every_s=60 * span) for span in spans]
        self._json_file = json_file
        self._jobs = jobs or usable_cpus()

    def on_file(self, file: Path, *, prior_from: Sequence[Path], limit_rows: int | None) -> None:
        """Replay the instances of a file under every policy."""
        read = read_usage(file, limit_rows=limit_rows)
        traces, left_out = fit_traces(read.traces, self._worlds[-1])
        rejected = dict(read.rejected) | left_out
        told = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in rejected.items())
        say(f"{len(traces):,} instances" + (f"; left out: {told}" if told else ""))
        if not traces:
            raise ConfigError(
                "no instance lasts 10 h with 100 samples before its last decision: "
                "give a longer record of running services"
            )
        prior = self._prior(prior_from)
        with progress_bar("replaying", unit="instances") as tell:
            cells = compare_usage(
                traces,
                self._policy_ids,
                make_policy=partial(bootstrap.usage_policy, prior=prior),
                worlds=self._worlds,
                prices_hours=self._prices,
                jobs=self._jobs,
                on_progress=tell,
            )
        if self._json_file != STDOUT:
            put(render(usage_table(cells), OutputFormat.TABLE, on_terminal=is_on_terminal()))
        if self._json_file is not None:
            settings = {
                "version": __version__,
                "policies": self._policy_ids,
                "prices_hours": self._prices,
                "prior": "shipped" if prior is None else prior.provenance,
                "limit_rows": limit_rows,
            }
            document = usage_document(
                file=str(file),
                sha256=read.sha256,
                settings=settings,
                worlds=self._worlds,
                rejected=rejected,
                cells=cells,
            )
            _write(self._json_file, document_text(document))

    def _prior(self, files: Sequence[Path]) -> RulePrior | None:
        """Return the prior of other files; None = the shipped one."""
        if not files:
            return None
        found = [fit_traces(read_usage(file).traces, self._worlds[-1])[0] for file in files]
        words = ", ".join(f"{file.name[:80]}" for file in files)
        return prior_of(found, self._worlds[0], provenance=words)


def _numbers(words: str, option: str, least: float, most: float) -> list[float]:
    """Return the numbers of a list with commas, each once. ConfigError where one cannot be."""
    found: list[float] = []
    for word in words.split(","):
        try:
            number = float(word)
        except ValueError:
            number = math.nan
        if not least <= number <= most:
            raise ConfigError(
                f"{option}: {word.strip()[:40]!a} is not a number in {least:g}..{most:g}; "
                "write for example 2 or 0.5,10"
            )
        found.append(number)
    return list(dict.fromkeys(found))


def _write(file: Path, text: str) -> None:
    if file == STDOUT:
        put(text)
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {str(file)!a}: {error.strerror}") from error
