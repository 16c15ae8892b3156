"""What changes a limit. Adapters: each knows the core and nothing else."""
