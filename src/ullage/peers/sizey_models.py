"""The four models of the peer `sizey`: how one feature foretells a peak, by scikit-learn.

Least squares, nearest neighbours, a small network, a random forest, each on the
standardised input and peak. The hyper-parameters are ours, fixed and small, so that a fit
takes some 20 ms. scikit-learn (extra `benchmarks`) is imported inside functions alone.
Not here: what is made of their predictions (peers.sizey).
"""

# mypy: disable-error-code="import-untyped,import-not-found"
from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ullage.core.errors import ConfigError

Floats = NDArray[np.float64]

MODELS = ("least squares", "neighbours", "network", "forest")
NEIGHBOURS = 5
HIDDEN_UNITS = 16
NETWORK_PASSES = 200
TREES = 20
TREE_DEPTH = 5
SEED = 20_240_924
FOLDS = 3
NEGATIVE_RATIO = 0.05


def require_scikit_learn() -> None:
    """Raise ConfigError, with the way out, where scikit-learn is not installed."""
    if find_spec("sklearn") is None:
        raise ConfigError(
            "policy 'sizey' needs scikit-learn: pip install 'ullage[benchmarks]', "
            "or leave the policy out"
        )


@dataclass(frozen=True, slots=True)
class FittedModels:
    """Four fitted models; `foretell` maps inputs of length k to peaks [4, k] in bytes."""

    foretell: Callable[[Floats], Floats]

    def peaks_bytes(self, inputs: Floats, *, least_bytes: float) -> Floats:
        """Return the foretold peaks [4, k]; one below zero is 0.05 x the smallest peak seen.

        In whole bytes: the last bits of a network's sum depend on how many are asked at once.
        """
        foretold = np.rint(self.foretell(inputs))
        return np.where(foretold < 0, NEGATIVE_RATIO * least_bytes, foretold)


def fit_models(inputs: Floats, peaks: Floats) -> FittedModels:
    """Fit all four to `inputs` and `peaks`, float64 of length n >= 1.

    Where all inputs or all peaks are alike there is nothing to tell apart: four means.
    """
    x_mean, x_scale = float(inputs.mean()), float(inputs.std())
    y_mean, y_scale = float(peaks.mean()), float(peaks.std())
    if not (x_scale > 0 and y_scale > 0):
        return FittedModels(lambda asked: np.full((len(MODELS), len(asked)), y_mean))
    x = ((inputs - x_mean) / x_scale)[:, None]
    fitted = _fitted(_unfitted(len(inputs)), x, (peaks - y_mean) / y_scale)

    def foretell(asked: Floats) -> Floats:
        z = ((asked - x_mean) / x_scale)[:, None]
        with _unchecked():
            return np.array([model.predict(z) for model in fitted]) * y_scale + y_mean

    return FittedModels(foretell)


def accuracies(inputs: Floats, peaks: Floats) -> Floats:
    """Return A_m of each model, float64 of length 4: mean of -min(1, |y - f(x)| / y).

    Each run is foretold by models that were fitted without it: run i is in fold i mod 3.
    All 0 (alike) for fewer than three runs.
    """
    n = len(peaks)
    if n < FOLDS:
        return np.zeros(len(MODELS))
    fold = np.arange(n) % FOLDS
    foretold = np.empty((len(MODELS), n))
    for number in range(FOLDS):
        out = fold == number
        models = fit_models(inputs[~out], peaks[~out])
        foretold[:, out] = models.peaks_bytes(inputs[out], least_bytes=float(peaks[~out].min()))
    accuracy: Floats = -np.minimum(1.0, np.abs(foretold - peaks) / peaks).mean(axis=1)
    return accuracy


def kendall_tau(x: Floats, y: Floats) -> float:
    """Return Kendall's rank correlation tau-b of x and y, NaN where either is constant."""
    from scipy.stats import kendalltau

    if len(x) < 2 or (x == x[0]).all() or (y == y[0]).all():
        return float("nan")
    return float(kendalltau(x, y).statistic)


def _unfitted(n: int) -> Sequence[Any]:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LinearRegression
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.neural_network import MLPRegressor

    return (
        LinearRegression(),
        KNeighborsRegressor(n_neighbors=min(NEIGHBOURS, n)),
        MLPRegressor(
            hidden_layer_sizes=(HIDDEN_UNITS,),
            solver="lbfgs",
            max_iter=NETWORK_PASSES,
            random_state=SEED,
        ),
        RandomForestRegressor(n_estimators=TREES, max_depth=TREE_DEPTH, random_state=SEED),
    )


def _fitted(models: Sequence[Any], x: Floats, y: Floats) -> Sequence[Any]:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(), _unchecked():
        # the network stops after a fixed number of passes on purpose: cost before the last digit
        warnings.simplefilter("ignore", ConvergenceWarning)
        return [model.fit(x, y) for model in models]


def _unchecked() -> Any:
    """Leave out scikit-learn's checks of finite inputs and parameters: half of a small fit."""
    from sklearn import config_context

    return config_context(assume_finite=True, skip_parameter_validation=True)
