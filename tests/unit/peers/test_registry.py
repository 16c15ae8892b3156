"""peers.registry: ids, names that are none, and what is loaded."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from ullage.core.errors import ConfigError
from ullage.peers import registry
from ullage.peers.registry import NOT_ON_RUNS, PEER_IDS, make_peer

EXISTING = [name for name in PEER_IDS if find_spec(f"ullage.peers.{registry._PLACES[name][0]}")]
LEARNERS = {"sizey"}
"""Peers that need an extra."""


def test_every_row_marked_r_is_there_and_no_other() -> None:
    named = (
        "request max-1.1 p95-1.2 last-1.3 krr vpa crane kruize tovar witt-p95 witt-lr witt-lwr "
        "ponder sizey dataflow-prime dataflow-prime-1.25 dataflow-prime-2 "
        "retry-1.2 retry-1.5 retry-2"
    )
    assert tuple(named.split()) == PEER_IDS
    assert not set(NOT_ON_RUNS) & set(PEER_IDS)


@pytest.mark.parametrize("policy_id", [name for name in EXISTING if name not in LEARNERS])
def test_a_peer_has_its_id_and_its_own_rules(policy_id: str) -> None:
    policy = make_peer(policy_id)
    assert policy.policy_id == policy_id
    assert policy.is_guarded is False


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("kkr", "krr"), ("KRR", "krr"), ("witt_lr", "witt-lr"), ("ponderr", "ponder"),
        ("max-1.2", "max-1.1"), ("x" * 10_000, ""), ("\x1b[31m\n", ""), ("", ""),
    ],
)  # fmt: skip
def test_an_unknown_id_names_the_nearest(wrong: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_peer(wrong)
    message = str(caught.value)
    assert f"did you mean '{meant}" in message
    assert message.isprintable()
    assert len(message) < 500


@pytest.mark.parametrize("policy_id", NOT_ON_RUNS)
def test_what_cannot_be_replayed_says_why(policy_id: str) -> None:
    with pytest.raises(ConfigError, match="cannot be replayed on runs: it "):
        make_peer(policy_id)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(name: str) -> None:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")

    monkeypatch.setattr(registry, "import_module", lacking)
    with pytest.raises(ConfigError, match=r"needs the package 'sklearn'.*ullage\[benchmarks\]"):
        make_peer("sizey")


def test_the_registry_loads_no_peer() -> None:
    listed = "import sys, ullage.peers.registry; print(*[m for m in sys.modules if 'peers.' in m])"
    done = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True)
    assert done.stdout.split() == ["ullage.peers.registry"], done.stderr
