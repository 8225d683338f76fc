"""Programs that write past the end of a block: 1 byte to 1 MiB, blocks of 1 byte to 1 GiB."""

import pytest
from programs.harness import Outcome, allocated_at, line_of, run

SOURCE = "overflow.c"
LENGTHS = (1, 2, 3, 8, 15, 16, 17, 24, 31, 32, 33, 48, 100, 4096, 65536, 1 << 20)
SIZES = (1, 2, 7, 8, 15, 16, 17, 31, 32, 40, 100, 1000, 1024, 4000, 5000, 32768, 65536, 100_000)
BIG = (1 << 20, (1 << 20) + 5, 32 << 20, (1 << 30) - 3, 1 << 30)
ALLOCATORS = ("malloc", "calloc", "realloc", "reallocarray", "aligned_alloc", "posix_memalign", "memalign", "valloc")


def assert_overflow(outcome: Outcome, size: int, by: str = "malloc", unseen: int = 0) -> None:
    """One overflow of a block of `size` bytes, with the extent that the program itself measured.

    `unseen` bytes at the end were written, too, and happened to be what was there before.
    """
    finding = outcome.finding
    assert finding["kind"] == "heap-buffer-overflow"
    assert finding["culprit"]["address"] == outcome.facts["culprit"]
    assert finding["culprit"]["size"] == size
    assert allocated_at(finding["culprit"], SOURCE) == line_of(SOURCE, f"culprit: {by}")
    assert finding["damage"]["offset"] == outcome.facts["first"] == 0
    assert finding["damage"]["length"] == outcome.facts["last"] + 1 + unseen
    assert finding["repaired"]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("how", ["memset", "loop", "strcpy"])
def test_bytes_past_the_end_are_counted_exactly(how: str, length: int) -> None:
    size = 24 if length < 1 << 17 else 10_000  # small blocks lie side by side in stretches of 64 KiB
    outcome = run(SOURCE, how=how, size=size, extra=length)
    assert outcome.facts["adjacent"]
    terminator = length - 1 - outcome.facts["last"] if how == "strcpy" else 0
    told = outcome.finding["damage"]["length"] == length
    assert_overflow(outcome, size, unseen=terminator if told else 0)


@pytest.mark.parametrize("length", [1, 3, 16, 40, 4096])
def test_bytes_past_the_end_are_counted_exactly_in_a_program_without_optimisation(length: int) -> None:
    assert_overflow(run(SOURCE, "-O0", how="loop", size=40, extra=length), 40)


@pytest.mark.parametrize("length", [1, 20])
@pytest.mark.parametrize("size", SIZES)
def test_a_block_of_any_size_is_named_as_the_culprit(size: int, length: int) -> None:
    outcome = run(SOURCE, how="memset", size=size, extra=length)
    assert outcome.facts["adjacent"]
    assert_overflow(outcome, size)


@pytest.mark.parametrize("length", [1, 9, 32])
@pytest.mark.parametrize("size", BIG)
def test_a_big_block_is_named_as_the_culprit(size: int, length: int) -> None:
    assert_overflow(run(SOURCE, how="loop", size=size, extra=length, row=1), size)


@pytest.mark.parametrize("length", [1, 20])
@pytest.mark.parametrize("by", ALLOCATORS)
def test_every_allocating_function_leads_to_its_line(by: str, length: int) -> None:
    assert_overflow(run(SOURCE, how="memset", size=100, extra=length, by=by, row=5), 100, by)


@pytest.mark.parametrize("found", ["free", "neighbour", "realloc", "exit"])
@pytest.mark.parametrize("length", [1, 15, 17, 40])
def test_it_is_found_at_the_next_operation_nearby_or_at_exit(length: int, found: str) -> None:
    outcome = run(SOURCE, how="memset", size=33, extra=length, found=found)
    assert_overflow(outcome, 33)
    expected = {"neighbour": "free"}.get(found, found)
    assert outcome.finding["detected"]["when"] == expected


def test_a_slack_byte_of_a_block_that_is_never_freed_is_found_at_exit() -> None:
    outcome = run(SOURCE, how="memset", size=1, extra=1, found="exit")
    assert_overflow(outcome, 1)
    assert outcome.finding["damage"]["copies"] == ["slack"]


@pytest.mark.parametrize("length", [1, 8, 40, 4096, 1 << 20])
def test_the_only_block_may_be_overrun_into_free_memory(length: int) -> None:
    outcome = run(SOURCE, how="loop", size=24, extra=length, row=1)
    finding = outcome.finding
    assert finding["kind"] == "heap-buffer-overflow"
    assert finding["culprit"]["size"] == 24
    assert finding["damage"]["offset"] == outcome.facts["first"] == 0
    # What was free has no witness beyond its links: the extent ends at the last byte that has one.
    assert min(length, 8) <= finding["damage"]["length"] <= length


@pytest.mark.parametrize("size", [1 << 20, 64 << 20])
@pytest.mark.parametrize("by", ["malloc", "realloc"])
def test_a_megabyte_past_a_big_block_neither_kills_nor_misleads(by: str, size: int) -> None:
    outcome = run(SOURCE, how="loop", size=size, extra=1 << 20, row=1, by=by)
    assert outcome.finding["kind"] == "heap-buffer-overflow"
    assert outcome.finding["culprit"]["size"] == size
    assert outcome.finding["damage"]["offset"] == 0


@pytest.mark.parametrize("size", [1, 24, 100, 5000, 1 << 20])
def test_the_clean_twin_gives_no_finding(size: int) -> None:
    run(SOURCE, how="memset", size=size, extra=0).assert_clean()


@pytest.mark.parametrize("by", ALLOCATORS)
@pytest.mark.parametrize("found", ["free", "neighbour", "realloc", "exit"])
def test_the_clean_twin_of_every_allocating_function_gives_no_finding(by: str, found: str) -> None:
    run(SOURCE, "-O0", how="memset", size=100, extra=0, by=by, found=found).assert_clean()
