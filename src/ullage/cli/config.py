"""`ullage config check`: what the settings say, and whom they mean on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ullage.serve_config import ServeConfig

app = typer.Typer(name="config", help="The settings.", no_args_is_help=True)


@app.callback()
def _main() -> None:
    """The settings."""


@app.command()
def check(
    strict: Annotated[
        bool, typer.Option("--strict", help="End with 3 where something is hardly meant.")
    ] = False,
) -> None:
    """Read all settings, say what each workload selects now, and what is hardly meant."""
    from ullage.cli.reading import put, say
    from ullage.cli.serving import EXIT_FINDINGS, loaded, told
    from ullage.outcomes.render import plural, visible

    with told():
        settings, config = loaded()
        lines, warnings = _selected(config)
    put("".join(f"{visible(line)}\n" for line in lines))
    for words in (*config.warnings, *warnings):
        say(f"warning: {words}")
    mode = "acting is on" if config.settings.is_acting else "observing only (serve.act is off)"
    say(f"settings from {settings.source}: {plural(len(config.specs), 'workload')}, {mode}")
    if strict and (config.warnings or warnings):
        raise typer.Exit(EXIT_FINDINGS)


def _selected(config: ServeConfig) -> tuple[list[str], list[str]]:
    """Return a line per workload, and what is wrong with whom they select."""
    from ullage.bootstrap_serve import SpecBook, adapters
    from ullage.core.errors import AdapterError
    from ullage.outcomes.render import plural

    made = adapters(config, SpecBook(lambda: (), config.specs))
    lines, warnings, owners = [], [], dict[str, str]()
    try:
        for spec in config.specs:
            finder = made.finders.get(spec.kind)
            name = f"workload {spec.workload_key!a}"
            if finder is None:
                warnings.append(f"{name}: no {spec.kind} here ({made.missing[spec.kind]})")
                continue
            try:
                found = finder.find(spec)
            except AdapterError as error:
                warnings.append(f"{name}: {error}")
                continue
            lines.append(
                f"{spec.workload_key}: {spec.kind} {spec.selector} ({spec.mode}), "
                f"{plural(len(found), 'live target')}"
            )
            if not found and spec.selector.strip():
                warnings.append(f"{name}: its selector matches nothing now")
            for target in found:
                other = owners.setdefault(target.target_id, spec.workload_key)
                if other != spec.workload_key:
                    warnings.append(
                        f"{target.target_id} is selected by {other!a} and {spec.workload_key!a}: "
                        "neither may act on it"
                    )
    finally:
        for source in made.sources.values():
            source.close()
    return lines, warnings
