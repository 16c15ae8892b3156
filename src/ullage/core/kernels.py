"""Kernels: functions over arrays, written once, that a long backtest compiles first.

A kernel takes arrays and numbers and returns arrays and numbers, in the part of numpy
that a compiler knows too; it may call other kernels. Called before `compile_kernels` it
is the plain function, as in a live run. Not here: the compiler (bootstrap has it), and
what the kernels compute.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
AnyFunction = Callable[..., Any]

_ALL: list[Kernel[..., Any]] = []


class Kernel(Generic[P, R]):
    """A function that can be exchanged for its compiled self wherever it is called from."""

    __wrapped__: Callable[P, R]

    def __init__(self, function: Callable[P, R]) -> None:
        functools.update_wrapper(self, function)
        self._run = function
        _ALL.append(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the compiled function where there is one, else the plain one."""
        return self._run(*args, **kwargs)


def kernel(function: Callable[P, R]) -> Kernel[P, R]:
    """Make `function` a kernel (a decorator). The kernels that it calls come before it."""
    return Kernel(function)


def each(count: int) -> Iterable[Any]:
    """Yield what indexes `count` elements: all at once, or 0, 1, 2 ... in a compiled kernel.

    So a formula over elements is written once: numpy sees whole arrays, the compiler a loop.
    Elements must not depend on each other.

    >>> import numpy as np
    >>> x = np.zeros(3)
    >>> for i in each(2):
    ...     x[i] = x[i] + 1.0
    >>> x.tolist()
    [1.0, 1.0, 0.0]
    """
    yield slice(0, count)


def all_kernels() -> tuple[AnyFunction, ...]:
    """Return the plain functions of all kernels that have been imported."""
    return tuple(known.__wrapped__ for known in _ALL)


def compile_kernels(compiler: Callable[[AnyFunction], AnyFunction]) -> None:
    """Exchange every kernel for what `compiler` makes of it, until `use_plain_kernels`.

    The compiler is handed a copy of each function that calls the compiled form of other
    kernels directly.
    """
    compiled: dict[int, AnyFunction] = {id(each): range}
    for known in _ALL:
        plain = known.__wrapped__
        assert isinstance(plain, FunctionType)
        names = {name: compiled.get(id(value), value) for name, value in plain.__globals__.items()}
        twin = FunctionType(plain.__code__, names, plain.__name__, plain.__defaults__)
        twin.__qualname__, twin.__module__ = plain.__qualname__, plain.__module__
        compiled[id(known)] = compiler(twin)
    for known in _ALL:
        known._run = compiled[id(known)]


def use_plain_kernels() -> None:
    """Call the plain functions again."""
    for known in _ALL:
        known._run = known.__wrapped__
