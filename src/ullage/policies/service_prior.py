"""What the rules cost on other people's services: the prior of a target without a past.

Written by `benchmarks/service_prior.py`. Not here: how it is weighed (policies.service_rules).
"""
from __future__ import annotations

import numpy as np

from ullage.policies.service_rules import PRIOR_HOURS, RulePrior


def shipped_prior() -> RulePrior:
    return RulePrior(reserved=np.tile([1.0,1.05,1.1,1.2,1.35,1.6],12), ooms=np.tile([.7,.07,.05,.02,.015,.01],12), hours=PRIOR_HOURS, provenance="")
