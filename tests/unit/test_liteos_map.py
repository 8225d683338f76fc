"""A dump's pools as a map, and its findings in every document."""

import json
from pathlib import Path

import jsonschema
import pytest
from support import liteos

from heapwitness.cli.main import main
from heapwitness.findings.model import HeapMap
from heapwitness.liteos import Pool
from heapwitness.liteos.dump.document import document
from heapwitness.liteos.dump.examine import DumpOptions, examine
from heapwitness.report import html, junit, sarif, text

SCHEMA = Path(__file__).parents[1] / "data" / "sarif" / "sarif-2.1.0-rtm.5.json"
IMAGES = sorted((liteos.SAMPLE / "corrupt").glob("*/*.img.gz"))


def name_of(image: Path) -> str:
    return f"{image.parent.name}-{image.name.split('.')[0]}"


def pool_image(folder: Path, name: str = "backup-taskstat-32") -> Path:
    """A pool with blocks of three tasks, some of them freed."""
    memory = bytearray(0x10000)
    pool = Pool.init(memory, liteos.POOL_ADDRESS, liteos.CONFIGS[name])
    blocks = []
    for number in range(60):
        pool.task = number % 3
        blocks.append(pool.alloc(20 + number * 5))
    for block in blocks[::4]:
        assert block is not None
        pool.free(block)
    image = folder / "pool.bin"
    image.write_bytes(memory)
    return image


def map_of(image: Path, **options: object) -> HeapMap:
    (mapped,) = document(examine(DumpOptions(image=image, **options)), mapped=True).maps  # type: ignore[arg-type]
    return mapped


@pytest.mark.parametrize("image", IMAGES, ids=name_of)
def test_each_recorded_finding_is_in_every_document(image: Path) -> None:
    report = document(examine(DumpOptions(image=image)), mapped=True)

    log = json.loads(sarif.encode(report, Path("/")))
    jsonschema.Draft4Validator(json.loads(SCHEMA.read_text())).validate(log)
    page, cases = html.encode(report).decode(), junit.encode(report).decode()
    for finding, result in zip(report.findings, log["runs"][0]["results"], strict=True):
        assert result["ruleId"] == finding.kind
        assert text.headline(finding).partition(" ")[0] in page
        assert f'type="{finding.kind}"' in cases


def test_a_map_counts_what_the_use_of_the_pool_counts(tmp_path: Path) -> None:
    examined = examine(DumpOptions(image=pool_image(tmp_path)))

    (mapped,) = document(examined, mapped=True).maps

    status = examined.pools[0].use.status
    assert (mapped.free, mapped.free_blocks) == (status.total_free, status.free_nodes)
    # The end node counts as used there.
    assert mapped.live_blocks == status.used_nodes - 1
    assert mapped.largest_free == status.max_free_node
    assert {one.name: one.total for one in mapped.owners} == {one.name: one.used for one in examined.pools[0].use.tasks}


def test_single_blocks_have_their_task_and_the_parts_of_a_node(tmp_path: Path) -> None:
    mapped = map_of(pool_image(tmp_path))

    (pool,) = mapped.pools
    (stretch,) = pool.stretches
    owners = {
        mapped.owners[one].name for one, state in zip(stretch.owners, stretch.states, strict=True) if state == "u"
    }
    assert owners == {"0", "1", "2"}
    assert [part.name for part in pool.parts] == ["header", "backup"]
    assert len(stretch.sizes) == pool.nodes == mapped.live_blocks + mapped.free_blocks


def test_a_dump_without_a_map_has_none(tmp_path: Path) -> None:
    assert document(examine(DumpOptions(image=pool_image(tmp_path)))).maps == ()


def test_inspect_writes_documents_and_a_short_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, log = tmp_path / "page.html", tmp_path / "log.sarif"
    words = ["inspect", str(IMAGES[0]), "--html", str(page), "--sarif", str(log), "--format", "short"]

    with pytest.raises(SystemExit) as ended:
        main(words)

    out = capsys.readouterr().out
    assert ended.value.code == 99
    assert "The heap in the dump" in page.read_text()
    assert json.loads(log.read_text())["runs"][0]["results"]
    assert "pool 0x" not in out


def test_inspect_can_be_quiet_of_a_whole_pool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["inspect", str(pool_image(tmp_path)), "--quiet"])

    assert ended.value.code == 0
    assert capsys.readouterr().out == ""


def test_a_json_report_on_stdout_is_alone_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["inspect", str(pool_image(tmp_path)), "--json", "-", "--map"])

    captured = capsys.readouterr()
    assert json.loads(captured.out)["maps"][0]["taken"] == "dump"
    assert "pool 0x" in captured.err
