"""The cost of processes, read from /proc: processor time, memory, and who else used the cores."""

import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass

PROC = pathlib.Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """The fields after the name, which may hold anything: the first one is the state."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def tree(root: int) -> list[int]:
    """A process and all that came from it."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time, that of children that have ended included."""
    ticks = 0
    for pid in pids:
        try:
            ticks += sum(int(field) for field in _stat(pid)[11:15])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return ticks / TICKS


def proportional_mib(pids: Iterable[int]) -> float:
    """PSS: memory of each process, with what several share counted once between them."""
    kib = 0
    for pid in pids:
        try:
            lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


def machine_seconds() -> tuple[float, float]:
    """Seconds that all cores together were busy since the start, and those the hypervisor took from them."""
    user, nice, system, _idle, _wait, irq, softirq, steal = (
        int(field) for field in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / TICKS, steal / TICKS


@dataclass(frozen=True)
class Usage:
    """The processor time of everything at one moment."""

    at: float
    machine: float
    steal: float
    server: float
    load: float
    harness: float

    @classmethod
    def now(cls, server: int | None, load: int) -> "Usage":
        machine, steal = machine_seconds()
        times = [cpu_seconds(tree(pid)) if pid else 0.0 for pid in (server, load)]
        own = os.times()
        return cls(time.monotonic(), machine, steal, *times, own.user + own.system)

    def until(self, later: "Usage") -> dict:
        """Processor seconds of the server between two moments, and the cores that others had meanwhile."""
        passed = later.at - self.at
        server, load = later.server - self.server, later.load - self.load
        others = (later.machine - self.machine) - server - load - (later.harness - self.harness)
        return {
            "server_cpu_seconds": server,
            "load_cores": load / passed,
            "other_cores": max(0.0, others / passed),
            "stolen_cores": (later.steal - self.steal) / passed,
        }


class Running:
    """A process in a group of its own, ended with all its children."""

    def __init__(self, command: list[str], environment: dict[str, str], log: pathlib.Path):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def check(self) -> None:
        if self.process.poll() is not None:
            raise RuntimeError(f"it ended with {self.process.returncode}; its log: {self.log}")

    def end(self) -> None:
        children = tree(self.pid)
        for sign, patience in [(signal.SIGTERM, 10), (signal.SIGKILL, 10)]:
            try:
                os.killpg(self.pid, sign)
            except ProcessLookupError:
                break
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline and any(alive(pid) for pid in children):
                self.process.poll()
                time.sleep(0.02)
        self.process.wait()


def alive(pid: int) -> bool:
    try:
        return _stat(pid)[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
