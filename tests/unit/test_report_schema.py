"""The published schema says what the model says, in words that no library chooses."""

import json as standard
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import jsonschema
import msgspec
import pytest

from heapwitness.report import json
from heapwitness.report.json_schema import schema_of


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a whole.

    Its second line.
    """

    name: str
    colour: Literal["red", "blue"] = "red"


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    size: int
    exact: bool = True
    ratio: float | None = None
    parts: tuple[Part, ...] = ()
    first: Part | None = None
    fields: dict[str, int | str] = {}


def test_a_schema_is_written_in_these_words() -> None:
    assert schema_of(Whole) == {
        "$ref": "#/$defs/Whole",
        "$defs": {
            "Part": {
                "title": "Part",
                "description": "A part of a whole.\n\nIts second line.",
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "colour": {"enum": ["blue", "red"], "default": "red"},
                },
                "required": ["name"],
            },
            "Whole": {
                "title": "Whole",
                "type": "object",
                "properties": {
                    "size": {"type": "integer"},
                    "exact": {"type": "boolean", "default": True},
                    "ratio": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None},
                    "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}, "default": []},
                    "first": {"anyOf": [{"$ref": "#/$defs/Part"}, {"type": "null"}], "default": None},
                    "fields": {
                        "type": "object",
                        "additionalProperties": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
                        "default": {},
                    },
                },
                "required": ["size"],
            },
        },
    }


@pytest.mark.parametrize(
    ("document", "valid"),
    [
        ({"size": 1}, True),
        ({"size": 1, "ratio": 0.5, "first": {"name": "a"}, "fields": {"x": 1, "y": "z"}}, True),
        ({"size": 1, "unknown": []}, True),
        ({}, False),
        ({"size": "1"}, False),
        ({"size": 1, "exact": None}, False),
        ({"size": 1, "parts": [{"name": "a", "colour": "green"}]}, False),
        ({"size": 1, "first": {}}, False),
        ({"size": 1, "fields": {"x": None}}, False),
    ],
)
def test_a_schema_accepts_what_the_record_can_be_read_from(document: dict[str, Any], valid: bool) -> None:
    try:
        msgspec.convert(document, Whole)
        read = True
    except msgspec.ValidationError:
        read = False
    assert jsonschema.Draft202012Validator(schema_of(Whole)).is_valid(document) is read is valid


@pytest.mark.parametrize(
    "fields",
    [
        [("name", str), ("colour", Literal["red", "blue"], "red"), ("added", int, 0)],
        [("name", str)],
        [("name", int), ("colour", Literal["red", "blue"], "red")],
        [("name", str | None), ("colour", Literal["red", "blue"], "red")],
        [("name", str), ("colour", Literal["red", "blue", "green"], "red")],
        [("name", str), ("colour", Literal["red", "blue"], "blue")],
        [("name", str), ("colour", Literal["red", "blue"])],
        [("title", str), ("colour", Literal["red", "blue"], "red")],
    ],
    ids=["added", "removed", "typed", "nullable", "enum", "default", "required", "renamed"],
)
def test_a_change_of_a_field_changes_the_schema(fields: list[Any]) -> None:
    changed = msgspec.defstruct("Part", fields, frozen=True, kw_only=True, namespace={"__doc__": Part.__doc__})
    assert schema_of(changed) != schema_of(Part)


def test_the_order_of_fields_and_of_names_changes_nothing() -> None:
    same = [("colour", Literal["blue", "red"], "red"), ("name", str)]
    changed = msgspec.defstruct("Part", same, frozen=True, kw_only=True, namespace={"__doc__": Part.__doc__})
    assert schema_of(changed) == schema_of(Part)


def test_a_type_that_no_report_has_so_far_is_named() -> None:
    class Odd(msgspec.Struct):
        odd: set[int]

    with pytest.raises(TypeError, match=r"Odd\.odd, set\[int\]"):
        schema_of(Odd)


def test_the_published_schema_is_that_of_the_model() -> None:
    assert standard.loads(json.SCHEMA_FILE.read_text()) == json.schema()


def test_the_module_writes_the_published_schema_to_the_byte(tmp_path: Path) -> None:
    written = tmp_path / "schema.json"
    subprocess.run([sys.executable, "-m", "heapwitness.report.json", written], check=True)
    assert written.read_bytes() == json.SCHEMA_FILE.read_bytes()
