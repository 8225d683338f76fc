"""Programs that run with little address space or data: what glibc's heap manages, the checked one does, too."""

import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from libc.harness import both_heaps, build, needs_engine, run
from programs.harness import FOUND, run_command

pytestmark = needs_engine

MIB = 1 << 20
LIMITS = {"address space": resource.RLIMIT_AS, "data": resource.RLIMIT_DATA}
# How much of the limit is used for what. A block of 48 bytes takes 80 here and 64 in glibc.
PERCENT = {"small": 50, "medium": 70, "large": 70, "larger": 70, "one": 70, "exhausted": 70, "reallocated": 70}


def limited(what: str, mebibytes: int) -> Callable[[], None]:
    """What sets the limit in the child before its program is started."""
    return lambda: resource.setrlimit(LIMITS[what], (mebibytes * MIB, mebibytes * MIB))


@both_heaps
@pytest.mark.parametrize("case", PERCENT)
@pytest.mark.parametrize("mebibytes", [64, 256])
@pytest.mark.parametrize("what", LIMITS)
def test_program_within_its_limit_gets_its_memory(what: str, mebibytes: int, case: str, with_engine: bool) -> None:
    percent = PERCENT[case] + (15 if mebibytes > 64 else 0)
    run(build("limits.c"), case, str(percent), with_engine=with_engine, before=limited(what, mebibytes)).assert_clean()


@both_heaps
@pytest.mark.parametrize("what", LIMITS)
def test_hundreds_of_threads_share_what_little_there_is(what: str, with_engine: bool) -> None:
    run(build("limits.c"), "threads", "50", with_engine=with_engine, before=limited(what, 64)).assert_clean()


@both_heaps
@pytest.mark.parametrize("case", ["own_limit", "own_limit_by_prlimit"])
def test_program_may_limit_itself_while_it_runs(case: str, with_engine: bool) -> None:
    run(build("limits.c"), case, with_engine=with_engine).assert_clean()


@both_heaps
@pytest.mark.parametrize("poison", ["0", "1"])
@pytest.mark.parametrize("case", ["after_releases", "after_releases_of_a_thread"])
def test_what_was_released_is_there_for_others(case: str, poison: str, with_engine: bool) -> None:
    settings = {"HEAPWITNESS_POISON": poison}
    program = build("limits.c")
    run(program, case, "55", with_engine=with_engine, environment=settings, before=limited("data", 64)).assert_clean()


@both_heaps
def test_program_may_lock_all_that_it_will_have(with_engine: bool) -> None:
    run(build("limits.c"), "all_is_locked", with_engine=with_engine).assert_clean()


@both_heaps
def test_large_block_that_grows_is_not_copied(with_engine: bool) -> None:
    run(build("limits.c"), "grown_by_pages", with_engine=with_engine).assert_clean()


@both_heaps
def test_heap_grows_where_others_have_taken_the_addresses_behind_it(with_engine: bool) -> None:
    run(build("limits.c"), "occupied", with_engine=with_engine).assert_clean()


@both_heaps
def test_big_blocks_are_there_when_the_kernel_has_hardly_a_mapping_left(with_engine: bool) -> None:
    run(build("limits.c"), "few_mappings_left", with_engine=with_engine).assert_clean()


def test_damage_is_found_within_a_limit() -> None:
    outcome = run(build("damaged.c"), before=limited("address space", 64))

    assert (outcome.status, len(outcome.findings)) == (0, 1)


@pytest.fixture
def little_memory() -> Iterator[Path]:
    """A control group of 64 MiB (version 1 of cgroups, as root), removed afterwards."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = [line.split(":", 2)[2] for line in lines if "memory" in line.split(":")[1].split(",")]
    parent = Path("/sys/fs/cgroup/memory" + own[0]) if own else Path("/none")
    try:
        group = Path(tempfile.mkdtemp(prefix="heapwitness-test-", dir=parent))
        (group / "memory.limit_in_bytes").write_text(str(64 * MIB))
    except OSError:
        pytest.skip("needs to be root and control groups of version 1")
    yield group
    group.rmdir()


@both_heaps
@pytest.mark.parametrize("case", ["medium", "larger", "one"])
def test_program_lives_in_a_control_group_of_64_mebibytes(case: str, little_memory: Path, with_engine: bool) -> None:
    enter = ["sh", "-c", f'echo $$ > {little_memory}/tasks; exec "$@"', "sh"]
    command = shutil.which("sh")
    assert command is not None

    run(command, *enter[1:], build("limits.c"), case, "60", with_engine=with_engine).assert_clean()


def test_damage_in_a_control_group_of_64_mebibytes_is_reported(little_memory: Path) -> None:
    enter = ["sh", "-c", f'echo $$ > {little_memory}/tasks; exec "$@"', "sh"]

    outcome = run_command(*enter, build("damaged.c"))

    assert outcome.status == FOUND, outcome.stderr
    assert [(one["kind"], one["repaired"]) for one in outcome.findings] == [("heap-buffer-overflow", True)]
