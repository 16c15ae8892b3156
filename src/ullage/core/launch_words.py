"""Recognises a Dataflow launch in the words of a command. Pure text.

A command may be rewritten only where it is certain what its words mean: a Python script or
module, a Java class or jar. Everything else that looks like a launch is named with the reason
why it is left alone: shell text, console scripts, Go, gcloud, build tools. Not here: what the
options mean (`core.launch_options`), rewriting (`core.launch_flags`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from posixpath import basename, splitext

from ullage.core.command_line import Role, Word, dissect, program_name
from ullage.core.launch import DECISION_LABEL, Sdk
from ullage.core.suffixes import suffix

OWN_RUNNER = "ullage.beam.dataflowrunner"
"""In lower case: the runner that sizes the job itself."""
OWN_PREFIX = "ullage_"
"""How options begin that are Ullage's own among a pipeline's."""

SIZES_ITSELF = "its runner sizes the job itself"
"""The reason why a launch by our own runner is left alone; it can be planned nevertheless."""

_ALIASES = {
    "experiment": "experiments",
    "label": "labels",
    "resource_hint": "resource_hints",
    "dataflow_service_option": "dataflow_service_options",
    "machine_type": "worker_machine_type",
    "flex_rsgoal": "flexrs_goal",
}
_GCLOUD_LAUNCHES = (
    ("dataflow", "flex-template", "run"),
    ("dataflow", "jobs", "run"),
)
_MENTION = re.compile(r"-runner[=\s'\"]+[\w.]*dataflow", re.ASCII | re.IGNORECASE)
_TOOLS = frozenset(
    (
        *("pytest", "unittest", "nox", "tox", "pdb", "debugpy", "cProfile", "profile"),
        *("trace", "coverage", "timeit", "pip", "venv"),
    )
)
"""Modules that take a pipeline's flags for their own, or may."""
_MAX_TEXT = 65_536
_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchWords:
    """A command that launches a Dataflow job.

    sdk: None where it cannot be told; then nothing can be planned. options: Beam's own
    (Python) option word -> its values in order, "true" for a flag. script: what names the job
    where no job name is given. why_not: why the words are left alone; "" = it can be rewritten.
    own_start, own_end: where in the command the pipeline's own options begin, and where
    flags are added.
    """

    sdk: Sdk | None
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    script: str = ""
    why_not: str = ""
    is_gcloud: bool = False
    own_start: int = 0
    own_end: int

    def last(self, name: str) -> str | None:
        """Return the value of an option that counts: the last one."""
        values = self.options.get(name, ())
        return values[-1] if values else None

    def is_set(self, name: str) -> bool:
        """Say whether a flag is on."""
        return is_true(self.last(name))


def is_true(text: str | None) -> bool:
    """Say whether an option's value switches it on."""
    return text is not None and text.strip().lower() not in ("", "false", "0", "none")


def is_dataflow_runner(name: str) -> bool:
    """Say whether a runner's name means Dataflow, as Beam reads it.

    >>> is_dataflow_runner("dataflow"), is_dataflow_runner("ullage.beam.DataflowRunner")
    (True, True)
    >>> is_dataflow_runner("DirectRunner"), is_dataflow_runner("my.DataflowRunnerStub")
    (False, False)
    """
    lower = name.strip().lower()
    return lower in ("dataflow", "dataflowrunner") or lower.endswith(".dataflowrunner")


def read_launch(argv: Sequence[str]) -> LaunchWords | None:
    """Return what `argv` launches on Dataflow, None where it is another command.

    Never fails, whatever the words hold.

    >>> found = read_launch(["python3", "etl.py", "--runner=DataflowRunner", "--job_name=orders"])
    >>> found.sdk.value, found.last("job_name"), found.why_not
    ('python', 'orders', '')
    >>> read_launch(["python3", "etl.py", "--runner=DirectRunner"]) is None
    True
    """
    if not any("dataflow" in word.lower() for word in argv):
        return None
    words = dissect(argv)
    at = _subject_at(words)
    if at is None:
        return _unclear(argv, "its program cannot be told")
    programs = [word for word in words[: at + 1] if word.role is Role.PROGRAM]
    program = program_name(programs[-1].text) if programs else ""
    if program == "gcloud":
        return _gcloud(argv, at)
    if at >= len(argv) or argv[at] != words[at].text:
        return _unclear(argv, "it is text for a shell; give the launch itself to `ullage run`")
    sdk = _sdk_of(program, words[at])
    if sdk is Sdk.GO:
        return _go(argv, at)
    if sdk is None:
        return _unclear(
            argv,
            f"{argv[at][:40]!a} is no Python pipeline and no Java class: start the pipeline "
            "by `python FILE` or `python -m MODULE`, or use --runner=ullage.beam.DataflowRunner",
        )
    return _pipeline(argv, at, sdk, words[at])


# -- which command it is ---------------------------------------------------------------------


def _subject_at(words: Sequence[Word]) -> int | None:
    """Return the index of the word that says what runs: script, module, code, or program.

    Up to there words and arguments are one to one.
    """
    program_at = None
    for at, word in enumerate(words):
        if word.role in (Role.SCRIPT, Role.MODULE, Role.CODE):
            return at if program_at is None or _runs_scripts(words[program_at].text) else program_at
        if word.role is Role.PROGRAM:
            if program_at is not None:
                return program_at
            program_at = at
    return program_at


def _runs_scripts(program: str) -> bool:
    return program_name(program) in ("python", "pypy", "java", "bash", "sh", "dash", "zsh", "ksh")


def _sdk_of(program: str, subject: Word) -> Sdk | None:
    is_python_file = subject.role is not Role.CODE and suffix(subject.text) == ".py"
    if subject.role is Role.MODULE and subject.text.partition(".")[0] in _TOOLS:
        return None
    if program in ("python", "pypy") or (program != "java" and is_python_file and not program):
        return Sdk.PYTHON
    if subject.role is Role.PROGRAM and is_python_file:
        return Sdk.PYTHON  # ./etl.py
    return {"java": Sdk.JAVA, "go": Sdk.GO}.get(program)


def _unclear(argv: Sequence[str], why: str) -> LaunchWords | None:
    """Return a launch that is left alone, None where no runner is named at all."""
    if _MENTION.search(" ".join(argv)[:_MAX_TEXT]) is None:
        return None
    return LaunchWords(sdk=None, why_not=why, own_end=len(argv))


def _pipeline(argv: Sequence[str], at: int, sdk: Sdk, subject: Word) -> LaunchWords | None:
    end = argv.index("--", at + 1) if "--" in argv[at + 1 :] else len(argv)
    own = argv[at + 1 : end]
    options = _java_options(own) if sdk is Sdk.JAVA else _python_options(own)
    runner = options.get("runner", ("",))[-1]
    if not is_dataflow_runner(runner):
        behind = _python_options(argv[end + 1 :]).get("runner", ("",))[-1]
        if runner or not is_dataflow_runner(behind):
            return None
        return LaunchWords(sdk=None, why_not="its runner stands behind `--`", own_end=len(argv))
    if {"-h", "--help", "--helpfull"} & set(own):
        return None
    is_code = subject.role is Role.CODE
    launch = LaunchWords(
        sdk=sdk,
        options=options,
        script="" if is_code else _script_name(subject),
        own_start=at + 1,
        own_end=end,
        why_not=_why_not(options, runner),
    )
    if (
        is_code
        and not launch.why_not
        and not (options.get("job_name") or options.get("ullage_name"))
    ):
        why = "a pipeline that is given as text has no name: add --job_name"
        return LaunchWords(sdk=sdk, options=options, why_not=why, own_end=end)
    return launch


def _script_name(subject: Word) -> str:
    """Return a name that comes out the same for a script's path and a class."""
    if subject.role is Role.MODULE or suffix(subject.text) not in (".py", ".jar"):
        return subject.text.rpartition(".")[2] or subject.text
    return splitext(basename(subject.text))[0]


def _why_not(options: Mapping[str, tuple[str, ...]], runner: str) -> str:
    if is_true(options.get("ullage_off", ("",))[-1]):
        return "--ullage_off was given"
    if runner.strip().lower() == OWN_RUNNER:
        return SIZES_ITSELF
    if any(f"{DECISION_LABEL}=" in label for label in options.get("labels", ())):
        return f"it has been sized already (label {DECISION_LABEL})"
    if "template_location" in options:
        return "it makes a template and starts no job: size the launch of the template"
    return ""


def _go(argv: Sequence[str], at: int) -> LaunchWords | None:
    options = _python_options([re.sub(r"^-(?=[a-z])", "--", word) for word in argv[at + 1 :]])
    if not is_dataflow_runner(options.get("runner", ("",))[-1]):
        return None
    files = [word for word in argv[at + 1 :] if not word.startswith("-") and word != "run"]
    return LaunchWords(
        sdk=Sdk.GO,
        options=options,
        script=splitext(basename(files[0]))[0] if files else "",
        why_not="the flags of a Go program are its own: add them where it takes them",
        own_end=len(argv),
    )


def _gcloud(argv: Sequence[str], at: int) -> LaunchWords | None:
    rest = argv[at + 1 :]
    words = tuple(word for word in rest if not word.startswith("-"))
    if not any(words[: len(launch)] == launch for launch in _GCLOUD_LAUNCHES):
        return None
    options = {name.replace("-", "_"): values for name, values in _python_options(rest).items()}
    name = words[3] if len(words) > 3 else ""
    renamed = {
        "job_name": (name,) if name else (),
        "experiments": options.get("additional_experiments", ()),
        "labels": options.get("additional_user_labels", ()),
    }
    return LaunchWords(
        sdk=Sdk.PYTHON,
        options={**options, **{key: values for key, values in renamed.items() if values}},
        script=name,
        is_gcloud=True,
        why_not="gcloud launches a template: add the flags yourself (it is taken for a Python one)",
        own_end=len(argv),
    )


# -- options -----------------------------------------------------------------------------------


def canonical_name(word: str) -> str:
    """Return an option's name as Beam's Python SDK spells it in full.

    >>> canonical_name("workerMachineType"), canonical_name("label")
    ('worker_machine_type', 'labels')
    """
    snake = _CAPITAL.sub(r"_\1", word).lower()
    return _ALIASES.get(snake, snake)


def _python_options(words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the options of argparse's words: `--name=value`, `--name value`, `--name`."""
    found: dict[str, tuple[str, ...]] = {}
    pending = ""
    for word in words:
        if pending and not word.startswith("-"):
            found[pending] = (*found[pending][:-1], word)
            pending = ""
            continue
        pending = ""
        if not word.startswith("--") or len(word) < 3:
            continue
        name, equals, value = word[2:].partition("=")
        name = _ALIASES.get(name, name)
        found[name] = (*found.get(name, ()), value if equals else "true")
        pending = "" if equals else name
    return found


def _java_options(words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the options of Beam's Java SDK: `--name=value` and `--name` only."""
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            name = canonical_name(name)
            found[name] = (*found.get(name, ()), value if equals else "true")
    return found
