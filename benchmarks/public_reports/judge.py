"""Whether a run came out as a row of rows.toml says it should.

A row has one or more lawful outcomes, `right`. One may give: `total`, how many findings there are, equal ones counted
by themselves; `each`, what holds for every finding, and `some`, for at least one; `struck`, what holds for the one that
the row is about; `status`, the exit status of heapwitness (99 after findings, else 0, unless given); `program`, that of
the program in the report; `says` and `never`, patterns for the text, in which blanks and ends of lines are one blank;
`operations`, how many at least.

A finding may be given by: `kind`; `offset` and `length` of the damage; `near`, how many bytes at most lie between its
start and the next address at which a payload may begin; `culprit`, a block; `named`, blocks of which each is the
culprit or a suspect. A block may be given by: `size`; `end` and `start`, the distance of the damage from them. A number
is one, or [least, most].

`strikes` of a row is a finding as well: a run without such a one is not what the row is about.
"""

import re
from collections.abc import Iterator
from typing import Any

from outcome import Outcome

# Blocks of a finding that are shown as the scene, and accused of nothing.
_SCENE = ("victim", "previous")


def complaints(row: dict[str, Any], outcome: Outcome) -> list[str]:
    """What is not as it should be, compared with the lawful outcome that is closest; nothing when it is right."""
    return min((_complaints(right, row.get("strikes"), outcome) for right in row["right"]), key=len)


def strikes(row: dict[str, Any], outcome: Outcome) -> bool:
    """Whether the run is one that the row is about."""
    return "strikes" not in row or any(not _finding(row["strikes"], one) for one in outcome.findings)


def _complaints(right: dict[str, Any], struck: dict[str, Any] | None, outcome: Outcome) -> list[str]:
    status = right.get("status", 0 if right.get("total") == 0 else 99)
    found = []
    if outcome.status != status:
        found.append(f"status {outcome.status}, not {status}")
    if not outcome.report:
        return [*found, "no report"]
    found += _about_the_run(right, outcome.report)
    total = sum(one["count"] for one in outcome.findings)
    if "total" in right and total != right["total"]:
        found.append(f"{total} findings, not {right['total']}")
    for one in outcome.findings:
        found += _finding(right.get("each", {}), one)
        if "struck" in right and not _finding(struck or {}, one):
            found += _finding(right["struck"], one)
    if "some" in right:
        each = [_finding(right["some"], one) for one in outcome.findings] or [["no finding"]]
        closest = min(each, key=len)
        found += closest
    text = " ".join(outcome.errors.split())
    found += [f"does not say {one!r}" for one in right.get("says", []) if not re.search(one, text)]
    found += [f"says {one!r}" for one in right.get("never", []) if re.search(one, text)]
    return found


def _about_the_run(right: dict[str, Any], report: dict[str, Any]) -> Iterator[str]:
    ended = report["program"]["exit_status"]
    if "program" in right and ended != right["program"]:
        yield f"the program's status is told as {ended}, not {right['program']}"
    operations = report["summary"]["operations"]
    if operations < right.get("operations", 0):
        yield f"{operations} operations checked"


def _finding(right: dict[str, Any], finding: dict[str, Any]) -> list[str]:
    """What is wrong with a finding."""
    damage = finding["damage"] or {}
    found = []
    if finding["kind"] != right.get("kind", finding["kind"]):
        found.append(f"{finding['kind']}, not {right['kind']}")
    for name in ("offset", "length"):
        if name in right and not _within(damage.get(name), right[name]):
            found.append(f"{name} {damage.get(name)}, not {right[name]}")
    # Payloads begin at multiples of 16.
    if "near" in right and -damage.get("address", 0) % 16 > right["near"]:
        found.append("not right before a block")
    if "culprit" in right and not (finding["culprit"] and _is(right["culprit"], finding["culprit"], damage)):
        found.append(f"the culprit is not the block of {_text(right['culprit'])}")
    accused = list(_accused(finding))
    for block in right.get("named", []):
        if not any(_is(block, one, damage) for one in accused):
            found.append(f"the block of {_text(block)} is neither culprit nor suspect")
    return found


def _accused(told: Any) -> Iterator[dict[str, Any]]:
    """The blocks that a finding holds to have been overrun, surely or perhaps, wherever in it they are told."""
    if isinstance(told, list):
        for one in told:
            yield from _accused(one)
    elif isinstance(told, dict):
        if {"address", "size", "state"} <= told.keys():
            yield told
        for name, value in told.items():
            if name not in _SCENE:
                yield from _accused(value)


def _is(right: dict[str, Any], block: dict[str, Any], damage: dict[str, Any]) -> bool:
    start = damage.get("address", 0) - block["address"]
    values = {"size": block["size"], "start": start, "end": start - block["size"]}
    return all(_within(values[name], bounds) for name, bounds in right.items())


def _text(block: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in block.items())


def _within(value: int | None, bounds: int | list[int]) -> bool:
    least, most = bounds if isinstance(bounds, list) else (bounds, bounds)
    return value is not None and least <= value <= most
