"""Other people's policies, from their formulas, behind core.ports.RunPolicy: one file each."""
