"""Where the service loop's pictures and alerts go: a page, a file, Alertmanager, a webhook."""
