"""Which workload a Beam job is a run of: its job name without what changes from run to run.

One meaning for all ways of running Beam: local workers, Dask, Dataflow. Pure text.
"""

from __future__ import annotations

import re
from posixpath import basename, splitext

from ullage.core.ids import fit_name
from ullage.core.volatile import is_random_name, mask_word

PREFIX = "beam/"
"""How the keys of Beam workloads begin."""

_MAX_NAME = 400
_MADE_UP = re.compile(r"beamapp-.*", re.ASCII)
"""Beam's own name for a job without one: beamapp-USER-MMDDhhmmss-MICROSECONDS-RANDOM."""
_MASK = re.compile(r"[-_.]*<[a-z]+>", re.ASCII)
_STAMP = re.compile(r"[-_.]?(?:19|20)[0-9]{6}[tT]?[0-9]{4,6}(?![0-9])", re.ASCII)
_COUNTER = re.compile(r"(?:[-_.][0-9]+)+$", re.ASCII)
_RANDOM = re.compile(
    r"[-_.](?=[a-z0-9]*(?:[0-9][a-z]+[0-9]|[a-z][0-9]+[a-z]))[a-z0-9]{6,40}$", re.ASCII
)
"""A last part of six or more letters and digits in turn, as launchers add them."""


def beam_workload_key(job_name: str, *, script: str = "") -> str:
    """Return the workload key of a Beam job: "beam/" and what of its name recurs.

    Dates, times, ids, counters and a random last part are left out. script: the path of the
    program, which stands in where the job has no name or one that Beam made up. Any text is
    accepted, and what comes out is fit for `check_name`.

    >>> beam_workload_key("orders-2026-11-25"), beam_workload_key("orders-20261125t0703-17")
    ('beam/orders', 'beam/orders')
    >>> beam_workload_key("beamapp-ann-1125070312-123456-x1y2z3w4", script="/srv/etl.py")
    'beam/etl'
    """
    name = job_name.strip()[:_MAX_NAME]
    if script and (not name or _MADE_UP.fullmatch(name)):
        stem = splitext(basename(script.strip()))[0][:_MAX_NAME]
        name = "" if is_random_name(stem) else stem
    kept = _without_volatile(name)
    return fit_name(PREFIX + (kept or name or "pipeline"))


def _without_volatile(name: str) -> str:
    """Return `name` without its volatile parts; "" where nothing but those was there."""
    kept = _MASK.sub("", mask_word(_STAMP.sub("", name)))
    before = None
    while kept != before:  # a counter may stand before a random part, and behind it
        before = kept
        kept = _RANDOM.sub("", _COUNTER.sub("", kept))
    return kept.strip("-_. ")
