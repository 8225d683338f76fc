"""Dumps as text, made to fill the memory, cost little and are one sentence."""

import tracemalloc

import pytest

from heapwitness.liteos.image import BadImage, hexadecimal
from heapwitness.liteos.image.load import parse

MEGABYTE = 1 << 20


def s_record(address: int, data: bytes) -> bytes:
    raw = bytes([len(data) + 5]) + address.to_bytes(4, "big") + data
    return b"S3" + (raw + bytes([~sum(raw) & 0xFF])).hex().upper().encode() + b"\n"


def intel_hex(address: int, data: bytes) -> bytes:
    raw = bytes([len(data)]) + address.to_bytes(2, "big") + b"\0" + data
    return b":" + (raw + bytes([-sum(raw) & 0xFF])).hex().upper().encode() + b"\n"


END = {s_record: b"S70500000000FA\n", intel_hex: b":00000001FF\n"}


@pytest.mark.parametrize("record", [s_record, intel_hex])
@pytest.mark.parametrize("line", ["empty", "blank", "comment"])
def test_lines_without_bytes_cost_no_memory(record, line: str) -> None:  # type: ignore[no-untyped-def]
    one = {"empty": record(0, b""), "blank": b"\r\n", "comment": b" \t \n"}[line]
    data = record(16, b"x") + one * 100_000 + END[record]
    tracemalloc.start()

    image = parse(data, "dump")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert [(one.address, bytes(one.data)) for one in image.segments] == [(16, b"x")]
    assert peak < 2 * MEGABYTE


@pytest.mark.parametrize("record", [s_record, intel_hex])
def test_bytes_that_follow_each_other_are_held_twice_at_most(record) -> None:  # type: ignore[no-untyped-def]
    data = b"".join(record(16 * number, bytes(16)) for number in range(4096)) + END[record]
    tracemalloc.start()

    image = parse(data, "dump")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(image.segments) == 1 and len(image.segments[0].data) == 1 << 16
    assert peak < 3 << 16


@pytest.mark.parametrize("record", [s_record, intel_hex])
def test_numbers_of_lines_and_places_are_bounded(record, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(hexadecimal, "LINES_LIMIT", 100)
    monkeypatch.setattr(hexadecimal, "STRETCHES_LIMIT", 10)

    with pytest.raises(BadImage, match="more than 100 lines"):
        parse(record(0, b"x") + record(0, b"") * 200 + END[record], "dump")
    with pytest.raises(BadImage, match="more than 10 places"):
        parse(b"".join(record(2 * n, b"x") for n in range(20)) + END[record], "dump")


@pytest.mark.parametrize("record", [s_record, intel_hex])
def test_a_line_without_an_end_is_broken(record) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadImage, match="line 2 is broken: it is too long"):
        parse(record(0, b"x") + b"0" * MEGABYTE, "dump")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("record", [s_record, intel_hex])
def test_a_changed_dump_keeps_every_other_byte(record, end: bytes) -> None:  # type: ignore[no-untyped-def]
    data = (b"".join(record(4 * n, b"abcd") for n in range(3)).lower().upper() + b" \n" + END[record]).replace(
        b"\n", end
    )
    image = parse(data, "dump")

    class Patch:
        address, new = 5, b"X"

    changed = image.patched([Patch()])

    assert changed == data.replace(record(4, b"abcd").replace(b"\n", end), record(4, b"aXcd").replace(b"\n", end))
