"""The report as a document, and its schema."""

import errno
import io
import json as standard
import os
import struct
from pathlib import Path

import jsonschema
import pytest
from engine_messages import CRASH, CRASHED, DOUBLE, FINDING, message, section
from support.heaps import Heap

import heapwitness
from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import Block, Detected, Finding, Frame, Program, Report, Site, Summary
from heapwitness.report import json
from heapwitness.supervise import recorded


def report(*argv: str) -> Report:
    """A report with a real finding in it."""
    heap = Heap()
    blocks = [heap.allocate(20) for _ in range(9)]
    heap.write(heap.end(blocks[3]), b"x" * 40)
    return Report(
        program=Program(argv=argv or ("./server", "-p", "80"), pid=4242, exit_status=0),
        findings=heap.findings(),
        summary=Summary(operations=12, nodes=9, findings=1, repaired=1, backup_bytes=144, processes=1),
        warnings=("cut short",),
    )


def test_a_document_is_read_back_as_it_was() -> None:
    assert json.decode(json.encode(report())) == report()


def test_a_document_has_the_field_names_of_the_design() -> None:
    document = standard.loads(json.encode(report()))
    assert document["schema"] == "heapwitness-report/1"
    finding = document["findings"][0]
    names = {"kind", "detected", "culprit", "victim", "previous", "damage", "header", "repaired", "store"}
    assert names <= finding.keys()
    assert {"address", "size", "state", "origin", "allocated", "freed"} <= finding["culprit"].keys()
    assert {"address", "length", "offset", "expected", "actual", "copies"} <= finding["damage"].keys()
    assert {"stored", "backup", "restored_from"} <= finding["header"].keys()
    frame = finding["culprit"]["allocated"]["stack"][0]
    assert {"pc", "module", "build_id", "offset", "function", "file", "line", "column", "inlined"} <= frame.keys()
    assert finding["store"] is None


def test_documents_are_valid_by_the_published_schema() -> None:
    published = standard.loads(json.SCHEMA_FILE.read_text())
    validator = jsonschema.Draft202012Validator(published)
    validator.check_schema(published)
    for one in (report(), Report(), Report(source="dump.bin")):
        validator.validate(standard.loads(json.encode(one)))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({"schema": "heapwitness-report/2"})


def test_what_is_no_text_is_escaped() -> None:
    document = standard.loads(json.encode(report(os.fsdecode(b"./caf\xe9"))))
    assert document["program"]["argv"] == ["./caf\\udce9"]


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    path.chmod(0o600)
    json.write(report(), path)
    assert json.decode(path.read_bytes()) == report()
    assert os.listdir(tmp_path) == ["report.json"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    json.write(report(), tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert json.decode((tmp_path / "real.json").read_bytes()) == report()


def test_a_pipe_or_a_device_is_written_to(tmp_path: Path) -> None:
    json.write(report(), Path("/dev/null"))
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("name", ["missing/report.json", "."])
def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(HeapwitnessError, match="could not be written"):
        json.write(report(), tmp_path / name)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence() -> None:
    with pytest.raises(HeapwitnessError, match="No space left"):
        json.write(report(), Path("/dev/full"))


DEEP = b'{"schema": "heapwitness-report/1", "x": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}"


@pytest.mark.parametrize(
    "data",
    [b"", b"{}x", b"[]", b'{"schema": "heapwitness-report/2"}', b"\xff", b"{}", b'{"name": "package"}', DEEP],
    ids=lambda data: repr(data[:40]),
)
def test_what_is_no_report_is_one_sentence(data: bytes) -> None:
    with pytest.raises(HeapwitnessError, match="heapwitness-report/1"):
        json.decode(data)


def found(pc: int, kind: str = "heap-buffer-overflow", address: int = 0, repaired: bool = True) -> Finding:
    block = Block(
        address=address, size=8, state="used", origin="malloc", allocated=Site(thread=1, stack=(Frame(pc=pc),))
    )
    return Finding(kind=kind, detected=Detected(when="free", thread=1), culprit=block, repaired=repaired)  # type: ignore[arg-type]


def test_a_report_is_loaded_from_its_file(tmp_path: Path) -> None:
    json.write(report(), tmp_path / "report.json")

    assert heapwitness.load_report(tmp_path / "report.json") == report()


@pytest.mark.parametrize("content", [None, b"", b"{}x", b'{"schema": "heapwitness-report/9"}'])
def test_a_file_without_a_report_is_refused_by_its_name(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "report.json").write_bytes(content)

    with pytest.raises(heapwitness.BadReport, match=r"report\.json"):
        heapwitness.load_report(tmp_path / "report.json")


@pytest.mark.parametrize("summary", [{}, {"findings": -4}, {"findings": 0, "dropped": 2}])
def test_a_report_whose_sum_has_fewer_findings_than_it_has_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], summary: dict[str, int]
) -> None:
    document = standard.loads(json.encode(report()))
    document["summary"] = summary
    (tmp_path / "report.json").write_text(standard.dumps(document))

    assert recorded.report(tmp_path / "report.json") == 99
    assert "0 findings" not in capsys.readouterr().out


class Torn(io.BytesIO):
    """A file whose end the disk does not give."""

    def __init__(self, data: bytes, plain: int) -> None:
        super().__init__(data)
        self.fileno = lambda: plain  # type: ignore[method-assign]

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if size and size > 0 and not data:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return data


def test_a_record_that_cannot_be_read_to_its_end_is_told_as_far_as_it_can(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = message(FINDING, reason=DOUBLE, pointer=0x1234)
    (tmp_path / "plain").write_bytes(release)
    with open(tmp_path / "plain", "rb") as plain:
        monkeypatch.setattr(recorded, "reading", lambda path: Torn(release, plain.fileno()))
        with pytest.raises(HeapwitnessError, match="cannot be read to its end: Input/output error"):
            recorded.report(tmp_path / "plain")

    assert "0x1234 was released twice" in capsys.readouterr().out


def test_a_crash_before_the_damage_in_a_record_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = struct.pack("<42Q", 62, 11, 1, 0x40, *[0] * 38)
    (tmp_path / "log").write_bytes(message(CRASH, section(CRASHED, words)) + b"no event at all")

    with pytest.raises(HeapwitnessError, match="is damaged"):
        recorded.report(tmp_path / "log")

    assert "SIGSEGV" in capsys.readouterr().out
