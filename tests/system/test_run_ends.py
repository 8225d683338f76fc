"""However a process ends, its heap is told of, or that it was not looked at; and what ran without the engine."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_support import FOUND, HEAPWITNESS, OVERFLOW, WORK, compiled, environment, heapwitness_run, needs_engine

from heapwitness.native import library

pytestmark = needs_engine

SERVER = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
__attribute__((noinline)) void spoil(char *block) { memset(block, 'x', 27); }
int main(void) { spoil(malloc(24)); puts("serving"); fflush(stdout); for (;;) pause(); }
"""

WORKERS = """
import ctypes, sys
from multiprocessing import get_context
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def over(n):
    ctypes.memset(libc.malloc(24), 65, 24 + n)
    return n
if __name__ == "__main__":
    with get_context(sys.argv[1]).Pool(2) as pool:
        print(pool.map(over, [3, 3]))
"""

PAST_LIBC = """
#include <stdlib.h>
#include <sys/syscall.h>
int main(void) {
    free(malloc(10));
    %s
    for (;;) ;
}
"""
EXIT_GROUP = '__asm__ volatile("syscall" : : "a"(SYS_exit_group), "D"(3) : "rcx", "r11", "memory");'

HELLO = '#include <stdio.h>\nint main(void) { puts("hello"); return 4; }\n'

STARTS = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
extern char **environ;
int main(int count, char **words) {
    char *path = words[2], *own[] = {path, NULL}, *name = strrchr(path, '/') + 1;
    int status, file = open(path, O_RDONLY);
    pid_t child;
    *strrchr(strcpy(malloc(500), path), '/') = 0;
    if (!strncmp(words[1], "spawn", 5)) {
        if ((words[1][5] ? posix_spawnp : posix_spawn)(&child, words[1][5] ? name : path, NULL, NULL, own, environ))
            return 101;
    } else if (!(child = strchr(words[1], 'v') == words[1] ? vfork() : fork())) {
        char *how = words[1] + 1;
        if (!strcmp(how, "execv")) execv(path, own);
        if (!strcmp(how, "execve")) execve(path, own, environ);
        if (!strcmp(how, "execvp")) execvp(name, own);
        if (!strcmp(how, "execvpe")) execvpe(name, own, environ);
        if (!strcmp(how, "execl")) execl(path, path, NULL);
        if (!strcmp(how, "execlp")) execlp(name, path, NULL);
        if (!strcmp(how, "execle")) execle(path, path, "a", "b", NULL, environ);
        if (!strcmp(how, "fexecve")) fexecve(file, own, environ);
        if (!strcmp(how, "execveat")) execveat(AT_FDCWD, path, own, environ, 0);
        _exit(102);
    }
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 103;
}
"""
WAYS = ["spawn", "spawnp", "fexecv", "vexecve", "fexecvp", "vexecvpe", "fexecl", "fexeclp", "fexecle", "ffexecve"]


def defaults() -> None:
    """What is ignored where the tests are started (nohup) would stay so in what they start."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "USR1"])
def test_server_that_a_signal_ends_is_reported(name: str) -> None:
    command = [*HEAPWITNESS, "run", "--error-exitcode", "0", "--", str(compiled(SERVER))]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), preexec_fn=defaults
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"
        process.send_signal(signal.Signals[f"SIG{name}"])
        _, stderr = process.communicate(timeout=30)

    assert process.returncode == 128 + signal.Signals[f"SIG{name}"]
    assert stderr.startswith("heap-buffer-overflow: 3 bytes past the end of a 24-byte block allocated by main")
    assert "unchecked" not in stderr


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_that_multiprocessing_ends_are_reported(method: str, tmp_path: Path) -> None:
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)

    result = heapwitness_run(sys.executable, script, method)

    assert (result.status, result.stdout) == (FOUND, "[3, 3]\n")
    assert sum(one["count"] for one in result.findings) == 2
    assert {one["kind"] for one in result.findings} == {"heap-buffer-overflow"}
    assert "unchecked" not in result.stderr


def test_python_sees_default_actions() -> None:
    script = (
        "import signal as s; print([n.name for n in s.valid_signals() if hasattr(n, 'name')"
        " and s.getsignal(n) not in (s.SIG_DFL, s.SIG_IGN, s.default_int_handler)])"
    )

    assert heapwitness_run(sys.executable, "-c", script).stdout == "[]\n"


DAEMON = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
__attribute__((noinline)) static char *make(void) { return malloc(24); }
__attribute__((noinline)) void spoil(volatile char *block) { block[24] = block[25] = 'x'; }
int main(int count, char **words) {
    FILE *file = fopen(words[1], "w");
    char *block = make(), place[4096];
    int stays = atoi(words[2]), keeps = atoi(words[3]), fails = 0;
    if (count > 4) spoil(block);
    setvbuf(file, NULL, _IONBF, 0);
    if (daemon(stays, keeps) != 0) fails = 1;
    struct stat status[3];
    fprintf(file, "%d %s %d", fails, strcmp(getcwd(place, sizeof place), "/") ? "stays" : "/", getsid(0) == getpid());
    for (int i = 0; i < 3; i++) fprintf(file, " %d", fstat(i, &status[i]) == 0 && S_ISCHR(status[i].st_mode));
    fprintf(file, " done\n");
    memset(block, 0, 24);
    free(block);
}
"""


@pytest.mark.parametrize(("stays", "keeps"), [("0", "0"), ("1", "0"), ("0", "1"), ("1", "1")])
def test_program_that_becomes_a_daemon_does_as_ever_and_is_checked(tmp_path: Path, stays: str, keeps: str) -> None:
    told = tmp_path / "plain", tmp_path / "checked"
    with (tmp_path / "output").open("w") as output:
        subprocess.run(
            [compiled(DAEMON), told[0], stays, keeps], check=True, stdin=output, stdout=output, stderr=output
        )

    result = heapwitness_run("sh", "-c", f"exec {compiled(DAEMON)} {told[1]} {stays} {keeps} <&1 2>&1")

    assert (result.status, result.findings) == (0, []), result.stderr
    assert "unchecked" not in result.stderr
    assert finished(told[0]) == finished(told[1]) != ""


def test_damage_before_a_program_becomes_a_daemon_is_told_of_both(tmp_path: Path) -> None:
    result = heapwitness_run(compiled(DAEMON), tmp_path / "told", "0", "0", "damage")

    assert result.status == FOUND
    (finding,) = result.findings
    assert (finding["kind"], finding["count"]) == ("heap-buffer-overflow", 2)


def finished(file: Path) -> str:
    """What a daemon wrote, once it has written all."""
    until = time.monotonic() + 60
    while not (text := file.read_text()).endswith("done\n") and time.monotonic() < until:
        time.sleep(0.01)
    return text


def test_program_that_is_killed_is_said_to_be_unchecked() -> None:
    result = heapwitness_run(compiled(PAST_LIBC % "kill(getpid(), 9);"))

    assert result.status == 128 + signal.SIGKILL
    assert re.search(r"process \d+ \(program\) ended unchecked: SIGKILL ended it\.", result.stderr)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="has an instruction of x86-64")
def test_processes_that_end_past_the_c_library_are_said_to_be_unchecked() -> None:
    program = compiled(PAST_LIBC % EXIT_GROUP)

    result = heapwitness_run("sh", "-c", f"{program}; {program}")

    assert result.status == 3
    assert re.search(r"2 processes \(\d+ \(program\), \d+ \(program\)\) ended unchecked: by SIGKILL, ", result.stderr)


def test_program_that_ends_by_libc_s_syscall_is_checked() -> None:
    text = SERVER.replace("for (;;) pause();", "syscall(231, 0);")
    if os.uname().machine != "x86_64":
        text = text.replace("231", "94")

    assert heapwitness_run(compiled(text)).status == FOUND


@pytest.mark.parametrize("script", ["exec ls /", "(exec ls /) | cat; exec sh -c 'exec true'", "env -i /bin/ls /"])
def test_programs_that_execute_others_are_not_called_unchecked(script: str) -> None:
    result = heapwitness_run("sh", "-c", script)

    assert (result.status, result.stderr.count("\n")) == (0, 1 + ("env -i" in script))
    assert "ended unchecked" not in result.stderr


def test_statically_linked_children_are_named() -> None:
    child = compiled(HELLO, "-static")

    result = heapwitness_run("sh", "-c", f"{child}; exec {child}")

    assert (result.status, result.stdout) == (4, "hello\nhello\n")
    assert f"{child} ran without the engine, 2 times: it is statically linked." in result.stderr
    assert "unchecked" not in result.stderr


@pytest.mark.skipif(shutil.which("musl-gcc") is None, reason="needs musl-gcc")
@pytest.mark.parametrize("way", [*WAYS, "vexecveat"])
def test_children_that_are_linked_with_musl_start(way: str) -> None:
    child = WORK / "musl-child"
    if not child.exists():
        source = WORK / "musl-child.c"
        source.write_text(HELLO)
        subprocess.run(["musl-gcc", "-o", child, source], check=True)

    result = heapwitness_run(compiled(STARTS), way, child, PATH=f"/nowhere:{WORK}:{os.environ['PATH']}")

    assert (result.status, result.stdout) == (4, "hello\n")
    assert re.search(r"musl-child ran without the engine: it is linked with musl\.", result.stderr)


@pytest.mark.parametrize("way", [*WAYS, "vexecveat"])
def test_children_are_watched_however_they_are_started(way: str, tmp_path: Path) -> None:
    child = tmp_path / "child"
    shutil.copy(compiled(OVERFLOW), child)

    result = heapwitness_run(compiled(STARTS), way, child, PATH=f"/nowhere:{tmp_path}:{os.environ['PATH']}")

    assert (result.status, result.stdout, len(result.findings)) == (FOUND, "done\n", 1)
    assert result.stderr.count("without the engine") == 0


def test_children_of_another_machine_do_not_complain() -> None:
    try:
        child = compiled(HELLO, "-m32")
    except subprocess.CalledProcessError:
        pytest.skip("the compiler makes no programs of 32 bits")

    result = heapwitness_run("sh", "-c", str(child))

    assert (result.status, result.stdout) == (4, "hello\n")
    assert "cannot be preloaded" not in result.stderr
    assert f"{child} ran without the engine: it is built for another machine." in result.stderr


def test_what_else_is_preloaded_stays_so_in_children_without_the_engine() -> None:
    other = compiled("int answer(void) { return 42; }", "-shared", "-fPIC")
    if shutil.which("musl-gcc") is None:
        pytest.skip("needs musl-gcc")
    source, child = WORK / "shows.c", WORK / "shows"
    source.write_text('#include <stdio.h>\n#include <stdlib.h>\nint main(void) { puts(getenv("LD_PRELOAD")); }')
    subprocess.run(["musl-gcc", "-o", child, source], check=True)

    result = heapwitness_run("sh", "-c", str(child), LD_PRELOAD=str(other))

    assert result.stdout == f"{other}\n"


def bwrap(*options: str) -> tuple[str, ...]:
    """A sandbox with a /tmp of its own, that sees the tests' programs all the same."""
    words = ("bwrap", "--dev-bind", "/", "/", "--tmpfs", "/tmp", "--bind", str(WORK), str(WORK), *options)
    if shutil.which("bwrap") is None or subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("needs bwrap, and leave to use it")
    return words


def test_program_that_sees_no_engine_where_it_is_started_does_not_complain_and_is_named() -> None:
    places = [word for name in ("bin", "lib", "lib64") for word in ("--symlink", f"usr/{name}", f"/{name}")]
    root = ("--ro-bind", "/usr", "/usr", *places)
    if subprocess.run(["bwrap", *root, "/bin/true"], capture_output=True).returncode:
        pytest.skip("needs a system whose programs are all below /usr")

    result = heapwitness_run("bwrap", *root, "sh", "-c", "missing; sort </dev/null; exit 3")

    assert result.status == 3
    assert "ld.so" not in result.stderr
    assert (
        "heapwitness: sh ran without the engine: it is started where the engine's file cannot be read" in result.stderr
    )


def engine_of_root_alone(tmp_path: Path) -> Path:
    """The engine's file in a directory that nobody else may enter."""
    directory = tmp_path / "root's"
    directory.mkdir(mode=0o700)
    return Path(shutil.copy(library("preload"), directory))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
@pytest.mark.parametrize("by", ["setpriv", "su"])
def test_program_of_a_user_who_may_not_read_the_engine_starts_without_complaint(tmp_path: Path, by: str) -> None:
    engine = engine_of_root_alone(tmp_path)
    call = {
        "setpriv": ["setpriv", "--reuid", "65534", "--clear-groups", "/bin/echo", "hi"],
        "su": ["su", "nobody", "-s", "/bin/sh", "-c", "/bin/echo hi"],
    }[by]
    if shutil.which(call[0]) is None:
        pytest.skip(f"needs {by}")

    done = subprocess.run(call, env=os.environ | {"LD_PRELOAD": str(engine)}, capture_output=True, text=True)

    assert (done.returncode, done.stdout, done.stderr) == (0, "hi\n", "")


def test_damage_in_a_sandbox_with_a_tmp_of_its_own_is_reported() -> None:
    result = heapwitness_run(*bwrap(), compiled(OVERFLOW), TMPDIR="/tmp")

    assert (result.status, result.stdout) == (FOUND, "done\n")
    assert [(one["kind"], one["repaired"]) for one in result.findings] == [("heap-buffer-overflow", True)]
    assert "main" in [one["function"] for one in result.findings[0]["detected"]["stack"]]


def test_damage_in_a_sandbox_without_any_way_out_is_one_line_on_stderr() -> None:
    result = heapwitness_run(*bwrap("--unshare-net"), compiled(OVERFLOW), TMPDIR="/tmp")

    assert result.stdout == "done\n"
    assert result.stderr.count("damage was found and repaired, but cannot be told from in here") == 1


def test_damage_in_such_a_sandbox_is_in_the_log_where_that_can_be_reached() -> None:
    log = WORK / "log-of-a-sandbox"

    result = heapwitness_run(*bwrap("--unshare-net"), compiled(OVERFLOW), options=("--log", str(log)))

    assert (result.status, len(result.findings)) == (FOUND, 1)


def test_programs_with_a_heap_inside_are_named() -> None:
    text = HELLO.replace("int main", 'const char *const said = "<jemalloc>: no memory\\n";\nint main')

    result = heapwitness_run(compiled(text))

    assert "memory that allocators inside of these files hand out is not checked: program (jemalloc)." in result.stderr
