"""Threads: they begin and end, or there are none; nobody waits for one that never begins."""

import subprocess
import sys
import threading

import pytest

from heapwitness.workers import Worker

POOR = """
import resource, sys
from heapwitness.workers import NoWorker, Worker
resource.setrlimit(resource.{limit}, (1, 1))
try:
    Worker(lambda: None)
except NoWorker as error:
    sys.exit(f"{{error}}")
"""


def test_a_worker_does_its_work_and_ends() -> None:
    done: list[int] = []

    worker = Worker(lambda: done.append(threading.get_ident()))

    assert worker.join()
    assert done and done != [threading.get_ident()]


def test_a_worker_that_takes_long_is_not_waited_for_longer_than_is_said() -> None:
    go_on = threading.Event()
    worker = Worker(lambda: go_on.wait() and None)

    assert not worker.join(0.01)
    go_on.set()
    assert worker.join()


@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_without_memory_there_is_no_worker_and_no_waiting(limit: str) -> None:
    done = subprocess.run([sys.executable, "-c", POOR.format(limit=limit)], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (1, "no thread can be started\n")
