"""How adapters reach the world: cgroup files and Docker's API, shared by sources and actuators."""
