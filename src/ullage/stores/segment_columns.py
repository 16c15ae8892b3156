"""Samples as the columns of a segment, and back; the vectorised reading of blobs.

A segment stores `at` (when, in microseconds) and `started_at` (of the attempt) instead of
elapsed_ms: whole numbers that grow take 1 to 2 bytes, a float64 takes 6 to 8. Exact all the
same: `elapsed_bits` holds what is missing to the very bits of elapsed_ms, the difference (as
integers, modulo 2**64) between its float64 and that of (at - started_at) / 1000. It is 0
wherever elapsed_ms is a whole number of microseconds, as `ullage run` writes it, and then
takes no room. Not here: Parquet (`stores.segment_parquet`), the format of a blob
(`stores.sample_blob`).
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ullage.core.stored_samples import absolute_us
from ullage.core.telemetry import SampleSeries
from ullage.stores.sample_blob import COLUMNS, blob_planes

Longs = NDArray[np.int64]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleColumns:
    """Samples as parallel arrays of length n, as in `core.telemetry.SampleSeries`."""

    elapsed_ms: Doubles
    need_bytes: Longs
    usage_bytes: Longs
    limit_bytes: Longs

    def __len__(self) -> int:
        return len(self.elapsed_ms)

    def as_series(self) -> SampleSeries:
        """Return them as the record of one attempt."""
        return SampleSeries(
            elapsed_ms=array("d", self.elapsed_ms.tobytes()),
            need_bytes=array("q", self.need_bytes.tobytes()),
            usage_bytes=array("q", self.usage_bytes.tobytes()),
            limit_bytes=array("q", self.limit_bytes.tobytes()),
        )


def unpack_columns(blob: bytes) -> SampleColumns:
    """Return the samples of a blob: `sample_blob.unpack_samples` over arrays, same answer."""
    count, planes = blob_planes(blob)
    folded = (
        np.frombuffer(planes, np.uint8)
        .reshape(COLUMNS, 8, count)
        .transpose(0, 2, 1)
        .reshape(COLUMNS, count, 8)
    )
    words = np.ascontiguousarray(folded).view("<u8").reshape(COLUMNS, count)
    steps = (words >> np.uint64(1)) ^ (np.uint64(0) - (words & np.uint64(1)))
    exact = np.cumsum(steps, axis=1, dtype=np.uint64)
    return SampleColumns(
        elapsed_ms=exact[0].view(np.float64),
        need_bytes=exact[1].view(np.int64),
        usage_bytes=exact[2].view(np.int64),
        limit_bytes=exact[3].view(np.int64),
    )


def joined(parts: list[SampleColumns]) -> SampleColumns:
    """Return the samples of all parts, one after another."""
    if len(parts) == 1:
        return parts[0]
    return SampleColumns(
        elapsed_ms=np.concatenate([part.elapsed_ms for part in parts] or [np.zeros(0)]),
        need_bytes=_longs([part.need_bytes for part in parts]),
        usage_bytes=_longs([part.usage_bytes for part in parts]),
        limit_bytes=_longs([part.limit_bytes for part in parts]),
    )


def elapsed_bits(started_us: Longs, at_us: Longs, elapsed_ms: Doubles) -> Longs:
    """Return what is missing to the bits of elapsed_ms (see the module).

    >>> elapsed_bits(np.array([0]), np.array([50_125]), np.array([50.125])).tolist()
    [0]
    """
    rounded = ((at_us - started_us) / 1000.0).view(np.uint64)
    return (np.ascontiguousarray(elapsed_ms).view(np.uint64) - rounded).view(np.int64)


def elapsed_of(started_us: Longs, at_us: Longs, bits: Longs) -> Doubles:
    """Return elapsed_ms, bit for bit: the inverse of `elapsed_bits`."""
    rounded = ((at_us - started_us) / 1000.0).view(np.uint64)
    return (rounded + np.ascontiguousarray(bits).view(np.uint64)).view(np.float64)


def at_of(started_us: int, samples: SampleColumns) -> Longs:
    """Return when the samples of one attempt were taken, in microseconds since 1970."""
    return absolute_us(np.full(len(samples), started_us, np.int64), samples.elapsed_ms)


def _longs(parts: list[Longs]) -> Longs:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
