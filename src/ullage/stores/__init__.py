"""Where records last: the state store (runs, decisions, OOM kills) and the host's ledger.

Both are SQLite files through the standard library. `state` keeps history and never deletes
it; `ledger` keeps only what live runs have booked and may be lost at any time.
"""
