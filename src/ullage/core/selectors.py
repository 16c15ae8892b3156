"""Selectors: how a settings file names cgroups and containers, and what they match. Pure.

A cgroup is named by its path below the mount of its hierarchy, as /proc/PID/cgroup has it:
"/system.slice/web.service", with `*` and `?` inside of one name and `**` for any depth.
Brackets and backslashes mean themselves (systemd writes names like "a\\x2db.service").
A container is named by one label, "key=value". An empty selector matches nobody (S13).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from ullage.core.errors import ConfigError

ANY_DEPTH = "**"
_MOST_CHARACTERS = 4096


def cgroup_pattern(selector: str) -> tuple[str, ...]:
    """Return the names of a cgroup selector from the top down; () for an empty one.

    Raises ConfigError for what can never be meant: a relative path, "..", the root.

    >>> cgroup_pattern("/system.slice/*.service")
    ('system.slice', '*.service')
    """
    if not selector.strip():
        return ()
    _check_text(selector)
    if not selector.startswith("/"):
        raise ConfigError(
            f"cgroup selector {selector[:80]!a}: begin with /, the top of the hierarchy, "
            "as in /system.slice/*.service"
        )
    names = tuple(selector.strip("/").split("/"))
    if names == ("",):
        raise ConfigError("cgroup selector /: the root is never managed; name what is below")
    if any(name in ("", ".", "..") for name in names):
        raise ConfigError(
            f"cgroup selector {selector[:80]!a}: write the path without // and without . or .."
        )
    return names


def docker_label(selector: str) -> tuple[str, str] | None:
    """Return (key, value) of a Docker selector, None for an empty one.

    Raises ConfigError without a key or without "=": a key alone would match too many.

    >>> docker_label("ullage.workload=web")
    ('ullage.workload', 'web')
    """
    if not selector.strip():
        return None
    _check_text(selector)
    key, equals, value = selector.partition("=")
    if not key.strip() or not equals:
        raise ConfigError(
            f"docker selector {selector[:80]!a}: write a label with its value, "
            "as in ullage.workload=web"
        )
    return key, value


def is_pattern(name: str) -> bool:
    """Say whether `name` is more than itself."""
    return "*" in name or "?" in name


def name_matches(name: str, pattern: str) -> bool:
    """Say whether one name matches one name of a pattern.

    >>> name_matches("web.service", "*.service"), name_matches("a[1]", "a[1]")
    (True, True)
    """
    return _compiled(pattern).fullmatch(name) is not None


def selects_cgroup(selector: str, path: str) -> bool:
    """Say whether the cgroup selector matches `path`; an empty one matches nothing.

    >>> selects_cgroup("/a/**/worker-?", "/a/b/c/worker-1"), selects_cgroup("/a/*", "/a/b/c")
    (True, False)
    """
    return _names_match(tuple(path.strip("/").split("/")), cgroup_pattern(selector))


def _names_match(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """Match name by name; `reached` holds the positions in `names` that can be next."""
    if not pattern:
        return False
    reached = {0}
    for number, part in enumerate(pattern, 1):
        if part == ANY_DEPTH:
            least_names = 1 if number == len(pattern) else 0  # /a/** is what lies below /a
            reached = set(range(min(reached) + least_names, len(names) + 1))
        else:
            reached = {i + 1 for i in reached if i < len(names) and name_matches(names[i], part)}
        if not reached:
            return False
    return len(names) in reached


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(sign, re.escape(sign)) for sign in pattern), re.DOTALL)


def _check_text(selector: str) -> None:
    if len(selector) > _MOST_CHARACTERS or not selector.isprintable():
        raise ConfigError(
            f"selector {selector[:40]!a}: write at most {_MOST_CHARACTERS} printable characters"
        )
