"""From a dump's file to what is told of it: pools, findings, names, use."""

import json
import shutil
from pathlib import Path

import jsonschema
import pytest
from support import firmware, liteos

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos import Layout, Pool
from heapwitness.liteos.config.config import Config
from heapwitness.liteos.dump.document import document
from heapwitness.liteos.dump.examine import DumpOptions, examine, with_release
from heapwitness.liteos.dump.kernel_text import bad_nodes, release
from heapwitness.liteos.firmware import tasknames
from heapwitness.liteos.firmware.firmware import FirmwareFile, Task
from heapwitness.memory import BufferMemory
from heapwitness.report import json as report_json

ADDRESS = liteos.POOL_ADDRESS
needs_gcc = pytest.mark.skipif(not all(map(shutil.which, ("gcc", "objdump", "nm"))), reason="needs gcc and binutils")


def dotconfig(folder: Path, name: str) -> Path:
    """The `.config` of a recorded configuration."""
    recorded = liteos.LAYOUTS[name]
    path = folder / f"{name}.config"
    options = "".join(f"{option}=y\n" for option in recorded["options"])
    path.write_text(f"{options}LOSCFG_BASE_CORE_TSK_LIMIT={recorded['LOSCFG_BASE_CORE_TSK_LIMIT']}\n")
    return path


def image_of(path: Path) -> Path:
    return path.with_name(path.name.replace(".json.gz", ".before.img.gz"))


@pytest.mark.parametrize("path", liteos.damaged(), ids=lambda path: f"{path.parent.name}/{path.name.split('.')[0]}")
def test_the_kernels_text_is_the_recorded_one(path: Path, tmp_path: Path) -> None:
    recorded, _ = liteos.load(path)
    config = dotconfig(tmp_path, f"{recorded['config']}-{recorded['width']}")
    options = DumpOptions(image=image_of(path), config=config, width=recorded["width"], base=recorded["pool"])
    operation, _, argument = recorded["detect"].partition(" ")

    examined = examine(options)

    if operation == "badshow":
        assert "".join(bad_nodes(examined)) == recorded["kernel"]["console"]
    elif operation == "free":
        assert release(examined, int(argument, 16)) == recorded["kernel"]["console"]


@pytest.mark.parametrize("path", liteos.damaged(), ids=lambda path: f"{path.parent.name}/{path.name.split('.')[0]}")
def test_without_a_configuration_the_findings_are_the_same(path: Path, tmp_path: Path) -> None:
    recorded, _ = liteos.load(path)
    config = dotconfig(tmp_path, f"{recorded['config']}-{recorded['width']}")
    known = examine(DumpOptions(image=image_of(path), config=config, width=recorded["width"]))

    guessed = examine(DumpOptions(image=image_of(path)))

    assert [(one.kind, one.node) for one in guessed.findings] == [(one.kind, one.node) for one in known.findings]
    assert any("Guessed" in warning for warning in guessed.warnings)


def test_several_pools_are_told_in_order_and_one_can_be_chosen(tmp_path: Path) -> None:
    config = liteos.CONFIGS["backup-32"]
    memory = bytearray(0x8000)
    for place in (0, 0x4000):
        pool = Pool.init(memoryview(memory)[place : place + 0x4000], ADDRESS + place, config)
        block = pool.alloc(32)
        pool.alloc(32)
        assert block is not None
        memory[block - ADDRESS + 32] ^= 0xFF
    dump = tmp_path / "dump"
    dump.write_bytes(memory)
    options = {"image": dump, "config": dotconfig(tmp_path, "backup-32"), "base": ADDRESS}

    both = examine(DumpOptions(**options))
    second = examine(DumpOptions(**options, pools=(ADDRESS + 0x4000,)))

    assert [pool.address for pool in both.pools] == [ADDRESS, ADDRESS + 0x4000]
    assert len(both.findings) == 2
    assert [pool.address for pool in second.pools] == [ADDRESS + 0x4000]
    assert second.findings == both.findings[1:]


@needs_gcc
def test_the_firmware_names_tasks_and_calls(tmp_path: Path) -> None:
    device = firmware.device(tmp_path)

    (finding,) = examine(DumpOptions(image=device.dump, elf=device.elf)).findings

    assert finding.kind == "heap-buffer-overflow"
    culprit = finding.culprit
    assert culprit is not None and culprit.allocated is not None
    assert (culprit.address, culprit.task) == (device.culprit, "network")
    calls = [(frame.function, Path(frame.file or "").name, frame.line) for frame in culprit.allocated.stack]
    lines = firmware.SOURCE.read_text().splitlines()
    assert calls == [
        ("new_packet", "firmware.c", 1 + lines.index("    return LOS_MemAlloc(g_pool, size + 16);")),
        ("network_task", "firmware.c", 1 + lines.index("        new_packet(112);")),
    ]


@needs_gcc
def test_live_blocks_are_told_by_the_call_that_allocated_them(tmp_path: Path) -> None:
    device = firmware.device(tmp_path)

    (pool,) = examine(DumpOptions(image=device.dump, elf=device.elf)).pools

    (site,) = pool.use.call_sites
    assert (site.blocks, [frame.function for frame in site.stack]) == (2, ["new_packet", "network_task"])


@needs_gcc
@pytest.mark.parametrize("debug", ["-gdwarf-2", "-gdwarf-3", "-gdwarf-4", "-gdwarf-5"])
def test_lines_are_read_from_every_version_of_debug_information(tmp_path: Path, debug: str) -> None:
    elf = firmware.build(tmp_path, debug)

    with FirmwareFile(elf) as opened:
        (frame,) = opened.stack(firmware.call_after(elf, "network_task"))

    assert frame.function == "network_task" and frame.file is not None
    assert Path(frame.file).samefile(firmware.SOURCE)


@needs_gcc
def test_a_stripped_firmware_names_nothing_and_an_address_outside_of_code_stays_bare(tmp_path: Path) -> None:
    elf = firmware.build(tmp_path)
    with FirmwareFile(elf) as opened:
        assert opened.stack(0x10)[0].function is None
    stripped = firmware.build(tmp_path, "-s")
    with FirmwareFile(stripped) as opened:
        assert opened.stack(0x401010)[0].function is None
        assert opened.tasks(BufferMemory(0, bytes(16)), 64) == {}


@needs_gcc
def test_names_behind_pointers_are_followed(tmp_path: Path) -> None:
    elf = firmware.build(tmp_path, "-DNAME_POINTER")
    place = firmware.symbol(elf, "g_taskCBArray")
    memory = bytearray(4096)
    memory[:8] = (place + 64).to_bytes(8, "little")
    for number, name in enumerate(("idle", "network")):
        block, text = 64 + 24 * number, 512 + 32 * number
        memory[block + 12 : block + 16] = number.to_bytes(4, "little")
        memory[block + 16 : block + 24] = (place + text).to_bytes(8, "little")
        memory[text : text + 8] = name.encode().ljust(8, b"\0")

    with FirmwareFile(elf) as opened:
        tasks = opened.tasks(BufferMemory(place, memory), 64)

    assert tasks == {0: Task(0, "idle", exists=True), 1: Task(1, "network", exists=True)}


def test_use_is_summed_up(tmp_path: Path) -> None:
    config = liteos.CONFIGS["backup-taskstat-32"]
    buffer = bytearray(16384)
    pool = Pool.init(buffer, ADDRESS, config)
    pool.task = 2
    first = pool.alloc(100)
    pool.alloc(28)
    pool.free(first)
    dump = tmp_path / "dump"
    dump.write_bytes(buffer)

    (examined,) = examine(DumpOptions(image=dump, config=dotconfig(tmp_path, "backup-taskstat-32"))).pools

    use, status = examined.use, pool.status()
    assert use.status == status
    assert [(one.task, one.used, one.blocks, one.peak) for one in use.tasks] == [(2, 76, 1, 224)]
    assert [(one.size_from, one.nodes, one.total) for one in use.histogram] == [
        (128, 1, 148),
        (8192, 1, status.max_free_node),
    ]
    assert use.largest_free == status.max_free_node - pool.layout.node_size
    assert 0 < use.fragmentation < 0.02
    assert use.backup_bytes == 4 * 24


def test_a_pointer_can_be_judged_as_if_it_were_freed(tmp_path: Path) -> None:
    buffer = bytearray(16384)
    pool = Pool.init(buffer, ADDRESS, liteos.CONFIGS["backup-32"])
    block = pool.alloc(100)
    assert block is not None
    dump = tmp_path / "dump"
    dump.write_bytes(buffer)
    examined = examine(DumpOptions(image=dump, config=dotconfig(tmp_path, "backup-32")))

    assert with_release(examined, block).findings == ()
    for pointer in (block + 8, block - 4, 0x1000):
        assert [finding.kind for finding in with_release(examined, pointer).findings] == ["invalid-free"]


def test_the_document_follows_the_published_schema(tmp_path: Path) -> None:
    path = next(path for path in liteos.damaged() if "overflow" in path.name)
    examined = examine(DumpOptions(image=image_of(path)))

    written = json.loads(report_json.encode(document(examined)))

    jsonschema.validate(written, report_json.schema())
    assert written["source"] == str(image_of(path))
    assert written["pools"][0]["address"] == ADDRESS
    assert written["findings"][0]["pairs"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"width": 64}, "looks like one of another"),
        ({"base": 0x30000000}, "its first byte lies at 0x20000000. Check --base"),
        ({"base": ADDRESS, "pools": (ADDRESS + 64,)}, "No pool of this configuration starts at"),
        ({"base": ADDRESS, "pools": (0x90000000,)}, "has no byte of 0x90000000"),
        ({"config": None, "elf": Path("/etc/passwd")}, "/etc/passwd"),
        ({"tasks": Path("/none")}, "/none cannot be read"),
        ({"image": Path("/none")}, "/none cannot be read"),
        ({"image": Path("/")}, "directory"),
    ],
)
def test_wrong_options_are_told_in_a_sentence(tmp_path: Path, options: dict[str, object], says: str) -> None:
    buffer = bytearray(16384)
    Pool.init(buffer, ADDRESS, liteos.CONFIGS["backup-32"]).alloc(32)
    dump = tmp_path / "dump"
    dump.write_bytes(buffer)
    given = {"image": dump, "config": dotconfig(tmp_path, "backup-32"), **options}

    with pytest.raises(HeapwitnessError, match=says):
        examine(DumpOptions(**given))  # type: ignore[arg-type]


def test_a_configuration_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    for made, said in (("all-32", "backup-32"), ("backup-taskstat-32", "backup-32"), ("backup-32", "control-32")):
        buffer = bytearray(16384)
        pool = Pool.init(buffer, ADDRESS, liteos.CONFIGS[made])
        for _ in range(6):
            pool.alloc(40)
        dump = tmp_path / "dump"
        dump.write_bytes(buffer)
        with pytest.raises(HeapwitnessError, match=r"fits better|looks like one of another"):
            examine(DumpOptions(image=dump, config=dotconfig(tmp_path, said)))


def test_bestfit_little_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("LOSCFG_KERNEL_MEM_BESTFIT_LITTLE=y\n")
    dump = tmp_path / "dump"
    dump.write_bytes(bytes(4096))
    with pytest.raises(HeapwitnessError, match="bestfit_little"):
        examine(DumpOptions(image=dump, config=config))


def test_an_image_that_ends_before_its_pool_is_told(tmp_path: Path) -> None:
    buffer = bytearray(16384)
    pool = Pool.init(buffer, ADDRESS, liteos.CONFIGS["backup-32"])
    for _ in range(30):
        pool.alloc(100)
    dump = tmp_path / "dump"
    dump.write_bytes(buffer[:4000])

    examined = examine(DumpOptions(image=dump, config=dotconfig(tmp_path, "backup-32")))

    assert examined.findings == ()
    assert any("before the pool" in warning for warning in examined.warnings)


@pytest.mark.parametrize(
    "text", ["5 network\n# none\n\n7: shell x\n0x10=idle", '{"5": "network", "7": "shell x", "16": "idle"}']
)
def test_task_names_are_read_from_lines_or_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tasks"
    path.write_text(text)

    assert tasknames.load(path) == {5: "network", 7: "shell x", 16: "idle"}


@pytest.mark.parametrize("text", ["network", "99999 x", "{", '{"x": "y"}', "[1]"])
def test_a_file_of_no_task_names_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tasks"
    path.write_text(text)

    with pytest.raises(HeapwitnessError):
        tasknames.load(path)


def test_a_layout_without_backup_is_inspected_by_its_links_and_magic(tmp_path: Path) -> None:
    config = liteos.CONFIGS["control-32"]
    buffer = bytearray(16384)
    pool = Pool.init(buffer, ADDRESS, config)
    blocks = [pool.alloc(40) or 0 for _ in range(4)]
    at = blocks[2] - ADDRESS - Layout.of(config).node_size
    buffer[at : at + 12] = b"overflowing!"
    dump = tmp_path / "dump"
    dump.write_bytes(buffer)

    (finding,) = examine(DumpOptions(image=dump, config=dotconfig(tmp_path, "control-32"))).findings

    assert finding.node == ADDRESS + at
    assert finding.damage is not None and finding.damage.address == ADDRESS + at


def test_the_kernels_text_needs_head_backup(tmp_path: Path) -> None:
    buffer = bytearray(16384)
    Pool.init(buffer, ADDRESS, Config(width=32, debug=True)).alloc(32)
    dump = tmp_path / "dump"
    dump.write_bytes(buffer)
    examined = examine(DumpOptions(image=dump, config=dotconfig(tmp_path, "control-32")))

    with pytest.raises(HeapwitnessError, match="LOSCFG_MEM_HEAD_BACKUP"):
        list(bad_nodes(examined))
