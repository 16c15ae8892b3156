"""The samples of one attempt as one compressed blob.

Format, little-endian: one version byte (1), the number n of samples as uint32, then a zlib
stream of four columns of n words of 8 bytes: elapsed_ms (the bits of a float64), need_bytes,
usage_bytes, limit_bytes (int64). Each column holds the difference to the word before it
(modulo 2**64, the first to 0), folded so that small differences of either sign are small
numbers (0, -1, 1, -2, 2 -> 0, 1, 2, 3, 4), and is written by significance: all lowest bytes,
then all second lowest, and so on. Exact: what comes out is bit for bit what went in.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Sequence

from ullage.core.errors import DataError, InvariantError
from ullage.core.telemetry import SampleSeries

VERSION = 1
MAX_SAMPLES = 1 << 24
_HEADER = struct.Struct("<BI")
_WORD_BYTES = 8
COLUMNS = 4
_ALL = (1 << 64) - 1


def pack_samples(samples: SampleSeries) -> bytes:
    """Return the blob of `samples`. InvariantError if its arrays differ in length."""
    count = len(samples)
    columns = (samples.need_bytes, samples.usage_bytes, samples.limit_bytes)
    if count > MAX_SAMPLES or any(len(column) != count for column in columns):
        raise InvariantError("samples are not parallel arrays of at most 2**24")
    bits = struct.unpack(f"<{count}Q", struct.pack(f"<{count}d", *samples.elapsed_ms))
    planes = b"".join(_differences(column) for column in (bits, *columns))
    return _HEADER.pack(VERSION, count) + zlib.compress(planes, 6)


def unpack_samples(blob: bytes) -> SampleSeries:
    """Return the samples of a blob. DataError if it is damaged or of a newer format."""
    count, planes = blob_planes(blob)
    length = count * _WORD_BYTES
    bits, *columns = (_words(planes[i * length : (i + 1) * length]) for i in range(COLUMNS))
    need, usage, limit = (
        array("q", struct.unpack(f"<{count}q", struct.pack(f"<{count}Q", *column)))
        for column in columns
    )
    elapsed = array("d", struct.unpack(f"<{count}d", struct.pack(f"<{count}Q", *bits)))
    return SampleSeries(elapsed_ms=elapsed, need_bytes=need, usage_bytes=usage, limit_bytes=limit)


def blob_planes(blob: bytes) -> tuple[int, bytes]:
    """Return the number of samples in a blob and its columns by significance, unpacked.

    `stores.segment_columns` reads them too, many at once. DataError as in `unpack_samples`.
    """
    try:
        version, count = _HEADER.unpack_from(blob)
        if version != VERSION or count > MAX_SAMPLES:
            raise DataError(f"samples of format {version} are not known here: upgrade ullage")
        length = COLUMNS * count * _WORD_BYTES
        stream = zlib.decompressobj()
        planes = stream.decompress(blob[_HEADER.size :], max_length=length + 1)
        if len(planes) != length or not (stream.eof or count == 0):
            raise DataError("recorded samples are damaged: their length is wrong")
    except (struct.error, zlib.error) as error:
        raise DataError(f"recorded samples are damaged: {error}") from error
    return count, planes


def _differences(column: Sequence[int]) -> bytes:
    folded: list[int] = []
    before = 0
    for word in column:
        step = (word - before) & _ALL
        folded.append(((step << 1) & _ALL) ^ (_ALL if step >> 63 else 0))
        before = word
    raw = struct.pack(f"<{len(folded)}Q", *folded)
    return b"".join(raw[place::_WORD_BYTES] for place in range(_WORD_BYTES))


def _words(planes: bytes) -> list[int]:
    count = len(planes) // _WORD_BYTES
    raw = bytearray(len(planes))
    for place in range(_WORD_BYTES):
        raw[place::_WORD_BYTES] = planes[place * count : (place + 1) * count]
    words: list[int] = []
    before = 0
    for folded in struct.unpack(f"<{count}Q", raw):
        before = (before + ((folded >> 1) ^ (_ALL if folded & 1 else 0))) & _ALL
        words.append(before)
    return words
