"""The `ullage` command. A run's sentinel is forked here, before anything heavy is loaded."""

from __future__ import annotations

import sys

_HELP = {"--help", "-h"}


def main() -> None:
    """Run the command line; `ullage run` gets its sentinel first."""
    if sys.argv[1:2] == ["run"] and not _HELP & set(sys.argv[2:3]):
        from ullage.cli.early import prepare_run

        prepare_run()
        sys.exit(_main_of_run())
    if sys.argv[1:2] == ["serve"] and not _HELP & set(sys.argv[2:]):
        from ullage.cli.early import prepare_run

        prepare_run()
    from ullage.cli.app import app

    app(prog_name="ullage")


def _main_of_run() -> int:
    """Run `ullage run`, whose exit codes are the command's: wrong usage is 125, not 2."""
    from typer.exceptions import TyperException

    from ullage.cli.app import app

    try:
        return int(app(prog_name="ullage", standalone_mode=False) or 0)
    except TyperException as error:
        words = getattr(error, "format_message", error.__str__)()
        sys.stderr.write(f"ullage: {words} (see `ullage run --help`)\n")
        return 125


if __name__ == "__main__":
    main()
