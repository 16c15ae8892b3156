"""How a settings file names cgroups and containers, and whom that means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.core.errors import ConfigError
from ullage.core.selectors import cgroup_pattern, docker_label, selects_cgroup

NAMES = st.text(st.characters(exclude_characters="/*?\0\n", codec="utf-8"), min_size=1, max_size=12)
PATHS = st.lists(
    NAMES.filter(lambda name: name.isprintable() and name not in (".", "..") and name.strip()),
    min_size=1,
    max_size=5,
).map(lambda names: "/" + "/".join(names))


@pytest.mark.parametrize(
    ("selector", "path", "is_meant"),
    [
        ("/a/b", "/a/b", True),
        ("/a/b/", "/a/b", True),
        ("/a/b", "/a/b/c", False),
        ("/a/b", "/a", False),
        ("/a/*", "/a/b", True),
        ("/a/*", "/a/b/c", False),
        ("/a/*/c", "/a/b/c", True),
        ("/a/**", "/a/b/c", True),
        ("/a/**", "/a", False),
        ("/a/**/z", "/a/z", True),
        ("/a/**/z", "/a/b/c/z", True),
        ("/**", "/a", True),
        ("/a/web-?", "/a/web-1", True),
        ("/a/web-?", "/a/web-12", False),
        ("/a/[x]", "/a/x", False),
        ("/a/[x]", "/a/[x]", True),
        (r"/s/a\x2db.service", r"/s/a\x2db.service", True),
        ("/a/.*", "/a/bc", False),
        ("", "/a", False),
        ("  ", "/a", False),
    ],
)
def test_who_is_meant(selector: str, path: str, is_meant: bool) -> None:
    assert selects_cgroup(selector, path) is is_meant


@given(PATHS)
def test_a_whole_path_means_itself_and_no_other(path: str) -> None:
    assert selects_cgroup(path, path)
    assert not selects_cgroup(path, f"{path}x")
    assert not selects_cgroup(path, f"{path}/x")


@given(PATHS)
def test_an_empty_selector_means_nobody(path: str) -> None:
    assert not selects_cgroup("", path)


@pytest.mark.parametrize(
    "selector",
    ["/", "a/b", "/a//b", "/a/../b", "/./a", "/..", "/a\n", "/a\0", "x" * 5000, "/\x1b[31m"],
)
def test_what_cannot_be_meant_is_refused_with_the_way_out(selector: str) -> None:
    with pytest.raises(ConfigError, match="selector") as caught:
        cgroup_pattern(selector)
    assert "\n" not in str(caught.value)


def test_a_label_needs_its_value() -> None:
    assert docker_label("a.b=c=d") == ("a.b", "c=d")
    assert docker_label("a=") == ("a", "")
    assert docker_label(" ") is None
    for selector in ("a", "=b", " =b", "a\n=b", "a=\x1b[2J"):
        with pytest.raises(ConfigError, match="selector"):
            docker_label(selector)
