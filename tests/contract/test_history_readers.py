"""Every reader of other systems' history against the one suite, and all of them side by side."""

from __future__ import annotations

import pytest

from ullage import bootstrap
from ullage.core.ports import HistoryReader
from ullage.testing.history_reader_contract import HistoryReaderContract

RUNS = b"""workload,run_id,started_at,peak_bytes,limit_bytes,runtime_s,outcome
etl,1,2026-11-01T10:00:00,1000000000,2000000000,60,ok
etl,2,2026-11-02T10:00:00,1100000000,2000000000,61,ok
"""
NEXTFLOW = b"""task_id\thash\tnative_id\tname\tstatus\texit\tsubmit\tduration\trealtime\tpeak_rss
1\td6/4a9080\t3711\tRNASEQ:GUNZIP (a.gz)\tCOMPLETED\t0\t2026-02-09 14:44:43.053\t4.9s\t4s\t2.4 MB
2\t65/1b01a6\t3701\tRNASEQ:GUNZIP (b.gz)\tCOMPLETED\t0\t2026-02-09 14:44:43.039\t23s\t22s\t3 MB
"""
SNAKEMAKE = b"""s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time
14.7261\t0:00:14\t487.06\t19615.18\t446.61\t461.81\t5.42\t3.06\t186.02\t29.58
14.7261\t0:00:14\t487.06\t19615.18\t446.61\t461.81\t5.42\t3.06\t186.02\t29.58
"""
SLURM = b"""JobID|JobName|State|ExitCode|Elapsed|MaxRSS|ReqMem|AllocCPUS|NNodes|Start
101|align|COMPLETED|0:0|00:10:00||4G|4|1|2026-11-01T10:00:00
101.batch|batch|COMPLETED|0:0|00:10:00|145792K||4|1|2026-11-01T10:00:00
101.extern|extern|COMPLETED|0:0|00:10:00|992K||4|1|2026-11-01T10:00:00
102|align|COMPLETED|0:0|00:11:00||4G|4|1|2026-11-02T10:00:00
102.batch|batch|COMPLETED|0:0|00:11:00|155792K||4|1|2026-11-02T10:00:00
"""


def _application(number: int) -> bytes:
    return (
        '{"Event":"SparkListenerApplicationStart","App Name":"orders",'
        f'"App ID":"app-{number}","Timestamp":177000000{number}000,"User":"u"}}\n'
        '{"Event":"SparkListenerStageExecutorMetrics","Executor ID":"1","Stage ID":0,'
        '"Stage Attempt ID":0,"Executor Metrics":{"JVMHeapMemory":1000000000}}\n'
        f'{{"Event":"SparkListenerApplicationEnd","Timestamp":177000000{number}999}}\n'
    ).encode()


SPARK = b'{"Event":"SparkListenerLogStart","Spark Version":"3.5.1"}\n' + b"".join(
    map(_application, (1, 2))
)
SAMPLES = {
    "runs": RUNS,
    "nextflow": NEXTFLOW,
    "snakemake": SNAKEMAKE,
    "slurm": SLURM,
    "spark": SPARK,
}
READERS = {reader.format_id: reader for reader in bootstrap.history_readers()}


def test_there_is_a_sample_of_every_format() -> None:
    assert set(READERS) == set(SAMPLES)


@pytest.mark.parametrize("format_id", SAMPLES)
def test_exactly_one_reader_recognises_each_format(format_id: str) -> None:
    knowing = [name for name, reader in READERS.items() if reader.recognises(SAMPLES[format_id])]
    assert knowing == [format_id]


class _Contract(HistoryReaderContract):
    format_id = ""
    more_rows = b""

    @pytest.fixture
    def reader(self) -> HistoryReader:
        return READERS[self.format_id]

    @pytest.fixture
    def sample(self) -> bytes:
        return SAMPLES[self.format_id]

    @pytest.fixture
    def more(self) -> bytes:
        return self.more_rows


class TestRunsFile(_Contract):
    format_id = "runs"
    more_rows = b"etl,3,2026-11-03T10:00:00,1200000000,2000000000,62,ok\n"


class TestNextflow(_Contract):
    format_id = "nextflow"
    more_rows = (
        b"3\taa/1b01a6\t3702\tRNASEQ:STAR\tCOMPLETED\t0\t2026-02-09 15:44:43.039\t9s\t8s\t3 MB\n"
    )


class TestSnakemake(_Contract):
    format_id = "snakemake"
    more_rows = SNAKEMAKE.splitlines(keepends=True)[-1]


class TestSlurm(_Contract):
    format_id = "slurm"
    more_rows = b"103|align|FAILED|1:0|00:11:00|9M|4G|4|1|2026-11-02T10:00:00\n"


class TestSpark(_Contract):
    format_id = "spark"
    more_rows = _application(3)
