"""Programs that take away what the run lives by, and programs that look at what the engine did to their signals."""

import shutil
import sys
import tempfile
from pathlib import Path

from run_support import FOUND, compiled, heapwitness_run, needs_engine

pytestmark = needs_engine

CLEARS = """
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
__attribute__((noinline)) void spoil(void) { volatile char *block = malloc(24); block[24] = 'x'; free((void *)block); }
int main(int count, char **words) {
    int status;
    if (count > 2) { spoil(); return 0; }
    if (system("rm -rf \\"$TMPDIR\\"/*") != 0) return 1;
    spoil();
    if (fork() == 0) { execl(words[0], words[0], "again", "now", (char *)0); _exit(1); }
    wait(&status);
    return status != 0;
}
"""

RESTORES = """
import ctypes, signal

class Action(ctypes.Structure):
    _fields_ = [("handler", ctypes.c_void_p), ("rest", ctypes.c_char * 256)]

libc = ctypes.CDLL(None)
for number in sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}):
    before = signal.getsignal(number)
    assert signal.signal(number, lambda *_: None) == before, number
    signal.signal(number, before)
    assert signal.getsignal(number) == before, number
    action = Action()
    if before == signal.SIG_DFL:
        assert libc.sigaction(int(number), None, ctypes.byref(action)) == 0
        assert action.handler is None, (number, action.handler)
"""


def test_program_that_clears_the_place_for_temporary_files_is_heard() -> None:
    place = Path(tempfile.mkdtemp(prefix="hw-", dir="/tmp"))

    result = heapwitness_run(compiled(CLEARS), TMPDIR=str(place))

    shutil.rmtree(place, ignore_errors=True)
    assert result.status == FOUND, result.stderr
    assert sum(one["count"] for one in result.findings) == 2
    assert result.report["warnings"] == []


def test_python_gets_back_the_handlers_that_it_set(tmp_path: Path) -> None:
    script = tmp_path / "restores.py"
    script.write_text(RESTORES)

    result = heapwitness_run(sys.executable, script)

    assert (result.status, result.stderr.count("Error")) == (0, 0), result.stderr
