"""Similar runs: how close each past run is to each other, over all features at once.

Several inputs, threads, modes, versions: each feature counts as much as peaks have
followed it so far. A run's peak is then foretold as the mean of the runs closest to
it (Nadaraya and Watson's estimator, in logarithms). Not here: what experts make of it
(policies.experts).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ullage.core.kernels import kernel
from ullage.core.statistics import correlation, rank_places, rank_shares
from ullage.core.view import RunHistory, label_code
from ullage.core.workload import Features

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

SIMILAR_RUNS = 160
"""Only so many of the latest runs are compared with each other."""
MIN_SIMILAR_RUNS = 8
CLOSE_GAP = 0.08
"""Closeness falls by e with each such gap; a gap of 1 is the whole range of a perfect feature."""
LEAST_CLOSENESS = 1e-9
LABEL_SHRINKAGE_RUNS = 0.5
"""A label's mean counts n / (n + this) against the mean of all others."""
_LACKING = -1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """How close runs are to each other, by all features that peaks follow.

    closeness: float64 [m + 1, m], of the latest m runs and, last, the run asked about, to each
    of the m; 0 to itself. features: what was compared.
    """

    closeness: Floats
    features: tuple[str, ...]

    def foretell(self, values: Floats, is_known: Bools, *, shrinkage: float = 0.0) -> Floats:
        """Return the mean of `values` of close runs, float64 [m + 1]; towards 0 by `shrinkage`.

        values: float64 [m], NaN where not known.
        """
        mean: Floats = close_mean(self.closeness, values, is_known, shrinkage)
        return mean


def similarity_of(history: RunHistory, features: Features, *, since: int = 0) -> Similarity | None:
    """Return the similarity of the runs from `since` on, or None where no feature tells.

    A number's gap is the difference of ranks among runs of known peak (0..1) x |Spearman's
    correlation| with peaks; a label's is 0 or its `label_strength`. A missing value is a
    value of its own. Closeness = exp(-sum of gaps / CLOSE_GAP).
    """
    first = max(since, len(history) - SIMILAR_RUNS)
    is_known = ~history.is_censored[first:]
    if int(is_known.sum()) < MIN_SIMILAR_RUNS:
        return None
    logs = np.log(history.peak_bytes[first:])
    numbers = _numbers(history, features, first, is_known, logs)
    labels = _labels(history, features, first, is_known, logs)
    names = (*(name for name, _, _ in numbers), *(name for name, _, _ in labels))
    if not names:
        return None
    n = len(logs) + 1
    closeness = closeness_of(
        np.array([places for _, places, _ in numbers]).reshape(-1, n),
        np.array([strength for _, _, strength in numbers], float),
        np.array([codes for _, codes, _ in labels], np.int64).reshape(-1, n),
        np.array([strength for _, _, strength in labels], float),
        n,
    )
    return Similarity(closeness=closeness, features=names)


def _numbers(
    history: RunHistory, features: Features, first: int, is_known: Bools, logs: Floats
) -> list[tuple[str, Floats, float]]:
    """Return name, ranks [m + 1] and strength of each number that peaks follow."""
    found = []
    is_ranked = np.append(is_known, False)
    peak_places = rank_places(logs[is_known])
    for name in sorted(history.numbers):
        x = np.append(history.numbers[name][first:], features.numbers.get(name, float("nan")))
        x = np.where(np.isnan(x), _LACKING, x)
        places = rank_shares(x, np.argsort(x), is_ranked)
        strength = abs(correlation(places[:-1][is_known], peak_places))
        if strength > 0:
            found.append((name, places, strength))
    return found


def _labels(
    history: RunHistory, features: Features, first: int, is_known: Bools, logs: Floats
) -> list[tuple[str, Ints, float]]:
    """Return name, codes [m + 1] and strength of each label that peaks follow."""
    found = []
    for name in sorted(history.labels):
        now = label_code(features.labels.get(name))
        codes = np.append(history.labels[name][first:], now)
        strength = label_strength(codes[:-1][is_known], logs[is_known])
        if strength > 0:
            found.append((name, codes, strength))
    return found


def label_strength(codes: Ints, values: Floats) -> float:
    """Return the root of the share of the variance of `values` that a label foretells, 0..1.

    Each run is foretold by the mean of the others with its label, shrunk towards the mean
    of all others.
    """
    n = len(values)
    _, group = np.unique(codes, return_inverse=True)
    variance = float(values.var())
    if group.max() == 0 or not variance > 0:
        return 0.0
    total = values.sum()
    sums, counts = np.bincount(group, values), np.bincount(group)
    others = (total - values) / (n - 1)
    k = LABEL_SHRINKAGE_RUNS
    foretold = (sums[group] - values + k * others) / (counts[group] - 1 + k)
    return math.sqrt(max(0.0, 1.0 - float(((values - foretold) ** 2).mean()) / variance))


@kernel
def closeness_of(
    places: Floats, strengths: Floats, codes: Ints, label_strengths: Floats, n: int
) -> Floats:
    """Return Similarity.closeness.

    places: float64 [f, n]. codes: int64 [l, n]. n = m + 1.
    """
    gap = np.zeros((n, n))
    for f in range(len(strengths)):
        column = strengths[f] * places[f]
        gap += np.abs(column.reshape(n, 1) - column)
    for f in range(len(label_strengths)):
        gap += label_strengths[f] * (codes[f].reshape(n, 1) != codes[f])
    closeness = np.exp(-gap[:, :-1] / CLOSE_GAP) + LEAST_CLOSENESS
    np.fill_diagonal(closeness, 0.0)
    return closeness


@kernel
def close_mean(closeness: Floats, values: Floats, is_known: Bools, shrinkage: float) -> Floats:
    """Return sum(closeness x values) / (sum(closeness) + shrinkage) of each row."""
    total = np.dot(closeness, is_known.astype(np.float64)) + shrinkage
    return (  # type: ignore[no-any-return]
        np.dot(closeness, np.where(is_known, values, 0.0)) / np.maximum(total, 1e-300)
    )
