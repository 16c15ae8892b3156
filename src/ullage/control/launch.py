"""Starts the command inside its sandbox and says in shell terms how it ended."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence

from ullage.core.errors import PermanentError, UllageError

EXIT_OWN_FAILURE = 125
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127


class CommandNotStartedError(UllageError):
    """The command cannot be executed. `exit_code` is 126 or 127, as `env` has it."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def check_command(argv: Sequence[str], *, search_path: str | None) -> None:
    """Raise CommandNotStartedError if argv[0] cannot be executed; nothing has happened by then."""
    program = argv[0]
    if "\0" in "".join(argv):
        raise CommandNotStartedError(
            "the command line holds a NUL byte", exit_code=EXIT_OWN_FAILURE
        )
    if shutil.which(program, path=search_path) is not None:
        return
    if os.path.isdir(program):
        raise CommandNotStartedError(f"{program!a} is a folder", exit_code=EXIT_NOT_EXECUTABLE)
    if os.sep in program and os.path.exists(program):
        raise CommandNotStartedError(
            f"{program!a} is not executable; try `chmod +x` or name its interpreter",
            exit_code=EXIT_NOT_EXECUTABLE,
        )
    raise CommandNotStartedError(
        f"command {program!a} not found; check the spelling and PATH", exit_code=EXIT_NOT_FOUND
    )


def start_command(
    argv: Sequence[str], *, env: Mapping[str, str], in_child: Callable[[], None]
) -> subprocess.Popen[bytes]:
    """Start `argv` with our own stdin, stdout, stderr and inherited descriptors.

    in_child: runs between fork and exec (enter the sandbox, restore the signal mask).
    Raises CommandNotStartedError, or PermanentError if the sandbox could not be entered.
    """
    try:
        return subprocess.Popen(
            argv,
            env=env,
            close_fds=False,  # a shell's <(...) and make's job server must go through
            preexec_fn=in_child,
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CommandNotStartedError(
            f"command {argv[0]!a} or its interpreter was not found", exit_code=EXIT_NOT_FOUND
        ) from error
    except PermissionError as error:
        raise CommandNotStartedError(
            f"{argv[0]!a} is not executable", exit_code=EXIT_NOT_EXECUTABLE
        ) from error
    except OSError as error:
        raise CommandNotStartedError(
            f"{argv[0]!a} cannot be executed: {error.strerror}", exit_code=EXIT_NOT_EXECUTABLE
        ) from error
    except subprocess.SubprocessError as error:
        raise PermanentError(
            "the command could not be moved into its cgroup (was it removed meanwhile?)"
        ) from error


def shell_exit_code(returncode: int) -> int:
    """Return the shell's exit code for a Popen return code: 128 + n for signal n.

    >>> shell_exit_code(3), shell_exit_code(-9)
    (3, 137)
    """
    return 128 - returncode if returncode < 0 else returncode
