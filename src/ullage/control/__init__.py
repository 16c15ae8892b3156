"""Watching and acting on live targets, through ports: no adapter is named in here."""
