"""What the rules cost elsewhere: the prior of a service without much past of its own.

Two figures for each of the 72 rules, aggregated over instances (mean over a file's instances,
then over files) and rounded to three digits. Nothing of any single instance is in here.
`benchmarks/service_prior.py` prints these tables; which files they come from is in
`PROVENANCE`. Published figures leave the tested file out of the prior (docs/benchmarks.md).

Not here: how it is weighed against the own past (policies.service_rules).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ullage.policies.service_rules import PRIOR_HOURS, RULES_COUNT, RulePrior

PROVENANCE = (
    "means of 72 rules over public traces of running services, instances of 10 h and more: "
    "Nezha (214 instances), Google Borg 2019 (20), Alibaba GenAI serving (144), "
    "Docker stats of a web application (6); intervals of 30 minutes"
)

_RESERVED = (
    (0.962, 0.992, 1.04, 1.13, 1.27, 1.51),  # max of 5 weeks
    (0.96, 0.99, 1.04, 1.13, 1.27, 1.5),  # max of a day
    (0.936, 0.963, 1.01, 1.1, 1.23, 1.46),  # max of 6 h
    (0.918, 0.937, 0.98, 1.07, 1.2, 1.42),  # max of 2 h
    (0.914, 0.926, 0.969, 1.06, 1.19, 1.41),  # max of 1 h
    (0.915, 0.919, 0.96, 1.05, 1.18, 1.39),  # latest peak
    (0.959, 0.989, 1.04, 1.13, 1.27, 1.5),  # p98 of 2 days
    (0.944, 0.972, 1.02, 1.11, 1.25, 1.48),  # p95 of a day
    (0.956, 0.967, 1.01, 1.1, 1.24, 1.47),  # max fading by half in 2 days
    (0.939, 0.946, 0.989, 1.08, 1.21, 1.44),  # max fading by half in 12 h
    (0.956, 0.983, 1.03, 1.12, 1.26, 1.49),  # max at this time of the day
    (0.956, 0.983, 1.03, 1.12, 1.26, 1.49),  # max at this time of the week
)
"""Mean limit / largest peak of the instance: a row for each base, a column for each margin."""

_OOMS = (
    (0.409, 0.0437, 0.0287, 0.0149, 0.0117, 0.00549),  # max of 5 weeks
    (0.412, 0.0437, 0.0287, 0.0149, 0.0117, 0.00549),  # max of a day
    (0.472, 0.0465, 0.0305, 0.0149, 0.012, 0.00573),  # max of 6 h
    (0.612, 0.0538, 0.0319, 0.0162, 0.0131, 0.00626),  # max of 2 h
    (0.749, 0.064, 0.0358, 0.0179, 0.0141, 0.00649),  # max of 1 h
    (0.945, 0.0952, 0.0511, 0.0356, 0.0314, 0.0186),  # latest peak
    (0.413, 0.0439, 0.0291, 0.0149, 0.0117, 0.00549),  # p98 of 2 days
    (0.439, 0.0459, 0.031, 0.0149, 0.0118, 0.00549),  # p95 of a day
    (0.764, 0.0483, 0.0315, 0.0149, 0.0119, 0.00549),  # max fading by half in 2 days
    (0.859, 0.0606, 0.0347, 0.0155, 0.0123, 0.00581),  # max fading by half in 12 h
    (0.467, 0.0451, 0.0319, 0.0149, 0.0117, 0.00549),  # max at this time of the day
    (0.467, 0.0451, 0.0319, 0.0149, 0.0117, 0.00549),  # max at this time of the week
)
"""OOM kills per hour, in the same places."""


@lru_cache(maxsize=1)
def shipped_prior() -> RulePrior:
    """Return the shipped prior; it counts as six hours of a service's own past."""
    return RulePrior(
        reserved=np.array(_RESERVED, float).reshape(RULES_COUNT),
        ooms=np.array(_OOMS, float).reshape(RULES_COUNT),
        hours=PRIOR_HOURS,
        provenance=PROVENANCE,
    )
