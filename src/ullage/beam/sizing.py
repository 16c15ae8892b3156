"""Sizes the workers of a Dataflow job from its options: plan, tell, record, write back.

`size` is for pipelines that build their options in code; the runner (`dataflow_runner`) goes
the same way and knows the pipeline itself. Words go to stderr, a plan that was asked for to
stdout.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from posixpath import basename, splitext

import apache_beam
from apache_beam.options.pipeline_options import PipelineOptions

from ullage.beam.options import UllageLaunchOptions, option_words, set_options
from ullage.core.launch import DECISION_LABEL, Sdk, WorkerPlan
from ullage.core.launch_options import LaunchContext, launched_job
from ullage.core.launch_words import is_dataflow_runner, is_true
from ullage.core.prices import REGION
from ullage.core.workload import Run

AGENT = "ullage_agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFacts:
    """What only the pipeline knows, not its options."""

    min_ram_bytes: int | None = None
    """The largest hint of a transform."""
    is_unbounded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SizedJob:
    """A job whose options carry its plan. run: as it was recorded, None where it was not."""

    plan: WorkerPlan
    run: Run | None


def size(options: PipelineOptions, *, name: str | None = None) -> PipelineOptions:
    """Give the Dataflow job of `options` the workers that its history asks for.

    Returns the same options, changed; options for another runner come back as they are, and so
    do those that are sized already. name: what the workload is called (default: --ullage_name,
    else the job's name). With --ullage_plan the plan is printed and the program ends with 0.
    Raises ConfigError for a launch that the service would refuse; nothing has been sent then.
    """
    words = option_words(options)
    runner = (words.get("runner") or ("",))[-1]
    if is_dataflow_runner(runner):
        size_job(options, words, PipelineFacts(), name=name)
    return options


def size_job(
    options: PipelineOptions,
    words: dict[str, tuple[str, ...]],
    facts: PipelineFacts,
    *,
    name: str | None = None,
) -> SizedJob | None:
    """Plan the job, tell, record, and put the plan into `options`; None where it is left alone."""
    own = options.view_as(UllageLaunchOptions)
    if own.ullage_off or any(f"{DECISION_LABEL}=" in each for each in words.get("labels", ())):
        return None
    from ullage import bootstrap
    from ullage.config import load_settings
    from ullage.control.job_launch import plan_launch, record_launch
    from ullage.outcomes.worker_plan import plan_text
    from ullage.policies.workers import PlanRules

    settings = load_settings()
    job = launched_job(words, _context(facts, name))
    is_sent = not (own.ullage_plan or is_true((words.get("dry_run") or ("",))[-1]))
    store = None
    if is_sent or (settings.state_dir / "state.db").exists():
        store = bootstrap.open_store(settings, read_only=not is_sent)
    try:
        ports = bootstrap.launch_ports(store)
        rules = PlanRules(failure_budget_ratio=settings.failure_budget_ratio)
        plan = plan_launch(job, ports, rules, book=settings.price_book)
        if own.ullage_plan:
            print(plan_text(plan), end="", flush=True)  # noqa: T201 - what was asked for
            raise SystemExit(0)
        run = record_launch(plan, ports) if is_sent else None
    finally:
        if store is not None:
            store.close()
    sys.stderr.write(plan_text(plan))
    planned = dict(plan.options())
    if own.ullage_agent or find_spec(AGENT) is not None:
        planned["beam_plugins"] = (AGENT,)
    set_options(options, planned)
    return SizedJob(plan=plan, run=run)


def _context(facts: PipelineFacts, name: str | None) -> LaunchContext:
    from ullage import bootstrap

    return LaunchContext(
        sdk=Sdk.PYTHON,
        sdk_version=apache_beam.__version__,
        script=_script(),
        name=name,
        region=os.environ.get("CLOUDSDK_COMPUTE_REGION") or REGION,
        features=bootstrap.measure_features([sys.executable, *sys.argv], os.getcwd(), ()),
        transform_min_ram_bytes=facts.min_ram_bytes,
        is_unbounded=facts.is_unbounded,
    )


def _script() -> str:
    """Return the program's name as `ullage run` would: of `python -m a.b` it is b."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name:
        return str(spec.name.removesuffix(".__main__").rpartition(".")[2])
    return splitext(basename(sys.argv[0] if sys.argv else ""))[0]
