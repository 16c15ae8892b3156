"""`ullage serve`: the daemon that watches long-running workloads and moves their limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ullage.serve_config import ServeConfig


def serve(
    observe: Annotated[
        bool,
        typer.Option("--observe", help="Change nothing, whatever the settings say."),
    ] = False,
) -> None:
    """Watch services, learn their memory, and move the limits of those that opted in."""
    from ullage.cli.early import prepare_run

    sentinel, _ = prepare_run()  # forked before threads and heavy imports (see __main__)
    from ullage.cli.reading import say
    from ullage.cli.serving import loaded, told

    def load() -> ServeConfig:
        from ullage.bootstrap_serve import observing

        config = loaded()[1]
        return observing(config) if observe else config

    with told():
        from ullage.bootstrap_serve import open_daemon

        _log_to_stderr()
        settings, _ = loaded()
        config = load()
        for words in config.warnings:
            say(f"warning: {words}")
        daemon, closing = open_daemon(settings, config, reload=load, sentinel=sentinel)
        with closing:
            say(_greeting(config))
            daemon.run()
            say("stopped: limits stay as they are")


def _greeting(config: ServeConfig) -> str:
    from ullage.core.service import UpdateMode
    from ullage.outcomes.render import plural

    acting = [spec for spec in config.specs if spec.mode is UpdateMode.IN_PLACE]
    mode = "observing only"
    if config.settings.is_acting:
        mode = f"may act on {len(acting)} of {len(config.specs)}"
    page = "no metrics page"
    if config.metrics.host:
        host = f"[{config.metrics.host}]" if ":" in config.metrics.host else config.metrics.host
        page = f"metrics on http://{host}:{config.metrics.port}/metrics"
    return f"serving {plural(len(config.specs), 'workload')}, {mode}; {page}"


def _log_to_stderr() -> None:
    import logging
    import sys

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z")
    )
    logger = logging.getLogger("ullage")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
