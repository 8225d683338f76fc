"""A dump is read by the public names of `heapwitness.liteos` alone, as `heapwitness inspect` reads it."""

from pathlib import Path

import pytest
from support import liteos

from heapwitness import HeapwitnessError
from heapwitness.liteos import BadImage, diagnose, find_pools, guess_layout, inspect, load_image, plan_repair

DAMAGED = [path for path in liteos.damaged() if path.name.startswith("both-copies")]


def image_of(path: Path) -> Path:
    return path.with_name(path.name.replace(".json.gz", ".before.img.gz"))


@pytest.mark.parametrize("path", DAMAGED, ids=lambda path: f"{path.parent.name}/{path.name.split('.')[0]}")
def test_a_dump_is_read_step_by_step_as_inspect_reads_it(path: Path) -> None:
    known, _ = liteos.load(path)
    (segment,) = load_image(image_of(path), base=known["pool"]).segments
    data = bytes(segment.data.part(0, len(segment.data)))

    layout = guess_layout(data, segment.address).layout
    (pool,) = find_pools(segment, layout, placed=True)
    findings = diagnose(data, pool.address, layout)
    repair = plan_repair(data, pool.address, layout)

    whole = inspect(image_of(path), base=known["pool"])
    assert pool.address == known["pool"]
    assert [(one.kind, one.node) for one in findings] == [(one.kind, one.node) for one in whole.findings] != []
    assert repair.changes


def test_inspect_takes_what_the_command_line_takes() -> None:
    known, _ = liteos.load(DAMAGED[0])

    examined = inspect(str(image_of(DAMAGED[0])), width=known["width"], pools=[known["pool"]])

    assert [pool.address for pool in examined.pools] == [known["pool"]]


def test_errors_are_those_that_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="nothing_here"):
        load_image(tmp_path / "nothing_here")
    with pytest.raises(HeapwitnessError, match="nothing_here"):
        inspect(tmp_path / "nothing_here")
