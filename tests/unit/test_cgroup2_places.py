"""actuators.cgroup2.find_parent on trees of plain files: where a cgroup may be made, or why not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ullage.actuators.cgroup2 import enclosing_room_bytes, find_parent, kept_bytes

ALL = "cpu memory pids"


class Tree:
    """A fake /proc and a fake cgroup v2 mount."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.mount = folder / "proc", folder / "cgroup"
        (self.proc / "self").mkdir(parents=True)
        self.mount.mkdir()
        self.be_in("/")
        text = f"25 1 0:22 / {self.mount} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
        (self.proc / "self" / "mountinfo").write_text(
            f"24 1 0:21 / /sys rw - sysfs sysfs rw\n{text}"
        )

    def be_in(self, path: str) -> None:
        (self.proc / "self" / "cgroup").write_text(f"0::{path}\n")

    def make(self, path: str, **files: str) -> Path:
        folder = self.mount / path.strip("/")
        folder.mkdir(parents=True, exist_ok=True)
        content = {"cgroup.controllers": ALL, "cgroup.procs": "", "cgroup.subtree_control": ""}
        if path != "/":
            content |= {"cgroup.type": "domain", "memory.max": "max", "memory.high": "max"}
        for name, text in (content | {k.replace("__", "."): v for k, v in files.items()}).items():
            (folder / name).write_text(text + "\n")
        return folder

    def process(self, pid: int, parent: int, name: str = "x") -> None:
        (self.proc / str(pid)).mkdir()
        (self.proc / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent} 1 1")

    def find(self) -> tuple[str | None, str]:
        return find_parent(str(self.proc))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_the_root_of_the_hierarchy_will_do(tree: Tree) -> None:
    root = tree.make("/", cgroup__procs="1\n2")
    assert tree.find() == (str(root), "")


def test_a_scope_of_our_own_will_do(tree: Tree) -> None:
    tree.make("/")
    tree.process(70001, os.getpid(), name="sh ) S 1 (")
    own = tree.make("/user.slice/run-1.scope", cgroup__procs=f"{os.getpid()}\n70001")
    tree.be_in("/user.slice/run-1.scope")
    assert tree.find() == (str(own), "")


def test_as_the_first_process_of_a_container_what_it_started_is_ours(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 1)
    tree.process(7, parent=1, name="sentinel")
    container = tree.make("/", cgroup__procs="1\n7", cgroup__type="domain")
    assert tree.find() == (str(container), "")
    tree.process(9, parent=0, name="docker exec")
    tree.make("/", cgroup__procs="1\n7\n9", cgroup__type="domain")
    assert tree.find()[0] is None


def test_beside_a_shared_cgroup_without_limits(tree: Tree) -> None:
    tree.make("/")
    above = tree.make("/app.slice", cgroup__subtree_control="memory pids")
    tree.make("/app.slice/terminal.scope", cgroup__procs=f"{os.getpid()}\n1")
    tree.be_in("/app.slice/terminal.scope")
    assert tree.find() == (str(above), "")


@pytest.mark.parametrize("name", ["memory__max", "memory__high"])
def test_no_limit_is_escaped(tree: Tree, name: str) -> None:
    tree.make("/")
    tree.make("/box", cgroup__subtree_control="memory")
    tree.make("/box/job", cgroup__procs="1", **{name: "1000000"})
    tree.be_in("/box/job")
    parent, why = tree.find()
    assert parent is None
    assert "cannot be divided" in why


def test_inside_of_another_run_its_limit_holds(tree: Tree) -> None:
    tree.make("/", cgroup__subtree_control="memory")
    tree.make("/ullage-r-1", cgroup__procs=f"1\n{os.getpid()}")
    tree.be_in("/ullage-r-1")
    assert "another `ullage run`" in tree.find()[1]


def test_where_memory_is_not_delegated_it_says_so(tree: Tree) -> None:
    tree.make("/", cgroup__controllers="cpu pids")
    assert tree.find() == (
        None, "the memory controller of cgroup v2 is not delegated to this process"
    )  # fmt: skip


@pytest.mark.parametrize("path", ["/../elsewhere", "/gone", "/new\nline"])
def test_what_cannot_be_seen_is_no_place(tree: Tree, path: str) -> None:
    tree.make("/")
    tree.be_in(path)
    assert tree.find()[0] is None


def test_without_v2_it_says_so(tmp_path: Path) -> None:
    assert find_parent(str(tmp_path)) == (None, "no cgroup v2 is mounted")


def test_room_is_the_least_of_those_above(tree: Tree) -> None:
    stat = "anon 5\ninactive_file 300\nactive_file 100"
    tree.make("/")
    tree.make("/a", memory__max="5000", memory__current="1000", memory__stat=stat)
    job = tree.make("/a/b", memory__high="9000", memory__current="800", memory__stat=stat)
    assert enclosing_room_bytes(str(job)) == 5000 - 600
    assert kept_bytes(str(job)) == 400
    ours = tree.make("/a/ullage-r-1", memory__max="10", memory__current="5", memory__stat="")
    assert enclosing_room_bytes(str(ours)) == 5000 - 600
