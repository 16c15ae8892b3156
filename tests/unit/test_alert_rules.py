"""The alert rules that are shipped: they fire where they should, and each has a runbook.

`promtool` is Prometheus' own checker (Debian: package prometheus).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from house_source import ROOT

from ullage.control.picture import alerts_of
from ullage.notices import metrics

RULES = ROOT / "packaging/prometheus/ullage.rules.yml"
TESTS = ROOT / "packaging/prometheus/ullage.rules.test.yml"
RUNBOOKS = ROOT / "docs/runbooks.md"


@dataclass(frozen=True)
class Rule:
    """One alert as it stands in the file."""

    name: str
    expr: str
    severity: str
    summary: str
    runbook: str


def rules() -> list[Rule]:
    """Return the rules; the file is plain enough to be read by lines."""
    found = []
    for block in RULES.read_text().split("- alert: ")[1:]:

        def one(name: str, block: str = block) -> str:
            match = re.search(rf"{name}: (.+)", block)
            assert match, f"no {name} in {block}"
            return match.group(1).strip()

        severity = re.search(r"severity: (\w+)", block)
        assert severity
        name = block.splitlines()[0].strip()
        found.append(Rule(name, one("expr"), severity[1], one("summary"), one("runbook_url")))
    return found


def test_each_alert_has_a_runbook_that_it_links_to() -> None:
    titles = re.findall(r"^## (\w+)$", RUNBOOKS.read_text(), flags=re.MULTILINE)
    for rule in rules():
        assert rule.runbook == f"docs/runbooks.md#{rule.name.lower()}"
        assert rule.name in titles, f"{rule.name} has no runbook"
    source = Path(alerts_of.__code__.co_filename).read_text()
    for name in set(re.findall(r'"(Ullage\w+)"', source)):
        assert name in titles, f"the loop's own alert {name} has no runbook"


def test_each_runbook_says_what_it_means_and_what_to_do() -> None:
    for section in re.split(r"^## ", RUNBOOKS.read_text(), flags=re.MULTILINE)[1:]:
        assert "**Means.**" in section, section[:40]
        assert "**Do.**" in section, section[:40]


def test_rules_name_metrics_that_exist() -> None:
    source = Path(metrics.__file__).read_text()
    known = set(re.findall(r'"(ullage_\w+)"', source))
    known |= {f"{name}_total" for name in known}
    for rule in rules():
        for name in re.findall(r"\bullage_\w+", rule.expr):
            assert name in known, f"{rule.name} asks for {name}"


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool: apt-get install prometheus")
    return found


def test_promtool_finds_them_sound(promtool: str) -> None:
    done = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(rules())} rules found" in done.stdout


def test_they_fire_where_they_should_and_nowhere_else(promtool: str, tmp_path: Path) -> None:
    labels = {
        "UllageStoreDown": "",
        "UllageMaximumBelowUsage": ', guard: "s4_bounds_below_usage"',
        "UllageTelemetryStale": ', guard: "s2_stale"',
        "UllageWorkloadBroken": ', guard: "quarantined"',
        "UllageHandsOff": ', guard: "s8_hands_off"',
        "UllageCutDidHarm": ', attribution: "ullage"',
        "UllageLoopErrors": ', step: "tick"',
        "UllageNoticesFail": ', sink: "webhook", outcome: "failed"',
    }
    firing = ""
    for rule in rules():
        if rule.name == "UllageDown":
            continue
        firing += (
            f"\n      - eval_time: 80m\n        alertname: {rule.name}\n        exp_alerts:\n"
            f"          - exp_labels: {{severity: {rule.severity}{labels.get(rule.name, '')}}}\n"
            f"            exp_annotations:\n              summary: {rule.summary}\n"
            f"              runbook_url: {rule.runbook}"
        )
    (tmp_path / RULES.name).write_text(RULES.read_text())
    (tmp_path / TESTS.name).write_text(TESTS.read_text().replace(" FIRING", firing))
    done = subprocess.run(
        [promtool, "test", "rules", str(tmp_path / TESTS.name)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
