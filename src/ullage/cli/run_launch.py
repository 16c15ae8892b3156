"""`ullage run` before a Dataflow launch: plan the job's worker, record, rewrite the command.

Imported only where a command names Dataflow. The command that launches is then run like any
other; its own memory is a workload of its own, apart from the job's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ullage.core.errors import ConfigError
from ullage.core.launch import LaunchedJob, Sdk, WorkerPlan
from ullage.core.launch_flags import gcloud_flags, rewrite
from ullage.core.launch_options import LaunchContext, launched_job
from ullage.core.launch_words import SIZES_ITSELF, LaunchWords, read_launch
from ullage.core.prices import REGION
from ullage.outcomes.formats import TextFormat

if TYPE_CHECKING:
    from ullage.cli.run_options import RunOptions
    from ullage.config import Settings

AGENT = "ullage_agent"
"""The module that workers load to report what they need, where the launch asks for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizedLaunch:
    """A launch, its plan, and the command in which the plan is in force.

    plan: None where the SDK cannot be told. argv: as given where it is left alone.
    """

    launch: LaunchWords
    plan: WorkerPlan | None
    argv: tuple[str, ...]

    @property
    def is_rewritten(self) -> bool:
        """Whether the plan is in force."""
        return self.plan is not None and not self.launch.why_not


def launch_of(argv: Sequence[str]) -> LaunchWords | None:
    """Return what `argv` launches on Dataflow, None for any other command."""
    return read_launch(argv)


def size_launch(
    argv: Sequence[str],
    launch: LaunchWords,
    options: RunOptions,
    settings: Settings,
    *,
    is_plan_only: bool,
) -> SizedLaunch:
    """Plan the job that `argv` launches, record the decision unless it is only a plan.

    Raises ConfigError for a launch that the service would refuse, before anything is sent.
    """
    is_advice = launch.is_gcloud or launch.sdk is Sdk.GO
    is_advice = is_advice or (is_plan_only and launch.why_not == SIZES_ITSELF)
    if launch.sdk is None or (launch.why_not and not is_advice):
        return SizedLaunch(launch=launch, plan=None, argv=tuple(argv))
    from ullage import bootstrap
    from ullage.control.job_launch import plan_launch, record_launch
    from ullage.policies.workers import PlanRules

    job = _job_of(argv, launch, launch.sdk, options)
    budget_ratio = options.failure_budget_ratio or settings.failure_budget_ratio
    is_sent = not (is_plan_only or launch.why_not or launch.is_set("dry_run"))
    store = None
    if options.is_recording and (is_sent or (settings.state_dir / "state.db").exists()):
        store = bootstrap.open_store(settings, read_only=not is_sent)
    try:
        ports = bootstrap.launch_ports(store)
        rules = PlanRules(failure_budget_ratio=budget_ratio)
        plan = plan_launch(job, ports, rules, book=settings.price_book)
        if is_sent:
            record_launch(plan, ports)
    finally:
        if store is not None:
            store.close()
    if launch.why_not:
        return SizedLaunch(launch=launch, plan=plan, argv=tuple(argv))
    planned = dict(plan.options())
    if launch.is_set("ullage_agent") and launch.sdk is Sdk.PYTHON:
        planned["beam_plugins"] = (AGENT,)
    return SizedLaunch(
        launch=launch, plan=plan, argv=tuple(rewrite(argv, launch, planned, job=job))
    )


def _job_of(argv: Sequence[str], launch: LaunchWords, sdk: Sdk, options: RunOptions) -> LaunchedJob:
    from ullage import bootstrap

    context = LaunchContext(
        sdk=sdk,
        script=launch.script,
        name=options.name,
        features=bootstrap.measure_features(argv, os.getcwd(), options.features),
        region=os.environ.get("CLOUDSDK_COMPUTE_REGION") or REGION,  # as Beam has it
    )
    return launched_job(launch.options, context)


def launch_text(sized: SizedLaunch) -> str:
    """Return what a person is told about a launch: the plan, or why there is none."""
    from ullage.outcomes.worker_plan import plan_text

    if sized.plan is None:
        return f"ullage: Dataflow launch left as it is: {sized.launch.why_not}\n"
    text = plan_text(sized.plan)
    if sized.launch.is_gcloud:
        flags = " ".join(gcloud_flags(sized.plan.options()))
        return f"{text}  {'gcloud':<9}{flags}\n  {'note':<9}{sized.launch.why_not}\n"
    if sized.launch.why_not:
        return f"{text}  {'note':<9}{sized.launch.why_not}\n"
    return text


def plan_output(sized: SizedLaunch, output: TextFormat) -> str:
    """Return what `--plan` prints. ConfigError where nothing can be planned."""
    from ullage.outcomes.render import to_json, to_yaml
    from ullage.outcomes.worker_plan import plan_json

    if sized.plan is None:
        raise ConfigError(f"nothing to plan: {sized.launch.why_not}")
    if output is TextFormat.TEXT:
        return launch_text(sized)
    record = plan_json(sized.plan) | {"command": list(sized.argv)}
    return to_json(record) if output is TextFormat.JSON else to_yaml(record)
