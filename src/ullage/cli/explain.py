"""`ullage explain`: what a workload's next run would get, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from ullage.cli.run import Growth
from ullage.outcomes.formats import TextFormat

if TYPE_CHECKING:
    from ullage.config import Settings
    from ullage.core.decision import RunQuestion
    from ullage.core.ports import RunReader
    from ullage.core.workload import Run
    from ullage.outcomes.explain import Explanation

HISTORY_RUNS = 500
"""How many past runs a decision sees at most."""


def explain(
    workload: Annotated[
        str, typer.Argument(help="The workload, as `ullage get workloads` names it.")
    ],
    feature: Annotated[
        list[str] | None,
        typer.Option(help="A fact known before the start, k=v; may be repeated."),
    ] = None,
    retries: Annotated[int, typer.Option(min=0, max=100, help="Further attempts allowed.")] = 0,
    growth: Annotated[Growth, typer.Option(help="Raise the limit while it runs.")] = Growth.ON,
    output: Annotated[
        TextFormat, typer.Option("--output", "-o", help="How to show it.")
    ] = TextFormat.TEXT,
) -> None:
    """Say in one sentence what the next run would get and why, with the deciding runs."""
    from ullage.cli.reading import find_workload, put, reading
    from ullage.outcomes.explain import explanation_json, explanation_text
    from ullage.outcomes.render import to_json, to_yaml, visible

    with reading() as (settings, reader):
        found = find_workload(reader, workload)
        assert reader is not None
        runs = reader.runs(found.key, limit=HISTORY_RUNS)
        explanation = _explain(
            settings,
            reader,
            runs,
            features=tuple(feature or ()),
            retries=retries,
            can_grow=growth is Growth.ON,
        )
    match output:
        case TextFormat.JSON:
            put(to_json(explanation_json(explanation)))
        case TextFormat.YAML:
            put(to_yaml(explanation_json(explanation)))
        case TextFormat.TEXT:
            put("".join(f"{visible(line)}\n" for line in explanation_text(explanation)))


def _explain(
    settings: Settings,
    reader: RunReader,
    runs: list[Run],
    *,
    features: tuple[str, ...],
    retries: int,
    can_grow: bool,
) -> Explanation:
    from ullage import bootstrap
    from ullage.core.decide import decide_run
    from ullage.core.view import history_of, moment_of_view
    from ullage.outcomes.explain import explain_decision

    question = _question(settings, runs, features=features, retries=retries, can_grow=can_grow)
    if retries and not can_grow:
        question = replace(question, spending=reader.spending())
    question = replace(question, asked_at=moment_of_view(runs, now=question.asked_at))
    history = history_of(runs, at=question.asked_at)
    related = None
    if len(history) == 0:
        others = reader.runs(limit=HISTORY_RUNS)
        question = replace(question, asked_at=moment_of_view(others, now=question.asked_at))
        related = history_of(others, at=question.asked_at)
    decision = decide_run(history, question, bootstrap.run_policy(), related=related)
    return explain_decision(decision, runs, workload=runs[0].workload, price=settings.prices)


def _question(
    settings: Settings, runs: list[Run], *, features: tuple[str, ...], retries: int, can_grow: bool
) -> RunQuestion:
    """Return what `ullage run` would ask now; features not given are the latest run's."""
    from ullage import bootstrap
    from ullage.core.allocation import FLOOR_BYTES, Bounds, Prices
    from ullage.core.booking import reserve_bytes
    from ullage.core.decision import RunQuestion
    from ullage.core.workload import Features

    last, given = runs[0].features, bootstrap.measure_features([], "/", features)
    named = {*given.numbers, *given.labels}
    available_bytes, total_bytes = bootstrap.read_memory()
    reserved_bytes = reserve_bytes(
        total_bytes, ratio=settings.reserve_ratio, min_bytes=settings.reserve_min_bytes
    )
    return RunQuestion(
        workload_key=runs[0].workload.key,
        asked_at=bootstrap.SystemClock().now(),
        features=Features(
            numbers={k: v for k, v in last.numbers.items() if k not in named} | dict(given.numbers),
            labels={k: v for k, v in last.labels.items() if k not in named} | dict(given.labels),
            sources=dict.fromkeys((*last.numbers, *last.labels), "as in the latest run")
            | dict(given.sources),
        ),
        bounds=Bounds(ceiling_bytes=max(FLOOR_BYTES, available_bytes - reserved_bytes)),
        attempts_left=retries,
        can_grow=can_grow,
        failure_budget_ratio=settings.failure_budget_ratio,
        prices=Prices(rho=settings.rho),
    )
