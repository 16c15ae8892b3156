"""Snakemake benchmark files: MiB, names and wildcards from the path, the extended format."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from trace_files import as_run, read_text

from ullage.core.errors import ConfigError
from ullage.core.recorded import ReadOptions
from ullage.core.units import MIB
from ullage.sources.trace_snakemake import SnakemakeBenchmarkReader, named_by_path

READER = SnakemakeBenchmarkReader()
HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time"
ROW = "14.7261\t0:00:14\t487.06\t19615.18\t446.61\t461.81\t5.42\t3.06\t186.02\t29.58"
EXTENDED = (
    HEADER + "\tjobid\trule_name\twildcards\tparams\tthreads\tcpu_usage\tresources\tinput_size_mb"
)


def test_a_row_is_a_run_in_mebibytes_that_ended_when_the_file_was_written(tmp_path: Path) -> None:
    file = tmp_path / "benchmarks" / "map" / "A.tsv"
    file.parent.mkdir(parents=True)
    file.write_text(f"{HEADER}\n{ROW}\n")
    os.utime(file, (1770000000, 1770000000))
    (found,) = READER.read(str(file), options=ReadOptions(), tell=lambda done, total: None)
    run = as_run(found)  # type: ignore[arg-type]
    assert run.workload.key == "map"
    assert run.attempts[0].peak_bytes == int(487.06 * MIB)
    assert run.attempts[0].runtime.total_seconds() == pytest.approx(14.7261)
    assert run.known_at is not None
    assert run.known_at.timestamp() == pytest.approx(1770000000)


def test_repeats_are_runs_of_their_own(tmp_path: Path) -> None:
    found, _ = read_text(READER, tmp_path, f"{HEADER}\n{ROW}\n{ROW}\n{ROW}\n")
    assert len({as_run(each).run_id for each in found}) == 3


def test_what_could_not_be_measured_is_no_zero(tmp_path: Path) -> None:
    found, rejected = read_text(
        READER, tmp_path, f"{HEADER}\n{ROW.replace('487.06', '-')}\n{ROW.replace('487.06', 'NA')}\n"
    )
    assert [each.peak_bytes for each in found] == [None, None]
    assert not rejected


def test_an_old_file_has_fewer_columns(tmp_path: Path) -> None:
    text = "s\th:m:s\tmax_rss\tmax_vms\n1.0691\t0:00:01\t28.57\t271.92\n"
    assert READER.recognises(text.encode())
    found, _ = read_text(READER, tmp_path, text)
    assert found[0].peak_bytes == pytest.approx(28.57 * MIB)


@pytest.mark.parametrize(
    "objects",
    [
        ("{'sample': 'A', 'lane': 2}", "{'mem_mb': 2048, 'mem_mib': 1954}", "{'a.fq': 10.5}"),
        ('{"sample": "A", "lane": 2}', '{"mem_mb": 2048, "mem_mib": 1954}', '{"a.fq": 10.5}'),
    ],
)
def test_the_extended_format_tells_rule_wildcards_and_resources(
    tmp_path: Path, objects: tuple[str, str, str]
) -> None:
    wildcards, resources, sizes = objects
    row = f"{ROW}\t7\tmap\t{wildcards}\t{{}}\t4\t200.0\t{resources}\t{sizes}"
    found, rejected = read_text(READER, tmp_path, f"{EXTENDED}\n{row}\n")
    assert not rejected
    assert found[0].name == "map"
    assert found[0].limit_bytes == 1954 * MIB
    assert found[0].features.labels == {"sample": "A", "lane": "2"}
    assert found[0].features.numbers == {"threads_count": 4, "input_bytes": 10.5 * MIB}


@pytest.mark.parametrize("hostile", ["{" * 5_000, "{__import__('os')}", "{'a': 1e999}", "{1:2"])
def test_an_object_that_is_none_says_nothing(tmp_path: Path, hostile: str) -> None:
    row = f"{ROW}\t7\tmap\t{hostile}\t{{}}\t4\t200.0\t{hostile}\t{hostile}"
    found, _ = read_text(READER, tmp_path, f"{EXTENDED}\n{row}\n")
    assert found[0].limit_bytes is None
    assert "input_bytes" not in found[0].features.numbers


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("/p/benchmarks/map/A.tsv", "map"),
        ("/p/results/benchmark/map/x/y.txt", "map"),
        ("/p/bench/map.benchmark.txt", "map"),
        ("/p/elsewhere/map.bench.tsv.gz", "map"),
        ("/p/benchmarks/A.map.txt", "A.map"),
    ],
)
def test_names_by_the_path(path: str, rule: str) -> None:
    assert named_by_path(path, None) == (rule, {})


def test_a_pattern_tells_rule_and_wildcards(tmp_path: Path) -> None:
    options = ReadOptions(path_pattern="benchmarks/{sample}.{rule}.txt")
    found, _ = read_text(
        READER, tmp_path, f"{HEADER}\n{ROW}\n", name="benchmarks/A.map.txt", options=options
    )
    assert found[0].name == "map"
    assert found[0].features.labels == {"sample": "A"}


@pytest.mark.parametrize("pattern", ["benchmarks/x.txt", "{rule}/{rule}.txt", "b/{rule}.json"])
def test_a_pattern_that_cannot_be_is_an_error(pattern: str) -> None:
    with pytest.raises(ConfigError, match="--pattern"):
        named_by_path("/p/benchmarks/map.txt", pattern)
