"""A real daemon over a real cgroup v1 with a real process in it, for tests of `ullage serve`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 1 << 20
HOG = """
import sys, time
blocks = []
for line in sys.stdin:
    want = int(line)
    while len(blocks) < want:
        block = bytearray(1 << 20)
        block[::4096] = b'x' * 256
        blocks.append(block)
    del blocks[want:]
    print(len(blocks), flush=True)
"""
SETTINGS = """
[serve]
act = {act}
sample_interval = "100ms"
decide_interval = "200ms"
watch = "300ms"
least_history = "2s"
least_samples_count = 10
gap_window = "2s"
peak_interval = "500ms"
peaks_kept = "1h"
small_step_ratio = 0.03
lease_span = "{lease}"
[serve.policy]
hour = "500ms"
[serve.metrics]
listen = "{listen}"
[[serve.workload]]
name = "web"
kind = "cgroup1"
selector = "{selector}"
mode = "in_place"
floor = "16MiB"
"""


class Rig:
    """One cgroup with a process that takes as much memory as it is told."""

    def __init__(self, home: Path, parent: str, path: str) -> None:
        name = f"ullage-test-{uuid.uuid4().hex}"
        self.home = home
        self.state = home / "state"
        self.mark = home / "mark"
        self.folder = Path(parent, name)
        self.selector = f"{path}/{name}"
        self.target_id = f"cgroup1:{self.selector}"
        self.folder.mkdir()
        self.daemons: list[subprocess.Popen[str]] = []
        self.set_limit(512)
        self._hog = subprocess.Popen(
            [sys.executable, "-S", "-c", HOG],
            preexec_fn=lambda: (self.folder / "cgroup.procs").write_text("0"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.configure()

    def configure(
        self, *, act: bool = True, lease: str = "15s", listen: str = "", extra: str = ""
    ) -> None:
        """Write the settings."""
        text = SETTINGS.format(
            act=str(act).lower(), lease=lease, listen=listen, selector=self.selector
        )
        (self.home / "config.toml").write_text(text + extra)

    @property
    def environment(self) -> dict[str, str]:
        """What every command of this rig runs under."""
        return {
            **os.environ,
            "ULLAGE_CONFIG": str(self.home / "config.toml"),
            "ULLAGE_STATE_DIR": str(self.state),
            "ULLAGE_LEDGER": str(self.home / "ledger.db"),
        }

    def cli(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        words = [sys.executable, "-m", "ullage", *args]
        return subprocess.run(
            words, env=self.environment, capture_output=True, text=True, timeout=120
        )

    def serve(self, *args: str, fault: str = "") -> subprocess.Popen[str]:
        """Start a daemon; `fault`: with that one of serve_faults in it, while `mark` is there."""
        faulty = [str(Path(__file__).with_name("serve_faults.py")), fault, str(self.mark)]
        log = (self.home / f"daemon-{len(self.daemons)}.log").open("w")
        with log:
            daemon = subprocess.Popen(
                [sys.executable, *(faulty if fault else ("-m", "ullage")), "serve", *args],
                env=self.environment,
                stderr=log,
                text=True,
            )
        self.daemons.append(daemon)
        return daemon

    def log(self, number: int = 0) -> str:
        """Return what a daemon has said."""
        return (self.home / f"daemon-{number}.log").read_text()

    def take(self, mib: int) -> None:
        """Have the process hold so much; returns when it does."""
        assert self._hog.stdin is not None
        assert self._hog.stdout is not None
        self._hog.stdin.write(f"{mib}\n")
        self._hog.stdin.flush()
        assert self._hog.stdout.readline().strip() == str(mib), "the process was killed"

    def ask(self, mib: int) -> None:
        """As `take`, without waiting."""
        assert self._hog.stdin is not None
        self._hog.stdin.write(f"{mib}\n")
        self._hog.stdin.flush()

    def answered(self) -> str:
        """Wait for the answer to `ask`."""
        assert self._hog.stdout is not None
        return self._hog.stdout.readline().strip()

    @property
    def limit_mib(self) -> float:
        """The limit as the kernel has it."""
        return int((self.folder / "memory.limit_in_bytes").read_text()) / MIB

    def set_limit(self, mib: int) -> None:
        """Set the limit as somebody else would."""
        (self.folder / "memory.limit_in_bytes").write_text(str(mib * MIB))

    @property
    def control(self) -> dict[str, int]:
        """memory.oom_control: oom_kill_disable, under_oom, oom_kill."""
        words = (self.folder / "memory.oom_control").read_text().split()
        return {name: int(number) for name, number in zip(words[::2], words[1::2], strict=True)}

    def status(self) -> dict[str, object]:
        """Return the newest picture, {} where there is none."""
        try:
            found: dict[str, object] = json.loads((self.state / "serve-status.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    def targets(self) -> list[dict[str, object]]:
        """Return the targets of the newest picture."""
        found: object = self.status().get("targets", [])
        assert isinstance(found, list)
        return found

    def kill_hog(self) -> None:
        """End the process and remove the cgroup."""
        self._hog.kill()
        self._hog.communicate()
        wait(lambda: _removed(self.folder), "the cgroup stays")

    def close(self) -> None:
        """Leave nothing behind."""
        for daemon in self.daemons:
            if daemon.poll() is None:
                daemon.send_signal(signal.SIGCONT)
                daemon.kill()
            daemon.wait()
        if self.folder.exists():
            (self.folder / "memory.oom_control").write_text("0")
            self.kill_hog()


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def wait(is_so: Callable[[], object], words: str, *, seconds: float = 60) -> None:
    """Wait until something holds."""
    deadline_s = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline_s, words
        time.sleep(0.05)


@contextmanager
def rig_at(home: Path) -> Iterator[Rig]:
    """Yield a rig; skip where there is no cgroup v1."""
    import pytest

    from ullage.access.cgroup1 import memory_tree
    from ullage.actuators.cgroup1 import find_parent

    parent, why_not = find_parent()
    tree, _ = memory_tree()
    if parent is None or tree is None:
        pytest.skip(f"no cgroup v1 to write to: {why_not}")
    rig = Rig(home, parent, parent.removeprefix(tree.point))
    try:
        yield rig
    finally:
        rig.close()
