"""A prior from recorded usage: what each rule would have cost on other people's services.

The mean over the instances of a file, then over files, so that no file counts for its size.
Not here: the shipped tables (policies.service_prior), which are printed from this.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ullage.core.errors import ConfigError
from ullage.policies.service_bases import PeakGrid, peak_grid
from ullage.policies.service_rules import PRIOR_HOURS, RulePrior, no_scores, scored
from ullage.simulation.usage_backtest import UsageWorld
from ullage.simulation.usage_file import UsageTrace


def trace_grid(trace: UsageTrace, interval_s: float) -> PeakGrid:
    """Return the interval peaks of a whole trace, intervals counted from its first sample."""
    number = np.floor((trace.at_s - trace.at_s[0]) / interval_s)
    begin = np.flatnonzero(np.append(True, number[1:] != number[:-1]))
    peaks = np.maximum.reduceat(trace.need_bytes, begin).astype(float)
    return peak_grid(number[begin] * interval_s, peaks, interval_s)


def prior_of(
    files: Sequence[Sequence[UsageTrace]], world: UsageWorld, *, provenance: str
) -> RulePrior:
    """Return the prior of `files`, each the traces of one file that protocol D would replay.

    Raises ConfigError where no file has an instance.
    """
    reserved, ooms = [], []
    for traces in files:
        of_file = []
        for trace in traces:
            grid = trace_grid(trace, world.peak_interval_s)
            scores = scored(no_scores(), grid)
            if scores.hours > 0:
                held = scores.reserved / scores.hours / grid.peaks.max()
                of_file.append((held, scores.ooms / scores.hours))
        if of_file:
            reserved.append(np.mean([held for held, _ in of_file], axis=0))
            ooms.append(np.mean([failed for _, failed in of_file], axis=0))
    if not reserved:
        raise ConfigError("no prior: none of the files has an instance of 10 h or more")
    return RulePrior(
        reserved=np.mean(reserved, axis=0),
        ooms=np.mean(ooms, axis=0),
        hours=PRIOR_HOURS,
        provenance=provenance,
    )
