"""pytest's plugin: the test that damages the heap fails, with the report, and no other one does."""

import re
import subprocess
import sys
from importlib import metadata
from xml.etree import ElementTree

import pytest
from run_support import SOURCE, environment, needs_engine

pytest_plugins = "pytester"
pytestmark = needs_engine

NAME = "heapwitness.integrations.pytest_plugin"
# An installed package brings its plugin by itself.
PLUGIN = () if any(one.value == NAME for one in metadata.entry_points(group="pytest11")) else ("-p", NAME)

SUPPORT = """\
import asyncio, ctypes, os, unittest
import pytest
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
kept = []
def make(size):
    kept.append(ctypes.create_string_buffer(size))
    return ctypes.addressof(kept[-1])
def harm(size=37):
    ctypes.memset(make(size) + size, 65, 3)
"""
HARM = SUPPORT + "def test_harm():\n    harm()\n"


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Runs pytest on a file of tests."""
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    monkeypatch.delenv("HEAPWITNESS_OPTIONS", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # as if nothing had started it

    def run(text: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(test_it=text)
        return pytester.runpytest_subprocess(*PLUGIN, "-p", "no:cacheprovider", *options, timeout=120)

    return run


def failed(done: pytest.RunResult) -> list[str]:
    """The tests that failed, and in which way."""
    lines = [line.split(" - ")[0] for line in done.outlines if line.startswith(("FAILED ", "ERROR "))]
    return sorted(line.replace("test_it.py::", "") for line in lines)


def test_tests_that_damage_the_heap_fail_in_their_phase_and_no_others(run) -> None:  # type: ignore[no-untyped-def]
    done = run(
        SUPPORT
        + """
def test_before():
    make(5)
@pytest.mark.parametrize("size", [20, 37])
def test_size(size):
    ctypes.memset(make(size) + 20, 65, 20 if size == 20 else 3)
class TestCase(unittest.TestCase):
    def test_fine(self):
        make(6)
    def test_raises(self):
        harm(50)
        raise ValueError("of its own")
class TestSetUp:
    def setup_method(self):
        harm(60)
    def test_set_up(self):
        make(7)
@pytest.fixture
def late():
    yield
    harm(70)
def test_torn_down(late):
    make(8)
def test_async():
    async def work():
        await asyncio.sleep(0)
        harm(80)
    asyncio.run(work())
def test_behind():
    make(9)
""",
        "--heapwitness",
        "--junitxml=junit.xml",
    )

    assert failed(done) == [
        "ERROR TestSetUp::test_set_up",
        "ERROR test_torn_down",
        "FAILED TestCase::test_raises",
        "FAILED test_async",
        "FAILED test_size[20]",
    ]
    done.stdout.fnmatch_lines_random(
        [
            "heapwitness: heap-buffer-overflow: * past the end of a 20-byte block allocated by make at test_it.py:8",
            "*ValueError: of its own",
            "test_it.py::TestCase::test_raises: 1 finding in the heap",
            "  heap-buffer-overflow: 3 bytes past the end of a 50-byte block allocated by make at test_it.py:8",
            "test_it.py::test_torn_down: 1 finding in the heap",
        ]
    )


def test_junit_has_the_sentence_as_a_property(run, pytester: pytest.Pytester) -> None:  # type: ignore[no-untyped-def]
    run(HARM, "--heapwitness", "--junitxml=junit.xml")

    properties = ElementTree.parse(pytester.path / "junit.xml").iter("property")
    assert [(one.get("name"), (one.get("value") or "")[:59]) for one in properties] == [
        ("heapwitness", "heap-buffer-overflow: 3 bytes past the end of a 37-byte blo")
    ]


def test_each_test_has_the_report_of_its_own_block(run) -> None:  # type: ignore[no-untyped-def]
    done = run(
        SUPPORT + '@pytest.mark.parametrize("size", [37, 53, 75])\ndef test_size(size): harm(size)\n', "--heapwitness"
    )

    assert len(failed(done)) == 3
    for size in (37, 53, 75):
        done.stdout.fnmatch_lines([f"heap-buffer-overflow: 3 bytes past the end of a {size}-byte block *"])


def test_what_a_test_does_many_times_is_told_once(run) -> None:  # type: ignore[no-untyped-def]
    several = "    for size in (37, 53, 75):\n        harm(size)\n    ctypes.memset(make(91) + 91, 65, 3)\n"

    done = run(f"{SUPPORT}def test_several():\n{several}", "--heapwitness")

    assert failed(done) == ["FAILED test_several"]
    done.stdout.fnmatch_lines(["test_it.py::test_several: 2 findings in the heap"])
    done.stdout.fnmatch_lines_random(
        ["  3 times: heap-buffer-overflow: 3 bytes past *", "  heap-buffer-overflow: *91-byte *"]
    )
    reports, _, _ = done.stdout.str().partition("= short test summary info =")
    assert reports.count("  the block was allocated") == 2


def test_each_test_has_the_line_at_which_its_damage_was_noticed(run) -> None:  # type: ignore[no-untyped-def]
    tests = [
        f"def test_{name}():\n    harm({size})\n    del kept[:]\n" for name, size in (("first", 37), ("second", 53))
    ]

    done = run(f"{SUPPORT}{''.join(tests)}", "--heapwitness")

    assert len(failed(done)) == 2
    for name, line in (("test_first", 14), ("test_second", 17)):
        done.stdout.fnmatch_lines([f"  noticed   in free, called by {name} at test_it.py:{line}"])


def test_wrong_release_fails_the_test_that_did_it(run) -> None:  # type: ignore[no-untyped-def]
    done = run(
        SUPPORT + "def test_it():\n    p = libc.malloc(200)\n    libc.free(p); libc.free(p)\ndef test_ok(): make(5)\n",
        "--heapwitness",
    )

    assert failed(done) == ["FAILED test_it"]
    done.stdout.fnmatch_lines(["heapwitness: double-free: a 200-byte block was released twice*"])


def test_damage_in_a_child_fails_the_test_that_started_it(run) -> None:  # type: ignore[no-untyped-def]
    fork = "    if os.fork() == 0:\n        harm()\n        os._exit(0)\n    os.wait()\n"

    done = run(
        f"{SUPPORT}def test_first(): make(5)\ndef test_child():\n{fork}def test_last(): make(5)\n", "--heapwitness"
    )

    assert (failed(done), done.ret) == (["FAILED test_child"], 1)


def test_importing_a_file_of_tests_that_damages_is_its_error(run) -> None:  # type: ignore[no-untyped-def]
    done = run(SUPPORT + "harm()\ndef test_fine(): make(5)\n", "--heapwitness")

    assert failed(done) == ["ERROR test_it.py"]
    done.stdout.fnmatch_lines(["*37-byte block allocated by make at test_it.py:8"])


def test_test_in_which_pytest_dies_is_named(run) -> None:  # type: ignore[no-untyped-def]
    killed = run("import os, signal\ndef test_dies(): os.kill(os.getpid(), signal.SIGKILL)\n", "--heapwitness")
    crashed = run("import ctypes\ndef test_crashes(): ctypes.string_at(0)\n", "--heapwitness")

    assert killed.ret == 128 + 9
    killed.stderr.fnmatch_lines(["heapwitness: pytest ended in the middle of test_it.py::test_dies"])
    crashed.stderr.fnmatch_lines(
        ["crash: ended by SIGSEGV: *", "heapwitness: pytest ended in the middle of test_it.py::test_crashes"]
    )


def test_workers_of_xdist_show_the_report_in_the_test(run) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("xdist")

    done = run(HARM + "def test_fine(): make(5)\n", "--heapwitness", "-n", "2")

    assert failed(done) == ["FAILED test_harm"]
    done.stdout.fnmatch_lines(
        [
            "heapwitness: heap-buffer-overflow: 3 bytes past*",
            "    make  test_it.py:8",
            "test_it.py::test_harm: 1 finding*",
        ]
    )


def test_marker_switches_for_its_test_alone(run) -> None:  # type: ignore[no-untyped-def]
    stale = "    p = libc.malloc(200); libc.free(p); ctypes.memset(p + 100, 65, 4)\n"

    done = run(
        f"{SUPPORT}def test_before():\n{stale}"
        f"@pytest.mark.heapwitness(poison=True)\ndef test_poison():\n{stale}"
        f"def test_behind():\n{stale}"
        "@pytest.mark.heapwitness(check=False)\ndef test_unchecked(): harm()\n"
        "@pytest.mark.heapwitness(check_every=10)\ndef test_often(): harm(99)\n",
        "--heapwitness",
        "--strict-markers",
    )

    assert failed(done) == ["FAILED test_often", "FAILED test_poison"]
    done.stdout.fnmatch_lines(["*use-after-free-write: 4 bytes written at offset 100 of a 200-byte block*"])


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ("stacks='full'", "stacks cannot be switched for one test; poison, check_every, check can.*"),
        ("poison=3", "poison must be True or False."),
        ("check_every=True", "check_every must be a number of operations, 0 for never."),
        ("True", "the heapwitness marker takes names only, as in poison=True."),
    ],
)
def test_what_a_marker_cannot_switch_is_refused(run, marker: str, said: str) -> None:  # type: ignore[no-untyped-def]
    done = run(f"import pytest\n@pytest.mark.heapwitness({marker})\ndef test_it(): pass\n", "--heapwitness")

    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([f"ERROR: test_it.py::test_it: {said}"])


def test_wrong_value_in_the_ini_file_is_told_with_its_name(run, pytester: pytest.Pytester) -> None:  # type: ignore[no-untyped-def]
    pytester.makeini("[pytest]\nheapwitness = maybe\n")

    done = run("def test_it(): pass\n")

    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["ERROR: heapwitness in the ini-file must be true or false: *'maybe'*"])
    done.stderr.no_fnmatch_line("*Traceback*")


def test_worker_of_xdist_fails_the_test_whose_marker_is_wrong(run) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("xdist")
    wrong = "import pytest\n@pytest.mark.heapwitness(poison=3)\ndef test_it(): pass\ndef test_fine(): pass\n"

    done = run(wrong, "--heapwitness", "-n", "2")

    assert done.ret == pytest.ExitCode.TESTS_FAILED
    assert done.parseoutcomes() == {"passed": 1, "errors": 1}
    done.stdout.fnmatch_lines(["test_it.py::test_it: poison must be True or False."])


def test_suppressed_findings_fail_no_test(run, pytester: pytest.Pytester) -> None:  # type: ignore[no-untyped-def]
    (pytester.path / "rules.txt").write_text("source=test_it.py:8 kind=heap-*\n")
    pytester.makepyprojecttoml('[tool.heapwitness]\nsuppressions = "rules.txt"\n')

    done = run(HARM, "--heapwitness")

    assert (failed(done), done.ret) == ([], 0)
    done.stdout.fnmatch_lines(["1 finding suppressed or known from the baseline"])
    done.stderr.fnmatch_lines(["heapwitness: suppressed 1 finding: source=test_it.py:8 kind=heap-*"])


def test_only_what_a_baseline_has_not_fails(run) -> None:  # type: ignore[no-untyped-def]
    new = "def other(): kept.append(ctypes.create_string_buffer(40)); ctypes.memset(kept[-1], 65, 43)\n"
    run(HARM, "--heapwitness", "--heapwitness-options=--json old.json")

    done = run(
        HARM + new + "def test_new():\n    other()\n", "--heapwitness", "--heapwitness-options=--baseline old.json"
    )

    assert failed(done) == ["FAILED test_new"]
    done.stderr.fnmatch_lines(["heapwitness: compared with old.json: 1 finding is new, 1 is known"])


def test_the_ini_file_asks_for_it_and_the_command_line_can_refuse(run, pytester) -> None:  # type: ignore[no-untyped-def]
    pytester.makeini("[pytest]\nheapwitness = true\nheapwitness_options = --stacks full --format short\n")

    wanted = run(HARM)
    refused = run(HARM, "--no-heapwitness")

    assert (failed(wanted), failed(refused)) == (["FAILED test_harm"], [])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--stack full", "no such option '?--stack"),
        ("--json", "option '--json' requires an argument."),
        ("--poison stray.py", "'--poison stray.py' must be options of `heapwitness run` and no program."),
        ("--poison --", "'--poison --' must be options of `heapwitness run` and no program."),
        ("--help", "`heapwitness run --help` is to be called as a command."),
    ],
)
def test_wrong_options_are_told_in_a_sentence(run, pytester, words: str, said: str) -> None:  # type: ignore[no-untyped-def]
    done = run(HARM, "--heapwitness", f"--heapwitness-options={words}")

    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert re.search(f"^heapwitness: {said}", done.stderr.str(), re.MULTILINE)
    assert not (pytester.path / "--").exists()


def test_where_checks_are_spread_the_finding_says_since_when(run, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    spread = "import heapwitness.integrations.pytest_pace as pace\npace.FREE_SECONDS = pace.SHARE = 0\n"

    done = run(
        f"{SUPPORT}{spread}def test_first(): make(5)\ndef test_harm(): harm()\n"
        "def test_frees(): del kept[:]\ndef test_last(): make(5)\n",
        "--heapwitness",
    )

    assert failed(done) == ["FAILED test_frees"]
    done.stdout.fnmatch_lines(
        ["It was done in one of the phases since test_it.py::test_first (setup); checks were spread*"]
    )


def test_conftest_files_are_imported_once(run, pytester: pytest.Pytester) -> None:  # type: ignore[no-untyped-def]
    pytester.makeconftest("import os\nwith open('imported', 'a') as file:\n    print(os.getpid(), file=file)\n")

    done = run("def test_plain(): pass\n", "--heapwitness")

    done.assert_outcomes(passed=1)
    assert len((pytester.path / "imported").read_text().split()) == 1


def test_without_the_option_nothing_changes(run) -> None:  # type: ignore[no-untyped-def]
    loaded = "import sys\ndef test_plain(): assert not {'heapwitness.inside', 'heapwitness.cli'} & set(sys.modules)\n"

    plain = run(loaded)
    without = run("def test_plain(): pass\n", "-p", "no:heapwitness", "-p", f"no:{NAME}")

    assert (plain.ret, without.ret) == (0, 0)
    plain.assert_outcomes(passed=1)


def test_pytest_that_another_program_starts_is_refused(pytester: pytest.Pytester) -> None:
    words = [*PLUGIN, "--heapwitness", "."]
    code = f"import pytest, sys; sys.exit(pytest.main({words!r}))"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), cwd=pytester.path, timeout=60
    )

    assert done.returncode == 4
    assert "needs pytest to be started as a command" in done.stderr
