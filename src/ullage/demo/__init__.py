"""The first demonstration: real commands over real data, before and after.

`flights.py` prepares the inputs, `jobs/` holds the programs that are run (plain scripts
that know nothing of Ullage), `rounds.py` runs them, `cli/demo.py` tells what happened.
"""
