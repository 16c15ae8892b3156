"""Programs whose need moves, for the tests with real kills."""

from __future__ import annotations

WAVES = """
import mmap, random, sys, time
low, high, seed = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
dice = random.Random(seed)
print("go", flush=True)
while True:
    size = dice.randrange(low, high)
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, size, 4096):
        block[page] = 1
    time.sleep(dice.random() * 0.02)
    block.close()
"""
"""Takes and gives back, as fast as it can, between LOW and HIGH bytes, for ever."""

HUNGRY = """
import mmap, sys, time
held, size = [], int(sys.argv[1])
print("go", flush=True)
sys.stdin.readline()
began = time.perf_counter()
block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(0, size, 4096):
    block[page] = 1
print(time.perf_counter() - began, flush=True)
time.sleep(600)
"""
"""Waits for a line, then takes SIZE bytes at once and says how long that took, in seconds."""
