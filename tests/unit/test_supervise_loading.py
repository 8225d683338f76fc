"""What a run loads, and when: nothing for findings before there is one, or there is time."""

import os
import subprocess
import sys
from pathlib import Path

import heapwitness

SOURCE = Path(heapwitness.__file__).parents[1]
MESSAGES = Path(__file__).parent

PRELUDE = """
import sys
from engine_messages import EXIT, FINDING, HELLO, SLACK, message, stats
loaded = lambda: {name for name in sys.modules if name.partition(".")[0] in ("heapwitness", "msgspec", "rich")}
from heapwitness.layout import events
from heapwitness.supervise.channel import Peer
from heapwitness.supervise.session import Session
import os

class Nowhere:
    finding = crash = sentence = lambda self, what: None

me = Peer(os.getpid(), os.getuid())
session = Session("continue", Nowhere())
"""


def printed(code: str) -> list[str]:
    """The words that some lines print, in an interpreter that has loaded nothing else."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": f"{SOURCE}:{MESSAGES}:{MESSAGES.parent}"},
        timeout=60,
    )
    return done.stdout.split()


def test_processes_that_begin_and_end_load_nothing_more() -> None:
    code = """
before = loaded()
session.message(me, message(HELLO))
session.message(me, message(EXIT, stats()))
session.tick()
ending = session.end(("program",), 1, 0)
print(ending.totals.processes, *sorted(loaded() - before))
"""
    assert printed(code) == ["1"]


def test_first_finding_loads_what_it_needs() -> None:
    code = """
before = loaded()
answer = session.message(me, message(FINDING, reason=SLACK, pool=0x2000, node=9, pointer=0x10))
print(answer.decode(), "heapwitness.diagnose" in loaded() - before)
"""
    assert printed(code) == ["g", "True"]


def test_finding_loads_nothing_more_when_there_was_time_before() -> None:
    code = """
pieces = 1
while session.prepare():
    pieces += 1
before = loaded()
session.message(me, message(FINDING, reason=SLACK, pool=0x2000, node=9, pointer=0x10))
print(pieces > 3, session.prepare(), *sorted(loaded() - before))
"""
    assert printed(code) == ["True", "False"]
