"""Dumps of genuine kernels: each told by its `.config` and guessed, and each healthy one left as it is by a repair."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from support import liteos

from heapwitness.liteos.dump.examine import DumpOptions, examine
from heapwitness.liteos.dump.mend import mend

REAL = liteos.ALL / "real"
ROWS: list[dict[str, Any]] = json.loads((REAL / "truth.json").read_text()) if REAL.is_dir() else []
HEALTHY = [row for row in ROWS if not row["findings"]]

pytestmark = pytest.mark.skipif(not ROWS, reason="the dumps do not lie beside the repository")


def options_of(row: dict[str, Any], *, told: bool, base: bool = True) -> DumpOptions:
    return DumpOptions(
        image=REAL / row["dump"],
        config=REAL / row["config"] if told else None,
        base=row["base"] if base else None,
    )


@pytest.mark.parametrize("told", [True, False], ids=["told", "guessed"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["dump"].split(".")[0])
def test_a_dump_shows_what_happened_on_the_device(row: dict[str, Any], told: bool) -> None:
    examined = examine(options_of(row, told=told))

    assert [pool.address for pool in examined.pools] == row["pools"]
    assert examined.known.layout.width == row["width"]
    assert [finding.kind for finding in examined.findings] == [truth["kind"] for truth in row["findings"]]
    for finding, truth in zip(examined.findings, row["findings"], strict=True):
        assert finding.culprit is not None and finding.damage is not None
        lengths = truth["length"] if isinstance(truth["length"], list) else [truth["length"]]
        assert finding.damage.length in lengths
        if truth["culprit"] is not None:
            assert (finding.culprit.address, finding.culprit.size) == (truth["culprit"], truth["size"])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["dump"].split(".")[0])
def test_without_an_address_the_dump_tells_where_it_lies(row: dict[str, Any]) -> None:
    examined = examine(options_of(row, told=False, base=False))

    assert [pool.address for pool in examined.pools] == row["pools"]
    assert [finding.kind for finding in examined.findings] == [truth["kind"] for truth in row["findings"]]


@pytest.mark.parametrize("told", [True, False], ids=["told", "guessed"])
@pytest.mark.parametrize("row", HEALTHY, ids=lambda row: row["dump"].split(".")[0])
def test_a_repair_changes_no_byte_of_a_healthy_pool(row: dict[str, Any], told: bool) -> None:
    mended = mend(examine(options_of(row, told=told)))

    assert [pool.restoration.changes for pool in mended] == [()]
    assert [pool.left for pool in mended] == [()]


@pytest.mark.parametrize("row", HEALTHY, ids=lambda row: row["dump"].split(".")[0])
def test_damage_in_a_dump_of_a_running_device_is_found(row: dict[str, Any], tmp_path: Path) -> None:
    data = bytearray(gzip.decompress((REAL / row["dump"]).read_bytes()))
    nodes = examine(options_of(row, told=True)).pools[0].evidence.nodes
    node = next(one for one in nodes[5:] if one.intact and not one.moving and one.used)
    start = node.address + node.size - row["base"]
    data[start : start + 12] = b"overwritten!"
    (tmp_path / "dump.bin").write_bytes(data)

    examined = examine(DumpOptions(image=tmp_path / "dump.bin", config=REAL / row["config"], base=row["base"]))

    assert [finding.kind for finding in examined.findings] == ["heap-buffer-overflow"]
    assert examined.findings[0].damage is not None and examined.findings[0].damage.length == 12
