"""What blocks of Python programs hold: arrays by their elements, and what processes are told that ask."""

import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heapwitness.diagnose.python_objects import element_at, find_arrays, type_at
from heapwitness.findings.model import Array, Block, Detected, Finding
from heapwitness.layout.process import Region, RegionKind
from heapwitness.memory import ProcessMemory
from heapwitness.supervise.cases import Cases
from heapwitness.supervise.channel import QUESTION
from heapwitness.supervise.examine import Examined
from heapwitness.supervise.heard import ANSWER_LIMIT, Heard


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.sampled_from([1, 2, 8, 12]),
    st.integers(-60, 3000),
    st.data(),
)
def test_element_of_any_byte_is_where_the_strides_lead(
    lengths: list[int], itemsize: int, byte: int, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(lengths))))
    strides, step = [0] * len(lengths), itemsize
    for axis in reversed(order):
        strides[axis], step = step, step * lengths[axis]
    array = Array(dtype="any", itemsize=itemsize, shape=tuple(lengths), strides=tuple(strides))

    element = element_at(array, byte)

    assert element is not None
    start = sum(index * stride for index, stride in zip(element, strides, strict=True))
    assert start <= byte < start + itemsize
    beyond = [axis for axis, index in enumerate(element) if not 0 <= index < lengths[axis]]
    assert len(beyond) <= 1


@pytest.mark.parametrize("strides", [(16,), (0,), (-8,)])
def test_elements_that_do_not_lie_side_by_side_have_no_number(strides: tuple[int, ...]) -> None:
    assert element_at(Array(dtype="float64", itemsize=8, shape=(4,), strides=strides), 32) is None


def _around(address: int) -> Region:
    return Region(address & ~15, 4096, RegionKind.ARENA, 0)


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.zeros((3, 40)), "float64"),
        (np.zeros(99, ">i4"), "big-endian int32"),
        (np.zeros(30, "U7"), "U7"),
        (np.zeros(40, [("a", "i8"), ("b", "f4")]), "structured"),
        (np.zeros(40, "V12"), "void"),
        (np.zeros(70, bool), "bool"),
        (np.array([None] * 50), "object"),
        (np.zeros(50, "M8[s]"), "datetime64"),
        (np.zeros((4, 5, 6), "c8", order="F"), "complex64"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_array_is_read_as_it_lies_in_memory(
    array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]", dtype: str
) -> None:
    block = Block(address=array.ctypes.data, size=array.nbytes, state="used", origin="malloc")
    view = array[:1]

    with ProcessMemory(os.getpid()) as memory:
        found = find_arrays(memory, [_around(id(array))], [block])

    expected = Array(dtype=dtype, itemsize=array.itemsize, shape=array.shape, strides=array.strides)
    assert found == {block.address: expected}
    assert view.base is array


def test_what_is_no_object_has_no_type() -> None:
    data = bytearray(4096)
    at = np.frombuffer(data, "u1").ctypes.data
    with ProcessMemory(os.getpid()) as memory:
        nothing = [type_at(memory, at), type_at(memory, 8), type_at(memory, 1 << 63)]
        objects: list[object] = [1.5, [], np.zeros(1), Heard]
        kinds = [type_at(memory, id(one)) for one in objects]

    assert nothing == [None, None, None]
    assert kinds == ["float", "list", "numpy.ndarray", "type"]


# --- what processes are told ----------------------------------------------------------------------


def _asked(heard: Heard, pid: int, since: int) -> dict[str, object]:
    answer = heard.answer(QUESTION + json.dumps({"pid": pid, "since": since}).encode())
    assert answer is not None
    told: dict[str, object] = json.loads(answer)
    return told


def _finding(pid: int, detail: str) -> Finding:
    return Finding(kind="header-overwrite", detected=Detected(when="check", thread=1, pid=pid), detail=detail)


def test_a_process_is_told_its_own_findings_once_they_have_names() -> None:
    heard, cases = Heard(), Cases()
    for pid in (7, 8):
        examined = Examined((_finding(pid, f"of {pid}"),), "", f"program {pid}")
        new = list(cases.add(examined))
        heard.note(examined, cases.of(examined))
        before = _asked(heard, pid, 0)
        new[0][0].finding = new[0][1]
        after = _asked(heard, pid, 0)

        assert (before["ready"], before["findings"]) == (False, [])
        findings = after["findings"]
        assert isinstance(findings, list)
        assert (after["ready"], after["told"], [one["detail"] for one in findings]) == (True, 1, [f"of {pid}"])
        assert _asked(heard, pid, 1)["findings"] == []


@pytest.mark.parametrize("question", [b"", b"{", b'{"pid": "x"}', b"\xff", b'{"since": 1}'])
def test_a_question_that_is_none_has_no_answer(question: bytes) -> None:
    assert Heard().answer(QUESTION + question) is None


def test_an_answer_is_bounded_and_keeps_the_sentences() -> None:
    heard, cases = Heard(), Cases()
    for number in range(40):
        examined = Examined((_finding(7, f"{number}" * 10_000),), "", str(number))
        for case, finding in cases.add(examined):
            case.finding = finding
        heard.note(examined, cases.of(examined))

    told = _asked(heard, 7, 0)

    assert len(json.dumps(told)) < 2 * ANSWER_LIMIT
    sentences = told["sentences"]
    assert isinstance(sentences, list)
    assert len(sentences) == 40
