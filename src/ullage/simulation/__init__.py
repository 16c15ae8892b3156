"""Worlds to try policies in: runs files, timelines, the backtest. No live process in here."""
