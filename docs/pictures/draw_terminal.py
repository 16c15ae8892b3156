"""Draw a program's output as an SVG picture of a terminal: draw_terminal.py TEXT SVG COMMAND.

`make picture` makes docs/pictures/demo.svg of a real run with it; nothing is drawn that was
not printed. Lines between two marks of the demonstration are left out, and said so.
"""

import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

MOST_RUN_LINES = 6
"""Of each round so many runs are shown; the picture says how many more there were."""

COLOURS = {
    r"OOM-KILLED": "bold red",
    r"\bok\b": "green",
    r"raised \d+x": "yellow",
    r"^total.*|^ +Ullage .*": "bold",
    r"#+": "cyan",
}


def shortened(lines: list[str]) -> list[str]:
    """Return the lines with all but the last runs of each round left out."""
    kept: list[str] = []
    runs: list[str] = []
    for line in [*lines, ""]:
        if re.search(r"\d months", line):
            runs.append(line)
            continue
        if len(runs) > MOST_RUN_LINES:
            kept.append(f"  ... {len(runs) - MOST_RUN_LINES} more runs ...")
        kept += [*runs[-MOST_RUN_LINES:], line]
        runs = []
    return kept


def main() -> None:
    """Write the picture."""
    source, target, command = sys.argv[1:]
    lines = Path(source).read_text(encoding="utf-8").splitlines()
    with Path("/dev/null").open("w") as nowhere:
        console = Console(record=True, width=110, file=nowhere, force_terminal=True)
        console.print(Text(f"$ {command}", style="bold"))
        for line in shortened(lines):
            text = Text(line, overflow="fold")
            for pattern, style in COLOURS.items():
                text.highlight_regex(pattern, style)
            console.print(text)
    svg = console.export_svg(title=command)
    # A picture loads nothing from elsewhere: the reader's own monospace font will do.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code", "monospace")
    Path(target).write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
