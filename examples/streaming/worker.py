"""A worker like those of a streaming job: its state grows and shrinks with the load.

worker.py SECONDS LOW_MIB HIGH_MIB PERIOD_S: memory follows a day's curve (two waves, one of them
steep) squeezed into PERIOD_S seconds. Real memory: every page is written.
"""

from __future__ import annotations

import math
import sys
import time

MIB = 1 << 20


def wanted_mib(elapsed_s: float, low_mib: float, high_mib: float, period_s: float) -> float:
    """Return the state's size: a slow wave, and a steep one in the evening."""
    phase = elapsed_s / period_s % 1
    wave = 0.5 - 0.5 * math.cos(2 * math.pi * phase)
    evening = max(0.0, 1 - abs(phase - 0.75) / 0.08)
    return low_mib + (high_mib - low_mib) * min(1.0, 0.6 * wave + 0.4 * evening)


def main() -> None:
    """Follow the curve."""
    seconds, low_mib, high_mib, period_s = map(float, sys.argv[1:])
    blocks: list[bytearray] = []
    began_s = time.monotonic()
    while (elapsed_s := time.monotonic() - began_s) < seconds:
        want = int(wanted_mib(elapsed_s, low_mib, high_mib, period_s))
        while len(blocks) < want:
            block = bytearray(MIB)
            block[::4096] = b"x" * (MIB // 4096)
            blocks.append(block)
        del blocks[want:]
        time.sleep(0.02)
    print(f"worker done, {len(blocks)} MiB at the end", flush=True)


if __name__ == "__main__":
    main()
