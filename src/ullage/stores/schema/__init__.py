"""The tables of the state store, as numbered steps."""
