"""Endings of file names, and what they say: code, settings or data."""

from __future__ import annotations

import re
from posixpath import basename


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CODE_SUFFIXES = _words(
    ".py .pyw .pyc .pyz .ipynb .sh .bash .zsh .sql .jar .war .js .mjs .ts .r .R .jl .pl .rb .php "
    ".lua .scala .sc .go .rs .c .cc .cpp .java .class .groovy .nf .smk .awk .sed .whl .so .exe "
    ".wasm .jq .mk"
)
"""Code: it says which workload it is, and is no input."""

CONFIG_SUFFIXES = _words(".yaml .yml .toml .ini .cfg .conf .properties .env .lock .pem")
"""Settings: they say which workload it is, and are no input."""

DATA_SUFFIXES = _words(
    ".csv .tsv .txt .json .jsonl .ndjson .xml .parquet .orc .avro .feather .arrow .ipc .pb .npy "
    ".npz .pkl .pickle .h5 .hdf5 .nc .zarr .mat .rds .sas7bdat .dta .sav .xls .xlsx .log .gz .bz2 "
    ".xz .zst .lz4 .zip .tar .tgz .7z .bam .sam .cram .fastq .fq .fasta .fa .vcf .bed .gff .gtf "
    ".tif .tiff .png .jpg .jpeg .mp4 .wav .pdf .html .md .db .sqlite .duckdb .bin .dat .data .out "
    ".tmp .dump .shp .geojson .las .laz .root .tfrecord .safetensors .onnx .gguf .lst .list"
)
"""Data: a bare word with one of these endings is a file, not a word."""

_SUFFIX = re.compile(
    r"(?<=.)((?:\.[A-Za-z][A-Za-z0-9]{0,8})?\.(?:gz|bz2|xz|zst|lz4|zip|snappy)"
    r"|\.[A-Za-z][A-Za-z0-9_]{0,8}|\.7z)(?:\.[0-9]+)?$",
    re.ASCII | re.DOTALL,
)


def suffix(path: str) -> str:
    """Return the ending of a file name, of two parts where it is compressed.

    >>> suffix("/data/a.csv.gz"), suffix("part-00017"), suffix("x.log.3")
    ('.csv.gz', '', '.log')
    """
    match = _SUFFIX.search(basename(path[-512:]))
    return match.group(1) if match else ""
