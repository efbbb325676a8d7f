import pathlib
import subprocess
import sys
import time

import pytest

from bench import processes

pytestmark = pytest.mark.skipif(not pathlib.Path("/proc/self/smaps_rollup").exists(), reason="it reads Linux's /proc")

# a process that works, by a child of its own, until it is told to end
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
CHILD = "import sys\nprint('works', flush=True)\nwhile True: pass"


def test_the_work_and_the_memory_of_children_count(tmp_path):
    log = tmp_path / "logs" / "log"
    running = processes.Running([sys.executable, "-c", PARENT, CHILD], {}, log)
    try:
        deadline = time.monotonic() + 20
        while "works" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        family = processes.tree(running.pid)
        assert len(family) == 2
        before = processes.Usage.now(running.pid, 0)
        while processes.cpu_seconds(family) < before.server + 0.1 and time.monotonic() < deadline:
            time.sleep(0.01)
        cost = before.until(processes.Usage.now(running.pid, 0))
        assert cost["server_cpu_seconds"] >= 0.09
        assert processes.proportional_mib(family) > 1
    finally:
        running.end()
    assert not any(processes.alive(pid) for pid in family)


def test_a_process_that_ended_is_told_with_its_log(tmp_path):
    running = processes.Running([sys.executable, "-c", "raise SystemExit(3)"], {}, tmp_path / "log")
    running.process.wait()
    with pytest.raises(RuntimeError, match=f"ended with 3; its log: {tmp_path}"):
        running.check()
    running.end()


def test_what_is_gone_costs_nothing():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert processes.cpu_seconds([gone.pid]) == 0
    assert processes.proportional_mib([gone.pid]) == 0
