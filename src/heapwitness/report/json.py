"""The report as JSON, and the schema of it.

`python -m heapwitness.report.json FILE` writes the schema that is published in the package.
"""

import json
import sys
from os import PathLike
from pathlib import Path
from typing import Any

import msgspec

from heapwitness.errors import HeapwitnessError
from heapwitness.findings.model import SCHEMA, Report
from heapwitness.named import reading
from heapwitness.report.json_schema import schema_of
from heapwitness.report.writing import put

SCHEMA_FILE = Path(__file__).parent / "schema" / "heapwitness-report-1.json"


BYTES_LIMIT = 1 << 30
"""Bytes of a document that is read."""


class BadReport(HeapwitnessError):
    """A file that should hold a report does not."""


class _Named(msgspec.Struct):
    """What a document says that it is."""

    schema: str | None = None


def encode(report: Report) -> bytes:
    """The document, indented, in UTF-8, with a newline at its end.

    What is no text (a file name of the target's may be any bytes) is written as \\udcXX escapes.
    """
    try:
        compact = msgspec.json.encode(report)
    except UnicodeEncodeError:
        compact = msgspec.json.encode(_as_text(msgspec.to_builtins(report)))
    return msgspec.json.format(compact, indent=2) + b"\n"


def decode(data: bytes) -> Report:
    """The report in a document.

    Raises:
        BadReport: it is none, or one of another version.
    """
    try:
        found = msgspec.json.decode(data, type=Report)
        named = msgspec.json.decode(data, type=_Named).schema
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadReport(f"this is no {SCHEMA} document: {error}.") from error
    except RecursionError as error:
        raise BadReport(f"this is no {SCHEMA} document: it has too many brackets inside of brackets.") from error
    if named is None:
        raise BadReport(f"this is no {SCHEMA} document: it does not say that it is one.")
    return found


def load(path: str | PathLike[str]) -> Report:
    """The report in a file, as `heapwitness run --json` writes it.

    Addresses and sizes in it are in bytes.

    Args:
        path: the file.

    Raises:
        BadReport: the file cannot be read, or has no report of this version.

    Source: docs/report.md; the schema is in the package (`heapwitness/report/schema`).
    """
    try:
        with reading(path) as stream:
            data = stream.read(BYTES_LIMIT + 1)
    except OSError as error:
        raise BadReport(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(data) > BYTES_LIMIT:
        raise BadReport(f"{path} is too long for a report.")
    try:
        return decode(data)
    except BadReport as error:
        raise BadReport(f"{path}: {error}") from error


def write(report: Report, path: Path) -> None:
    """Write the document to a file, which has either all of it or what it had before, or to stdout ("-").

    Raises:
        HeapwitnessError: it could not be written; says why.
    """
    put(encode(report), path, "json")


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a report."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://heapwitness.invalid/{SCHEMA}.json",
        "title": SCHEMA,
        **schema_of(Report),
    }


def _as_text(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_as_text(key): _as_text(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_text(one) for one in value]
    return value


def _write_schema(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(schema(), indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    _write_schema(Path(sys.argv[1]) if len(sys.argv) > 1 else SCHEMA_FILE)
