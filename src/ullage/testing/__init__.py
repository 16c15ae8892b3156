"""Contract suites and doubles: what every adapter of a port must pass, for others' adapters too.

The suites need pytest and hypothesis; nothing outside the tests imports them.
"""
