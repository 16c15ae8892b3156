"""`ullage run`: the arguments, and the way from them to a supervised run and its end block."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ullage.outcomes.formats import TextFormat

if TYPE_CHECKING:
    from ullage.cli.run_options import RunOptions
    from ullage.config import Settings
    from ullage.control.run import RunPorts, RunReport, RunRequest
    from ullage.core.service_registry import ServiceRegistry
    from ullage.core.workload import Workload


class Growth(StrEnum):
    """Whether the limit may be raised while the command runs."""

    ON = "on"
    OFF = "off"


def run(
    command: Annotated[list[str], typer.Argument(help="The command, after `--`.", metavar="CMD")],
    name: Annotated[str | None, typer.Option(help="What the workload is called.")] = None,
    request: Annotated[
        str | None, typer.Option(help="Where to start without history, e.g. 4GiB.")
    ] = None,
    max_memory: Annotated[
        str | None, typer.Option(help="Ceiling (default: what the host can give).")
    ] = None,
    limit: Annotated[
        str | None, typer.Option(help="Fixed limit: no growth, no waiting; a baseline.")
    ] = None,
    growth: Annotated[Growth, typer.Option(help="Raise the limit while it runs.")] = Growth.ON,
    retries: Annotated[
        int, typer.Option(min=0, max=100, help="Further attempts after an OOM kill.")
    ] = 0,
    observe: Annotated[bool, typer.Option("--observe", help="Only measure.")] = False,
    service: Annotated[bool, typer.Option("--service", help="`serve` may move the limit.")] = False,
    feature: Annotated[
        list[str] | None,
        typer.Option(help="A fact known before the start, k=v; may be repeated."),
    ] = None,
    failure_budget: Annotated[
        float | None,
        typer.Option(min=0.0001, max=0.5, help="Share of first attempts that may fail (0.02)."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="batch, batch-tolerant or batch-critical.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No end block.")] = False,
    no_record: Annotated[
        bool, typer.Option("--no-record", help="Neither read nor write the history.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show a Dataflow job's worker; start nothing.")
    ] = False,
    output: Annotated[
        TextFormat, typer.Option("--output", "-o", help="How --plan shows it.")
    ] = TextFormat.TEXT,
) -> None:
    """Run a command under memory control: it is kept alive, learned from, and sized next time.

    A command that launches a Dataflow job gets the job's worker into its options.
    """
    from ullage.cli.run_options import RunOptions, build_request
    from ullage.core.errors import UllageError

    options = RunOptions(
        name=name,
        request=request,
        max_memory=max_memory,
        limit=limit,
        can_grow=growth is Growth.ON,
        retries=retries,
        is_observing=observe,
        is_service=service,
        features=tuple(feature or ()),
        failure_budget_ratio=failure_budget,
        preset=preset,
        json_file=json_file,
        is_recording=not no_record,
    )
    workload: Workload | None = None
    argv = tuple(command)
    try:
        from ullage.config import load_settings

        settings = load_settings()
        if _names_dataflow(command) or plan:
            options, argv = _size(options, command, settings, is_plan_only=plan, output=output)
        prepared = replace(build_request(options, command, settings), argv=argv)
        workload = prepared.workload
        report = _supervise(prepared, settings, is_recording=options.is_recording)
    except UllageError as error:
        _refuse(error, workload, options.json_file)
    _finish(report, options.json_file, settings, is_quiet=quiet)


def _names_dataflow(command: list[str]) -> bool:
    """Say whether it is worth looking for a launch: every run pays for this line only."""
    return any("dataflow" in word.lower() for word in command)


def _size(
    options: RunOptions,
    command: list[str],
    settings: Settings,
    *,
    is_plan_only: bool,
    output: TextFormat,
) -> tuple[RunOptions, tuple[str, ...]]:
    """Return the launcher's own options and its sized command; `--plan` ends here."""
    from ullage.cli.run_launch import launch_of, launch_text, plan_output, size_launch
    from ullage.cli.run_options import build_request
    from ullage.core.errors import ConfigError

    launch = launch_of(command)
    if launch is None:
        if is_plan_only:
            raise ConfigError(
                "--plan is for commands that launch a Dataflow job (--runner=DataflowRunner); "
                "for others see `ullage explain`"
            )
        return options, tuple(command)
    if options.is_observing and not is_plan_only:
        return options, tuple(command)
    if launch.sdk is None and not is_plan_only:
        _say(f"Dataflow launch left as it is: {launch.why_not}")
        return options, tuple(command)
    is_plan_only = is_plan_only or launch.is_set("ullage_plan")
    launcher = replace(options, name=None)  # --name is the job's; the launcher is another workload
    build_request(launcher, command, settings)  # what is wrong with it is said before recording
    sized = size_launch(command, launch, options, settings, is_plan_only=is_plan_only)
    if is_plan_only:
        typer.echo(plan_output(sized, output), nl=False)
        _exit(0)
    _write(launch_text(sized).rstrip("\n"))
    return options if sized.plan is None else launcher, sized.argv


def _supervise(request: RunRequest, settings: Settings, *, is_recording: bool) -> RunReport:
    from ullage import bootstrap
    from ullage.cli.early import prepare_run
    from ullage.control.attempt import WatchSettings
    from ullage.control.owners import is_owner_alive, own_owner
    from ullage.control.run import RunPorts, supervise_run
    from ullage.control.signals import SignalQueue

    sentinel, _ = prepare_run()
    clock = bootstrap.SystemClock()
    store = bootstrap.open_store(settings) if is_recording else None
    if store is not None:
        store.close_orphans(is_owner_alive, at=clock.now())
    sandboxes = bootstrap.SandboxFactory()
    ports = RunPorts(
        store=store,
        policy=bootstrap.run_policy(),
        sandboxes=sandboxes,
        join_ledger=bootstrap.ledger_joiner(settings, sentinel_pid=sentinel.pid),
        clock=clock,
        entropy=os.urandom,
        signals=SignalQueue(),
        sentinel=sentinel,
        owner=own_owner(),
        say=_say,
        settings=WatchSettings(
            poll_s=settings.poll_s,
            fast_poll_s=settings.fast_poll_s,
            wait_for_memory_s=settings.wait_for_memory_s,
        ),
        services=_registry(settings) if request.is_service else None,
    )
    _warn_of_observing(ports, request)
    try:
        return supervise_run(request, ports)
    finally:
        if store is not None:
            store.close()


def _registry(settings: Settings) -> ServiceRegistry:
    from ullage.bootstrap_registry import StoredServices

    return StoredServices(settings)


def _warn_of_observing(ports: RunPorts, request: RunRequest) -> None:
    if ports.sandboxes.reason and not request.observe_only:
        _say(f"only observing: {ports.sandboxes.reason}; no limit is set (see `ullage doctor`)")


def _refuse(error: Exception, workload: Workload | None, json_file: Path | None) -> NoReturn:
    """End before the command has started: one line, the JSON that was asked for, the code."""
    from ullage.control.launch import EXIT_OWN_FAILURE
    from ullage.outcomes.run_json import refused_result, write_json

    exit_code = getattr(error, "exit_code", EXIT_OWN_FAILURE)
    _say(str(error))
    if json_file is not None and json_file.parent.is_dir():
        key = None if workload is None else workload.key
        result = refused_result(key, exit_code=exit_code, reason=str(error))
        try:
            write_json(json_file, result)
        except OSError as failure:
            _say(f"--json {json_file}: {failure.strerror}")
    _exit(exit_code)


def _finish(
    report: RunReport, json_file: Path | None, settings: Settings, *, is_quiet: bool
) -> NoReturn:
    from ullage.outcomes.end_block import end_block
    from ullage.outcomes.run_json import run_result, write_json

    for note in report.notes:
        _say(note)
    if json_file is not None:
        try:
            write_json(json_file, run_result(report.run, report.following))
        except OSError as error:
            _say(f"--json {json_file}: {error.strerror}; the result is not written")
    if not is_quiet:
        block = end_block(
            report.run,
            report.decision,
            report.following,
            prices=settings.prices,
            is_service=report.following is None,
        )
        _write(block)
    _exit(report.run.exit_code or 0)


def _say(line: str) -> None:
    _write(f"ullage: {line}")


def _write(text: str) -> None:
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # nobody reads stderr any more; the exit code still tells


def _exit(code: int) -> NoReturn:
    raise typer.Exit(code)
