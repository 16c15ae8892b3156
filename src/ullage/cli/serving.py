"""What the commands about services share: settings, the store, who they are, moments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ullage.cli.reading import EXIT_USAGE, fail

if TYPE_CHECKING:
    from datetime import datetime

    from ullage.bootstrap_serve import SqliteServiceStore
    from ullage.config import Settings
    from ullage.serve_config import ServeConfig

EXIT_FINDINGS = 3
EXIT_REFUSED = 4


@contextmanager
def told() -> Iterator[None]:
    """End the command with one line on stderr where something of ours is raised."""
    from ullage.core.errors import ConfigError, UllageError

    try:
        yield
    except ConfigError as error:
        fail(str(error), code=EXIT_USAGE)
    except UllageError as error:
        fail(str(error))


def loaded() -> tuple[Settings, ServeConfig]:
    """Return the settings."""
    from ullage.config import load_settings
    from ullage.serve_config import load_serve

    settings = load_settings()
    return settings, load_serve(settings)


@contextmanager
def service_store(*, read_only: bool = False) -> Iterator[SqliteServiceStore]:
    """Yield the service loop's store; errors end the command."""
    from ullage.bootstrap_serve import open_service_store

    with told():
        settings, config = loaded()
        store = open_service_store(settings, config, read_only=read_only)
        try:
            yield store
        finally:
            store.close()


def who() -> str:
    """Return who gives the order, for the record."""
    import getpass
    import os

    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def moment(text: str) -> datetime:
    """Return the moment that a text names: ISO 8601, or a span back from now ("2h")."""
    from datetime import UTC, datetime

    from ullage.core.errors import ConfigError
    from ullage.serve_config import parse_span

    now = datetime.now(UTC)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            return now - parse_span(text, "--to")
        except ConfigError:
            raise ConfigError(
                f"--to {text[:40]!a}: write a moment (2026-01-31T12:00Z) or a span back (2h)"
            ) from None
    at = at if at.tzinfo else at.astimezone()
    if at > now:
        raise ConfigError(f"--to {text[:40]!a} lies in the future")
    return at.astimezone(UTC)
