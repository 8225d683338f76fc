"""The JSON Schema (2020-12) of records, in words of our own.

It is read from the annotations of the records, so it changes when they do, and only then: libraries that write schemas
change their wording between releases, and Python itself stores docstrings differently from 3.13 on.
"""

import inspect
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

_SCALARS: dict[Any, dict[str, Any]] = {
    bool: {"type": "boolean"},
    float: {"type": "number"},
    int: {"type": "integer"},
    str: {"type": "string"},
    types.NoneType: {"type": "null"},
}


def schema_of(record: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema of a record as JSON writes it; records in it are definitions of their own.

    Raises:
        TypeError: a field has a type that a report has no use for so far; says which.
    """
    definitions = {one.__name__: _object(one) for one in sorted(_records(record), key=lambda one: one.__name__)}
    return {"$ref": _place(record), "$defs": definitions}


def _records(record: type[msgspec.Struct]) -> set[type[msgspec.Struct]]:
    """The record and all that its fields lead to."""
    found: set[type[msgspec.Struct]] = set()
    waiting = [record]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += [part for hint in get_type_hints(one).values() for part in _parts(hint)]
    return found


def _parts(hint: Any) -> Iterator[type[msgspec.Struct]]:
    if _is_record(hint):
        yield hint
    for argument in get_args(hint):
        yield from _parts(argument)


def _is_record(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def _place(record: type[msgspec.Struct]) -> str:
    return f"#/$defs/{record.__name__}"


def _object(record: type[msgspec.Struct]) -> dict[str, Any]:
    hints = get_type_hints(record)
    fields = msgspec.structs.fields(record)
    return {
        "title": record.__name__,
        **({"description": inspect.cleandoc(record.__doc__)} if record.__doc__ else {}),
        "type": "object",
        "properties": {
            field.encode_name: _typed(hints[field.name], f"{record.__name__}.{field.name}") | _default(field)
            for field in fields
        },
        "required": [field.encode_name for field in fields if field.required],
    }


def _default(field: msgspec.structs.FieldInfo) -> dict[str, Any]:
    if field.required:
        return {}
    if field.default_factory is not msgspec.NODEFAULT:
        return {"default": _document(field.default_factory())}
    return {"default": _document(field.default)}


def _document(value: object) -> Any:
    """A value as it is read back from JSON, which has arrays and no tuples."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _typed(hint: Any, where: str) -> dict[str, Any]:
    if hint in _SCALARS:
        return dict(_SCALARS[hint])
    if _is_record(hint):
        return {"$ref": _place(hint)}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": sorted(arguments)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_typed(one, where) for one in arguments]}
    if origin is tuple and arguments[1:] == (...,):
        return {"type": "array", "items": _typed(arguments[0], where)}
    if origin is dict and arguments[0] is str:
        return {"type": "object", "additionalProperties": _typed(arguments[1], where)}
    raise TypeError(f"the schema has no words for the type of {where}, {hint}")
