"""What the words mean: records, ports, units and pure arithmetic.

Standard library and numpy only. No clock, no randomness, no input or output:
they come in as values. Modules that hold only records do not import numpy, so
that `ullage --help` and the start of `ullage run` stay fast.
"""
