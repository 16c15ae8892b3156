"""The parts of benchmarks/decision_quality.py."""
