"""Records as canonical JSON and back, by their own type hints: nothing is lost on the way.

One reader and writer for every frozen dataclass of the core, so that a field added there is
stored without a change here. Instants become ISO 8601 in UTC, spans integer microseconds;
numbers that JSON does not know become "NaN", "Infinity", "-Infinity". A field that an older
record lacks gets its default; one that only a newer record has is ignored.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ullage.core.errors import DataError, InvariantError

_Record = TypeVar("_Record")
_MICROSECOND = timedelta(microseconds=1)


def to_json(value: object) -> str:
    """Return canonical JSON (sorted keys, no spaces, ASCII) of a record or plain value."""
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True
    )


def from_json(kind: type[_Record], text: str) -> _Record:
    """Return the record of type `kind` that `to_json` wrote. DataError if it is none."""
    try:
        record: _Record = _record(kind, json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(
            f"a recorded {kind.__name__} is damaged ({str(error)!a:.120}); see `ullage doctor`"
        ) from error
    return record


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _NOT_FINITE[str(float(value))]
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvariantError(f"an instant without a time zone: {value}")
        return value.astimezone(UTC).isoformat()
    if isinstance(value, timedelta):
        return value // _MICROSECOND
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    item = getattr(value, "item", None)  # a numpy number
    if callable(item):
        return _plain(item())
    raise InvariantError(f"{type(value).__name__} cannot be recorded")


_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_SIMPLE: dict[object, Callable[[Any], Any]] = {
    str: lambda text: _as(str, text),
    bool: lambda flag: _as(bool, flag),
    float: float,
    int: lambda number: number if isinstance(number, int | float) else float(number),
    datetime: datetime.fromisoformat,
    timedelta: lambda span_us: timedelta(microseconds=span_us),
}


def _as(kind: type[Any], value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.40} is not {kind.__name__}")
    return value


@cache
def _readers(kind: type[Any]) -> dict[str, Callable[[Any], Any]]:
    hints = get_type_hints(kind)
    return {field.name: _reader(hints[field.name]) for field in fields(kind)}


@cache
def _reader(hint: Any) -> Callable[[Any], Any]:
    """Return how a plain value becomes what `hint` says."""
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    if is_dataclass(hint):
        return lambda plain: _record(hint, plain)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint
    inner = [_reader(each) for each in get_args(hint) if each not in (type(None), Ellipsis)]
    origin = get_origin(hint)
    if origin in (types.UnionType, Union):
        return lambda plain: None if plain is None else inner[0](plain)
    if origin is tuple:
        return lambda plain: tuple(inner[0](each) for each in _as(list, plain))
    if origin is Mapping:
        return lambda plain: {name: inner[1](each) for name, each in plain.items()}
    raise InvariantError(f"no way to read {hint} back")


def _record(kind: Any, plain: Any) -> Any:
    readers = _readers(kind)
    return kind(**{name: readers[name](each) for name, each in plain.items() if name in readers})
