"""The registry of kernels, and when a backtest has them compiled."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ullage.core.kernels import all_kernels, compile_kernels, each, use_plain_kernels
from ullage.core.statistics import effective_count, sorted_quantile
from ullage.policies.distributions import mean_excess
from ullage.simulation import compiled


@pytest.fixture(autouse=True)
def plain_again() -> Iterator[None]:
    yield
    use_plain_kernels()


def test_a_compiler_gets_every_kernel_and_its_callees_compiled() -> None:
    seen = []

    def compiler(function):  # type: ignore[no-untyped-def]
        def twin(*args):  # type: ignore[no-untyped-def]
            seen.append(function.__name__)
            return function(*args)

        return twin

    x = np.array([1.0, 2.0, 9.0])
    before = mean_excess(x, np.ones(3))
    compile_kernels(compiler)
    assert mean_excess(x, np.ones(3)) == before
    assert seen == ["mean_excess", "sorted_quantile"]
    use_plain_kernels()
    assert mean_excess(x, np.ones(3)) == before
    assert len(seen) == 2


def test_each_is_a_range_in_a_compiled_kernel() -> None:
    found = {}

    def compiler(function):  # type: ignore[no-untyped-def]
        found[function.__name__] = function
        return function

    compile_kernels(compiler)
    assert found["values_above"].__globals__["each"] is range
    assert list(each(3)) == [slice(0, 3)]


def test_kernels_keep_their_names_and_docs() -> None:
    assert effective_count.__name__ == "effective_count"
    assert "Kish" in (effective_count.__doc__ or "")
    assert sorted_quantile.__wrapped__ in all_kernels()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return compiled.cache_folder()


def test_a_short_backtest_compiles_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "compile_kernels", lambda _: pytest.fail("compiled"))
    assert compiled.compile_for(compiled.FROM_RUNS - 1) is None
    assert not cache.exists()


def test_without_numba_a_long_backtest_says_so(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    said = compiled.compile_for(compiled.FROM_RUNS)
    assert said is not None
    assert "fast" in said
    assert "\n" not in said


def test_what_is_kept_is_loaded_for_fewer_runs(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba", reason="numba (the extra `fast`) is not installed")
    made = []
    monkeypatch.setattr(compiled, "compile_kernels", made.append)
    monkeypatch.setattr(compiled, "_warm_up", lambda: None)
    compiled.compile_for(compiled.FROM_RUNS_KEPT)
    assert not made
    cache.mkdir(parents=True)
    (cache / "kernel.nbi").touch()
    compiled.compile_for(compiled.FROM_RUNS_KEPT)
    assert len(made) == 1


def test_the_warm_up_calls_every_kernel() -> None:
    called = set()

    def compiler(function):  # type: ignore[no-untyped-def]
        def twin(*args):  # type: ignore[no-untyped-def]
            called.add(function.__name__)
            return function(*args)

        return twin

    compile_kernels(compiler)
    compiled._warm_up()
    assert {function.__name__ for function in all_kernels()} - called == set()


def test_another_state_of_the_sources_has_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    now = compiled.cache_folder()
    monkeypatch.setattr(compiled, "all_kernels", lambda: all_kernels()[:1])
    assert compiled.cache_folder() != now
    assert now.parent == tmp_path / "ullage"
