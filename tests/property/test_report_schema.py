"""Law: the published schema accepts a document exactly when the model reads it.

It holds for any report and for any single change of one, so a field, a type or a name that only one of the two knows
is noticed, however either of them is worded.
"""

import copy
import json as standard
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heapwitness.findings import model
from heapwitness.report import json

RECORDS = [one for one in vars(model).values() if isinstance(one, type) and issubclass(one, msgspec.Struct)]
HEAVY = {"findings": model.Finding, "accepted": model.Accepted, "maps": model.HeapMap}
VALUES: tuple[Any, ...] = (None, True, 7, -1.5, "text", [], [None], ["text"], {}, {"text": None}, {"text": 7})


def records(record: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Any record of a type, each of its fields filled; of what is large there is one at most."""
    few = {
        name: st.lists(st.from_type(one), max_size=1).map(tuple)
        for name, one in HEAVY.items()
        if record is model.Report
    }
    return st.builds(record, **{name: few.get(name, ...) for name in record.__struct_fields__ if name != "schema"})


for one in RECORDS:
    st.register_type_strategy(one, records(one))
DOCUMENTS = records(model.Report).map(lambda report: standard.loads(json.encode(report)))


@cache
def published() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(standard.loads(json.SCHEMA_FILE.read_text()))


def is_read(document: object, record: type[msgspec.Struct] = model.Report) -> bool:
    try:
        msgspec.json.decode(standard.dumps(document), type=record)
    except msgspec.ValidationError:
        return False
    return True


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all values in a document."""
    members: list[tuple[Any, Any]] = []
    if isinstance(document, dict):
        members = list(document.items())
    elif isinstance(document, list):
        members = list(enumerate(document))
    for key, value in members:
        yield (*path, key)
        yield from places(value, (*path, key))


def changed(document: Any, path: tuple[Any, ...], *value: Any) -> Any:
    """A copy with one value replaced, or without it where none is given."""
    whole = copy.deepcopy(document)
    part = whole
    for key in path[:-1]:
        part = part[key]
    if value:
        part[path[-1]] = value[0]
    else:
        del part[path[-1]]
    return whole


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(DOCUMENTS)
def test_any_report_is_valid_by_the_published_schema(document: Any) -> None:
    published().validate(document)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(DOCUMENTS, st.data())
def test_a_changed_document_is_valid_exactly_when_the_model_reads_it(document: Any, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(list(places(document))), "path")
    value = data.draw(st.sampled_from([(), *((one,) for one in VALUES)]), "value")
    one = changed(document, path, *value)
    assert published().is_valid(one) is is_read(one)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_each_field_of_each_record_is_held_to_the_model(record: type[msgspec.Struct], data: st.DataObject) -> None:
    schema = published().schema
    assert list(schema["$defs"][record.__name__]["properties"]) == sorted(record.__struct_encode_fields__)
    validator = published().evolve(schema={**schema, "$ref": f"#/$defs/{record.__name__}"})
    whole = standard.loads(msgspec.json.encode(data.draw(records(record))))
    for name in whole:
        for value in [(), *((one,) for one in VALUES)]:
            one = changed(whole, (name,), *value)
            assert validator.is_valid(one) is is_read(one, record), (name, value)
