"""Which directories of a hierarchy may be opened and found: on trees of plain folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ullage.access.folders import CgroupTree
from ullage.core.errors import ConfigError, PermanentError, VanishedError


@pytest.fixture
def point(tmp_path: Path) -> Path:
    top = tmp_path / "memory"
    for path in ("a/b/own/below", "a/c", "web/one", "web/two", "ullage-r-1", "web/ullage-r-2"):
        (top / path).mkdir(parents=True)
    (top / "web" / "a file").write_text("")
    return top


@pytest.fixture
def tree(point: Path) -> CgroupTree:
    return CgroupTree(str(point), lambda: "/a/b/own")


def test_own_cgroup_and_what_encloses_it_are_never_meant(tree: CgroupTree) -> None:
    for path in ("/a", "/a/b", "/a/b/own"):
        assert tree.find(path) == []
        with pytest.raises(PermanentError, match="holds Ullage itself"):
            tree.open(path)
    assert tree.find("/a/**") == ["/a/b/own/below", "/a/c"]
    with tree.open("/a/b/own/below"):
        pass


def test_a_longer_name_is_not_an_ancestor(point: Path) -> None:
    (point / "a" / "b" / "own2").mkdir()
    (point / "a" / "bb").mkdir()
    tree = CgroupTree(str(point), lambda: "/a/b/own")
    assert tree.find("/a/bb") == ["/a/bb"]
    assert tree.find("/a/b/own2") == ["/a/b/own2"]


@pytest.mark.parametrize("link", ["absolute", "relative", "upwards"])
def test_links_are_neither_found_nor_followed(tree: CgroupTree, point: Path, link: str) -> None:
    target = {"absolute": str(point / "a"), "relative": "../a", "upwards": ".."}[link]
    (point / "web" / "link").symlink_to(target)
    assert tree.find("/web/*") == ["/web/one", "/web/two"]
    assert tree.find("/web/link") == []
    assert tree.find("/web/link/c") == []
    assert not [path for path in tree.find("/**") if "link" in path]
    for path in ("/web/link", "/web/link/c"):
        with pytest.raises(PermanentError, match="link"):
            tree.open(path)


def test_links_in_the_place_of_files_are_not_followed(tree: CgroupTree, point: Path) -> None:
    secret = point / "secret"
    secret.write_text("1")
    (point / "web" / "one" / "memory.limit_in_bytes").symlink_to(secret)
    with tree.open("/web/one") as folder:
        with pytest.raises(OSError, match="symbolic links"):
            folder.read("memory.limit_in_bytes")
        with pytest.raises(OSError, match="symbolic links"):
            folder.write("memory.limit_in_bytes", "2")
    assert secret.read_text() == "1"


def test_runs_are_found_by_their_whole_name_only(tree: CgroupTree) -> None:
    assert tree.find("/*") == ["/web"]
    assert tree.find("/ullage-r-*") == []
    assert tree.find("/ullage-r-1") == ["/ullage-r-1"]
    assert tree.find("/**/ullage-r-2") == ["/web/ullage-r-2"]


def test_names_that_cannot_be_printed_are_left_alone(tree: CgroupTree, point: Path) -> None:
    for name in (b"\x1b[31m", b"\xff\xfe", "a\u202eb".encode(), b"tab\there"):
        os.mkdir(os.path.join(os.fsencode(point), b"web", name))
    assert tree.find("/web/*") == ["/web/one", "/web/two"]


def test_what_is_not_there_has_vanished(tree: CgroupTree) -> None:
    for path in ("/never", "/web/never", "/never/deep"):
        assert tree.find(path) == []
        with pytest.raises(VanishedError):
            tree.open(path)
    with pytest.raises(PermanentError, match="no folder"):
        tree.open("/web/a file")


def test_a_mount_that_is_not_there_is_an_error_and_means_nobody(tmp_path: Path) -> None:
    tree = CgroupTree(str(tmp_path / "unmounted"), lambda: None)
    assert tree.find("") == []
    with pytest.raises(PermanentError):
        tree.find("/web")
    with pytest.raises(ConfigError):
        tree.find("web")


@pytest.mark.parametrize("path", ["", "/", "//", "web", "/web/../a", "/web/./one", "/web//one"])
def test_paths_that_are_none_are_refused(tree: CgroupTree, path: str) -> None:
    with pytest.raises(PermanentError):
        tree.open(path)


def test_no_descriptor_is_left_open(tree: CgroupTree) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for selector in ("/**", "/web/*", "/a/**/below", "/never/*"):
        tree.find(selector)
    for path in ("/web/one", "/never/x", "/a/c"):
        try:
            with tree.open(path):
                pass
        except PermanentError:
            continue
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("root", "path", "shown"),
    [
        ("/", "/a/b", "/a/b"),
        ("/", "/", "/"),
        ("/docker/x", "/docker/x/a", "/a"),
        ("/docker/x", "/docker/x", "/"),
        ("/docker/x", "/docker/xy", None),
        ("/docker/x", "/", None),
        ("/", "/../other", None),
        ("/", None, None),
    ],
)
def test_a_mount_shows_part_of_the_hierarchy(
    root: str, path: str | None, shown: str | None
) -> None:
    assert CgroupTree("/unused", lambda: None, root=root).shown(path) == shown
