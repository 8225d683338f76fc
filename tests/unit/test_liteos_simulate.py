"""A trace on the kernel's heap and on ours, with faults: who says what."""

from pathlib import Path

import pytest
from support import liteos

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos.simulate import faults
from heapwitness.liteos.simulate import trace as traces
from heapwitness.liteos.simulate.simulate import Simulation, Step

LOG = """
init 16384 0x20000000
task 5
a = alloc 100     # operation 2
b = alloc 64
c = alloc_align 40 256
d = alloc 24
free b            # operation 6
a = realloc a 300
free d
"""


def steps_of(*injected: str, log: str = LOG, config: str = "backup-taskstat-32") -> list[Step]:
    given = [faults.parse(text) for text in injected]
    return list(Simulation(traces.parse(log), liteos.CONFIGS[config], given).run())


def kinds_of(steps: list[Step]) -> list[tuple[int, str]]:
    return [(step.number, finding.kind) for step in steps for finding in step.findings]


@pytest.mark.parametrize("path", liteos.traces(), ids=lambda path: path.name.split(".")[0])
def test_a_recorded_trace_agrees_at_every_operation(path: Path) -> None:
    name = path.name.split(".")[0].rsplit("-", 1)[0]

    steps = Simulation(traces.load(path), liteos.CONFIGS[name]).run()

    assert [step.number for step in steps if step.disagrees] == []


def test_a_log_runs_without_a_finding() -> None:
    steps = steps_of()

    assert [step.text for step in steps][:3] == ["task 5", "alloc 100", "alloc 64"]
    assert kinds_of(steps) == []
    assert all(step.kernel_answer == step.our_answer for step in steps)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("overflow@2:1", "heap-buffer-overflow"),
        ("overflow@2:30:0x41", "heap-buffer-overflow"),
        ("underflow@3:4", "heap-buffer-underflow"),
        ("bit@3:31", "header-overwrite"),
        ("bit@3:5", "header-overwrite"),
        ("header@3", "header-overwrite"),
        ("header@3:0xff", "header-overwrite"),
        ("backup@3", "header-overwrite"),
        ("both@3", "header-overwrite"),
        ("prenode@3", "header-overwrite"),
        ("links@6", "header-overwrite"),
        ("gap@4", "header-overwrite"),
        ("write@3:0x20000000:deadbeef", "header-overwrite"),
        ("wild-free@2:8", "invalid-free"),
        ("wild-free@2:-4", "invalid-free"),
        ("wild-free@2", "invalid-free"),
        ("double-free@6", "double-free"),
        ("double-free@8", "double-free"),
    ],
)
def test_every_kind_of_fault_is_found(fault: str, kind: str) -> None:
    assert kind in [found for _, found in kinds_of(steps_of(fault))]


def test_what_is_found_is_repaired_and_the_rest_of_the_trace_goes_on() -> None:
    steps = steps_of("overflow@2:16")

    assert kinds_of(steps) == [(3, "heap-buffer-overflow")]
    assert steps[2].faults == ("overflow@2:16",)
    assert steps[2].findings[0].repaired
    assert [step.our_answer for step in steps if step.text.startswith("free")] == [0, 0]


def test_where_the_kernel_speaks_and_where_it_is_silent() -> None:
    log = "a = alloc 40\nb = alloc 40\nc = alloc 40\nd = alloc 40\nfree b\nfree a"

    steps = steps_of("underflow@2:4", log=log, config="backup-32")
    silent = steps_of("underflow@2:1", log=log, config="backup-32")

    assert [step.number for step in steps if "is bad !!" in step.console] == [5]
    assert [step.number for step in silent if step.console] == []
    assert [step.kernel_answer for step in silent if step.number == 5] == [1]
    assert len(kinds_of(steps)) == len(kinds_of(silent)) == 1


def test_a_kernel_that_would_not_return_stops_and_ours_goes_on() -> None:
    steps = steps_of("bit@3:2", "write@3:0x200003d0:ffffffffffffffff", "links@6")

    died = [step for step in steps if step.died]
    assert len(died) <= 1
    assert steps[-1].our_answer is None


def test_a_check_in_a_log_is_made_there() -> None:
    steps = steps_of("overflow@1:8", log="a = alloc 40\ncheck\nb = alloc 40")

    assert kinds_of(steps) == [(2, "heap-buffer-overflow")]


def test_an_allocation_that_fails_is_answered_with_nothing() -> None:
    steps = steps_of(log="a = alloc 100000\nb = alloc 40\nfree b")

    assert [step.our_answer for step in steps[:3]] == [0, steps[1].kernel_answer, 0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("overflow", "is no fault"),
        ("overrun@3:4", "is no fault"),
        ("overflow@3", "takes 1 to 2"),
        ("overflow@3:x", "is no number"),
        ("overflow@3:0", "give 1 to"),
        ("bit@3:32", "bits 0 to 31"),
        ("write@3:0x20000000:zz", "hexadecimal"),
        ("double-free@3:1", "takes 0 to 0"),
    ],
)
def test_a_fault_that_is_none_is_refused(text: str, says: str) -> None:
    with pytest.raises(HeapwitnessError, match=says):
        faults.parse(text)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("overflow@99:4", "the operations 1 to 8"),
        ("overflow@1:4", "has no block"),
        ("links@2", "only a free block"),
        ("gap@2", "not aligned"),
        ("overflow@2:1000000", "outside of the pool"),
        ("write@2:0x10:00", "outside of the pool"),
    ],
)
def test_a_fault_that_cannot_be_put_there_is_refused(fault: str, says: str) -> None:
    with pytest.raises(HeapwitnessError, match=says):
        steps_of(fault)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no operation in it"),
        ("a = alloc", "alloc takes size"),
        ("alloc x", "is no number"),
        ("a = allocate 3", "no operation; there are"),
        ("alloc 3\ninit 100", "init must come first"),
        ("init 99999999999\nalloc 3", "cannot be simulated"),
        ('{"op": "alloc"}', "needs size"),
        ('{"op": "jump"}', "no operation that can be simulated"),
        ('{"op": "alloc", "size": -1}', "number of 64 bits"),
        ('{"op": "alloc", "size": 1}\nnonsense', "line 2"),
        ('{"op": 3', "line 1"),
    ],
)
def test_a_trace_that_is_none_is_refused_with_its_line(text: str, says: str) -> None:
    with pytest.raises(HeapwitnessError, match=says):
        traces.parse(text)


def test_a_binary_file_is_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(b"\xff\xfe\0")

    with pytest.raises(HeapwitnessError, match="is no text"):
        traces.load(path)


def test_modules_need_their_option() -> None:
    with pytest.raises(HeapwitnessError, match="MUL_MODULE"):
        steps_of(log="a = alloc_module 10 3")

    assert kinds_of(steps_of(log="a = alloc_module 10 3\nfree a", config="backup-mulmodule-32")) == []


def test_what_is_left_of_the_kernels_pool_can_be_dumped() -> None:
    simulation = Simulation(traces.parse(LOG), liteos.CONFIGS["backup-32"], [faults.parse("overflow@8:4")])
    list(simulation.run())

    dump = simulation.kernel_bytes()

    assert len(dump) == 16384
    assert b"OVER" in dump
