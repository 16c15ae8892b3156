"""Where telemetry comes from. Adapters: each knows the core and nothing else."""
