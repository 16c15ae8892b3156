"""Ullage: predictive memory autoscaling for data-processing workloads.

Importing the package loads nothing else; `ullage run` must start fast.
"""

__version__ = "0.1.0"
