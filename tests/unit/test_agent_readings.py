"""The worker agent's readings of /proc and cgroups: right where they are there, fewer where not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage_agent.cgroup import find_cgroup
from ullage_agent.process import number_of, read_host, read_pressure, read_process
from ullage_agent.sampler import Sampler

MIB = 1 << 20
STATUS = (
    "Name:\tpython\nVmHWM:\t  {hwm} kB\nVmRSS:\t  {rss} kB\nRssAnon:\t  {anon} kB\n"
    "RssFile:\t  {file} kB\nRssShmem:\t  {shmem} kB\nVmSwap:\t  0 kB\nThreads:\t7\n"
)
V1_MOUNT = "40 20 0:30 {root} {mount} rw,relatime - cgroup cgroup rw,memory\n"
V2_MOUNT = "41 20 0:31 {root} {mount} rw,relatime shared:9 - cgroup2 cgroup2 rw\n"


class World:
    """A /proc and a cgroup mount of its own below a folder."""

    def __init__(self, folder: Path) -> None:
        self.proc = folder / "proc"
        self.mount = folder / "cg roup"
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "pressure").mkdir()
        self.mount.mkdir()

    def status(self, *, anon: int, shmem: int = 0, file: int = 10, hwm: int | None = None) -> None:
        """Write what the process needs now, in MiB."""
        rss = anon + shmem + file
        values = {"anon": anon, "shmem": shmem, "file": file, "rss": rss, "hwm": hwm or rss}
        text = STATUS.format(**{name: value * 1024 for name, value in values.items()})
        (self.proc / "self" / "status").write_text(text)

    def cgroup(self, line: str, mountinfo: str, *, root: str = "/") -> None:
        """Write where the process is and what is mounted."""
        escaped = str(self.mount).replace(" ", "\\040")
        (self.proc / "self" / "cgroup").write_text(line)
        (self.proc / "self" / "mountinfo").write_text(mountinfo.format(root=root, mount=escaped))

    def put(self, folder: str, **files: object) -> None:
        """Write files of a cgroup; `__` in a name stands for the dot."""
        (self.mount / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (self.mount / folder / name.replace("__", ".")).write_text(f"{text}\n")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_need_is_anonymous_and_shared_memory(world: World) -> None:
    world.status(anon=300, shmem=20, file=80)
    found = read_process(str(world.proc))
    assert found["need_bytes"] == 320 * MIB
    assert found["rss_bytes"] == found["rss_peak_bytes"] == 400 * MIB
    assert found["threads_count"] == 7


def test_this_very_process() -> None:
    found = read_process()
    assert MIB < found["need_bytes"] <= found["rss_bytes"] <= found["rss_peak_bytes"]
    host = read_host()
    assert 0 < host["host_available_bytes"] <= host["host_total_bytes"]


def test_version_1(world: World) -> None:
    world.cgroup("5:cpu:/x\n4:memory,hugetlb:/jobs/a\n0::/\n", V1_MOUNT)
    world.put("jobs", memory__limit_in_bytes=900 * MIB)
    world.put(
        "jobs/a",
        memory__usage_in_bytes=500 * MIB,
        memory__max_usage_in_bytes=600 * MIB,
        memory__limit_in_bytes=9223372036854771712,
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 3",
    )
    cgroup = find_cgroup(str(world.proc))
    assert cgroup is not None
    assert cgroup.read() == {
        "cgroup_usage_bytes": 500 * MIB,
        "cgroup_peak_bytes": 600 * MIB,
        "cgroup_limit_bytes": 900 * MIB,
        "oom_kills": 3,
    }
    assert cgroup.pressure_path == ""


def test_version_2_from_inside_a_container(world: World) -> None:
    world.cgroup("0::/pods/p1/c1\n", V2_MOUNT, root="/pods/p1/c1")
    world.put(
        "",
        memory__current=100 * MIB,
        memory__max="max",
        memory__peak=200 * MIB,
        memory__events="low 0\noom 1\noom_kill 1",
        memory__pressure="some avg10=1.25 avg60=0.00 avg300=0.00 total=1",
    )
    cgroup = find_cgroup(str(world.proc))
    assert cgroup is not None
    assert cgroup.read() == {
        "cgroup_usage_bytes": 100 * MIB,
        "cgroup_peak_bytes": 200 * MIB,
        "oom_kills": 1,
    }
    assert read_pressure(cgroup.pressure_path) == {"psi_some_avg10": 1.25}


@pytest.mark.parametrize(
    ("line", "mountinfo"),
    [
        ("", ""),
        ("0::/\n", V2_MOUNT),  # the root of version 2 counts nothing
        ("0::/../../etc\n", V2_MOUNT),
        ("4:memory:/gone\n", V1_MOUNT),
        ("4:memory\nnonsense\n:::::\n", "1 2 3\n- - -\n" + V1_MOUNT),
    ],
)
def test_no_cgroup_is_none(world: World, line: str, mountinfo: str) -> None:
    world.cgroup(line, mountinfo)
    assert find_cgroup(str(world.proc)) is None


@given(st.binary(max_size=300))
def test_garbage_gives_less_and_never_fails(junk: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for name in ("self/status", "self/cgroup", "self/mountinfo", "meminfo", "pressure/memory"):
            (world.proc / name).write_bytes(junk)
        assert set(read_process(str(world.proc))) <= {"threads_count"} or b"Rss" in junk
        find_cgroup(str(world.proc))
        sampler = Sampler(lambda: 1.0, report_s=300, proc=str(world.proc))
        sampler.sample()
        told = sampler.report("x")
        assert all(isinstance(each, int | float | str) for each in told.values())


@given(st.binary(max_size=40))
def test_a_number_is_a_count_of_bytes_or_none(text: bytes) -> None:
    value = number_of(text)
    assert value is None or 0 <= value < 1 << 60


def test_a_folder_where_a_file_should_be(world: World) -> None:
    os.mkdir(world.proc / "meminfo")
    assert read_host(str(world.proc)) == {}
    assert read_process(str(world.proc)) == {}
    assert read_pressure(str(world.proc / "pressure")) == {}


class Script:
    """A sampler over a world whose clock and memory a test moves."""

    def __init__(self, world: World, report_s: float = 300) -> None:
        self.world = world
        self.at_s = 0.0
        self.sampler = Sampler(lambda: self.at_s, report_s=report_s, proc=str(world.proc))

    def step(self, seconds: float, **need: int) -> str | None:
        """Go on in time, need so much, sample."""
        self.at_s += seconds
        self.world.status(**need)
        reason = self.sampler.sample()
        if reason is not None:
            self.sampler.report(reason)
        return reason


def test_reports_at_the_start_on_news_and_now_and_then(world: World) -> None:
    script = Script(world)
    assert script.step(0, anon=100) == "start"
    assert script.step(2, anon=115) is None, "15 MiB are no news"
    assert script.step(2, anon=117) == "peak"
    assert script.step(2, anon=50) is None
    assert script.step(290, anon=50) is None
    assert script.step(10, anon=50) == "interval"
    assert script.sampler.report("exit")["need_peak_bytes"] == 117 * MIB


def test_from_100_mib_to_10_gib_some_fifty_lines(world: World) -> None:
    script = Script(world)
    reasons = [script.step(0.25, anon=mib) for mib in range(100, 10_240, 10)]
    assert 40 <= len([reason for reason in reasons if reason == "peak"]) <= 55


def test_samples_often_while_the_need_grows(world: World) -> None:
    script = Script(world)
    script.step(0, anon=100)
    for _ in range(5):
        script.step(2, anon=100)
    assert script.sampler.interval_s == 2
    script.step(2, anon=120)
    assert script.sampler.interval_s == 0.25


def test_a_spike_between_two_samples_is_seen_by_the_kernels_maximum(world: World) -> None:
    script = Script(world)
    script.step(0, anon=100, file=50)
    assert script.step(2, anon=100, file=60, hwm=560) == "peak"
    assert script.sampler.need_peak_bytes == 500 * MIB
    assert script.step(2, anon=100, file=10, hwm=560) is None, "an old maximum is no news"
    assert script.sampler.need_peak_bytes == 500 * MIB


def test_a_window_sees_what_happens_while_it_is_open(world: World) -> None:
    script = Script(world)
    script.step(0, anon=900)
    script.step(2, anon=100)
    window = script.sampler.open_window()
    script.step(2, anon=300)
    script.step(2, anon=120)
    script.sampler.close_window(window)
    script.step(2, anon=800)
    assert window.peak_bytes == 300 * MIB


def test_windows_share_samples_that_are_fresh(world: World) -> None:
    script = Script(world)
    script.step(0, anon=100)
    world.status(anon=400)
    for _ in range(1000):
        script.sampler.close_window(script.sampler.open_window())
    assert script.sampler.need_peak_bytes == 100 * MIB, "no time has passed: nothing was read"


def test_oom_kills_count_from_the_start_of_the_process(world: World) -> None:
    world.cgroup("0::/c\n", V2_MOUNT)
    world.put("c", memory__current=1, memory__events="oom_kill 4")
    script = Script(world)
    script.step(0, anon=100)
    assert script.sampler.oom_kills == 0
    world.put("c", memory__events="oom_kill 6")
    script.step(20, anon=100)
    assert script.sampler.oom_kills == 2
