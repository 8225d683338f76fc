"""Names from a firmware as a kernel's own flags make it: lines, inlined functions, callers, tasks; what is missing."""

import gzip
import shutil
import subprocess
from pathlib import Path

import pytest
from support import firmware, liteos, toolchain

from heapwitness.cli.main import main
from heapwitness.findings.model import Frame
from heapwitness.liteos import Config, Pool
from heapwitness.liteos.dump.examine import DumpOptions, ExaminedDump, examine, with_release
from heapwitness.liteos.dump.kernel_text import release
from heapwitness.liteos.dump.naming import stack_of
from heapwitness.liteos.firmware.dwarf import UndescribedHeap, read_firmware
from heapwitness.liteos.firmware.firmware import FirmwareFile, Task
from heapwitness.memory import BufferMemory

CONFIG = Config(width=32, debug=True, task_stat=True, head_backup=True, recordinfo=True, leakcheck=True)
# Of the stored firmware: return addresses in Thumb code, and where the pointer to the task control blocks is.
IN_LOS_MEMALLOC, IN_NEW_PACKET, IN_RECEIVE, IN_GIVE_UP, IN_RESET = 0x2B, 0x55, 0x75, 0xAB, 0xDD
TASKS, TASKS_AT = 0x10F0, 0x30000000
UNUSED = 1

Told = list[tuple[str | None, int | None, bool]]

ALLOCATED: Told = [
    ("with_header", toolchain.line_of("allocated"), True),
    ("new_packet", toolchain.line_of("inlined"), False),
]
RECEIVED: Told = [("receive", toolchain.line_of("received"), False)]
GAVE_UP: Told = [("give_up", toolchain.line_of("gave up"), False)]
STARTED: Told = [("reset", toolchain.line_of("started"), False)]


def told(stack: tuple[Frame, ...]) -> Told:
    assert all(frame.file is None or Path(frame.file).name == "kernel.c" for frame in stack)
    return [(frame.function, frame.line, frame.inlined) for frame in stack]


@pytest.fixture
def elf(tmp_path: Path) -> Path:
    """The firmware of `kernel.c` for ARM: -O2 -mthumb -gdwarf-2 -ffunction-sections, without .debug_aranges."""
    path = tmp_path / "kernel.elf"
    path.write_bytes(gzip.decompress((liteos.SAMPLE / "kernel-thumb.elf.gz").read_bytes()))
    return path


def without(elf: Path, *sections: bytes) -> Path:
    """The firmware with sections that nobody finds by their names any more."""
    data = elf.read_bytes()
    for section in sections:
        assert section + b"\0" in data
        data = data.replace(section + b"\0", b"." + b"x" * (len(section) - 1) + b"\0")
    path = elf.with_name("stripped.elf")
    path.write_bytes(data)
    return path


DEBUG = (b".debug_info", b".debug_abbrev", b".debug_line", b".debug_str", b".debug_ranges", b".debug_loc")


def test_calls_in_optimised_thumb_code_are_told_with_the_functions_that_are_inlined(elf: Path) -> None:
    with FirmwareFile(elf) as opened:
        assert told(opened.stack(IN_NEW_PACKET)) == ALLOCATED
        assert told(opened.stack(IN_RECEIVE)) == RECEIVED
        assert told(opened.stack(IN_RESET)) == STARTED
        assert opened.warnings == ()


def test_a_call_that_never_returns_is_in_the_function_that_made_it(elf: Path) -> None:
    with FirmwareFile(elf) as opened:
        assert told(opened.stack(IN_GIVE_UP)) == GAVE_UP


def test_member_offsets_that_are_expressions_are_read(elf: Path) -> None:
    assert read_firmware(elf).config == CONFIG


@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("name", toolchain.TOOLCHAINS)
def test_every_compiler_and_version_of_debug_information_is_read(name: str, version: int, tmp_path: Path) -> None:
    tools = toolchain.TOOLCHAINS[name]
    if not tools.is_here:
        pytest.skip(f"needs {tools.compiler[0]} and {tools.linker[0]}")
    elf = toolchain.build(tools, tmp_path, f"-gdwarf-{version}")
    calls = {
        ("new_packet", "LOS_MemAlloc"): ALLOCATED,
        ("receive", "new_packet"): RECEIVED,
        ("give_up", "panic"): GAVE_UP,
        ("reset", "receive"): STARTED,
    }

    with FirmwareFile(elf) as opened:
        found = {call: told(opened.stack(toolchain.returns(tools, elf, *call))) for call in calls}

    assert found == calls
    assert read_firmware(elf).config.width == tools.width
    assert read_firmware(elf).config.leakcheck


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize("lines", [(5, 0), (0, 5), (4, 5), (4, 5, 0)])
def test_of_the_rows_at_one_address_the_last_one_with_a_line_counts(tmp_path: Path, lines: tuple[int, ...]) -> None:
    source, elf = tmp_path / "rows.s", tmp_path / "rows.elf"
    rows = "\n".join(f".loc 1 {line} 0 view .V{number}" for number, line in enumerate(lines))
    source.write_text(
        f'.file 1 "rows.c"\n.text\n.globl f\n.type f,@function\nf:\n{rows}\nnop\n.loc 1 9\nnop\n.size f,.-f\n'
        '.section .note.GNU-stack,"",@progbits\n'
    )
    command = ["gcc", "-nostdlib", "-static", "-no-pie", "-Wl,-e,f", "-Wl,-Ttext=0x1000", "-g"]
    subprocess.run([*command, str(source), "-o", str(elf)], check=True)

    with FirmwareFile(elf) as opened:
        found = [frame.line for pc in (0x1001, 0x1002) for frame in opened.stack(pc)]

    assert found == [5, 9]


def test_without_debug_information_the_symbol_table_names_calls_and_it_is_said_once(elf: Path) -> None:
    path = without(elf, *DEBUG)

    with FirmwareFile(path) as opened:
        assert told(opened.stack(IN_NEW_PACKET)) == [("new_packet", None, False)]
        assert told(opened.stack(IN_RECEIVE)) == [("receive", None, False)]
        assert opened.warnings == (f"{path} has no debug information, so calls are shown without lines.",)


def test_without_a_symbol_table_the_debug_information_names_calls(elf: Path) -> None:
    path = without(elf, b".symtab")

    with FirmwareFile(path) as opened:
        assert told(opened.stack(IN_NEW_PACKET)) == ALLOCATED
        assert told(opened.stack(0x20000000)) == [(None, None, False)]
        assert [warning for warning in opened.warnings if "no symbol table" in warning] == list(opened.warnings)


@pytest.mark.parametrize("section", [".debug_line", ".debug_info", ".debug_abbrev"])
def test_damaged_debug_information_costs_lines_and_is_said_once(elf: Path, section: str) -> None:
    from elftools.elf.elffile import ELFFile

    with elf.open("rb") as file:
        found = ELFFile(file).get_section_by_name(section)
        assert found is not None
        place = found["sh_offset"]
    data = bytearray(elf.read_bytes())
    data[place : place + 64] = b"\xfe" * 64
    elf.write_bytes(data)

    with FirmwareFile(elf) as opened:
        assert [opened.stack(pc)[-1].function for pc in (IN_NEW_PACKET, IN_RECEIVE)] == ["new_packet", "receive"]
        said = f"{elf} has debug information that cannot be read, so calls are shown without lines."
        assert opened.warnings == (said,)


def test_a_task_table_that_is_not_described_is_said(elf: Path) -> None:
    path = without(elf, *DEBUG)

    with FirmwareFile(path) as opened:
        assert opened.tasks(BufferMemory(0, bytes(8192)), 64) == {}
        assert opened.warnings == (f"{path} does not describe g_taskCBArray, so tasks are shown by their numbers.",)


# --- a device that runs it -------------------------------------------------------------------------------------------


def blocks_of_tasks(*tasks: tuple[str, int]) -> bytes:
    """Task control blocks: names and statuses."""
    out = b""
    for number, (name, status) in enumerate(tasks):
        out += bytes(4) + status.to_bytes(2, "little") + bytes(2) + number.to_bytes(4, "little")
        out += name.encode().ljust(32, b"\0")
    return out


class Device:
    """A dump of a device with a block of 120 bytes of each of four "tasks", one of which overran the next."""

    def __init__(self, folder: Path, overran: int = 1) -> None:
        registers = IN_LOS_MEMALLOC, IN_NEW_PACKET, IN_RECEIVE
        buffer = bytearray(16384)
        pool = Pool.init(buffer, liteos.POOL_ADDRESS, CONFIG, link_registers=lambda: registers, task=0, faithful=True)
        self.blocks: list[int] = []
        for task in (0, 1, 2, 64):
            pool.task = task
            block = pool.alloc(120)
            assert block is not None
            self.blocks.append(block)
        end = self.blocks[overran] + 120 - liteos.POOL_ADDRESS
        buffer[end : end + 60] = b"GET /index.html HTTP/1.1 Host: example.com Accept: text/html"
        tasks = blocks_of_tasks(("idle", 0), ("network", 4), ("shell", UNUSED), ("", UNUSED))
        memory = [(TASKS, TASKS_AT.to_bytes(4, "little")), (liteos.POOL_ADDRESS, bytes(buffer)), (TASKS_AT, tasks)]
        self.dump = folder / "dump.hex"
        self.dump.write_text(firmware.intel_hex(memory))
        self.config = folder / "kernel.config"
        names = ("DEBUG_VERSION", "MEM_DEBUG", *toolchain.OPTIONS)
        self.config.write_text("".join(f"LOSCFG_{name}=y\n" for name in names))

    def examined(self, elf: Path, *, config: bool = False) -> ExaminedDump:
        return examine(DumpOptions(image=self.dump, elf=elf, config=self.config if config else None))


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_the_caller_of_the_kernels_heap_is_told_and_its_task_by_name(
    device: Device, elf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["inspect", str(device.dump), "--elf", str(elf)])

    output = capsys.readouterr().out
    line = toolchain.line_of("allocated")
    assert f"120-byte block allocated by with_header at kernel.c:{line}" in " ".join(output.split())
    assert "the block was allocated by task network\n" in output
    assert "thread" not in output
    assert "LOS_MemAlloc" not in output
    assert "64 (no task: system start or interrupt)" in output
    assert "shell (deleted)" in output
    assert "warning" not in output


@pytest.mark.parametrize(
    ("function", "is_heap"),
    [
        ("LOS_MemAlloc", True),
        ("LOS_MemMallocAlign", True),
        ("OsMemAllocWithCheck.constprop.0", True),
        ("OsSlabMemAlloc", True),
        ("malloc", True),
        ("_malloc_r", True),
        ("LOS_MemboxAlloc", False),
        ("OsMemorySystemInit", False),
        ("network_malloc", False),
    ],
)
def test_the_kernels_heap_is_known_by_its_functions(function: str, is_heap: bool) -> None:
    def stack(pc: int) -> tuple[Frame, ...]:
        return (Frame(pc=pc, function=function if pc == 1 else "caller"),)

    found = [frame.function for frame in stack_of((1, 0, 2), stack)]

    assert found == (["caller"] if is_heap else [function, "caller"])


def test_where_only_the_kernels_own_functions_were_recorded_they_are_told(tmp_path: Path, elf: Path) -> None:
    buffer = bytearray(4096)
    pool = Pool.init(buffer, liteos.POOL_ADDRESS, CONFIG, link_registers=lambda: (IN_LOS_MEMALLOC, 0, 0))
    pool.alloc(64)
    dump = tmp_path / "dump"
    dump.write_bytes(buffer)

    (found,) = examine(DumpOptions(image=dump, elf=elf)).pools

    (site,) = found.use.call_sites
    assert [frame.function for frame in site.stack] == ["OsMemAllocWithCheck", "LOS_MemAlloc"]


def test_a_pointer_that_is_freed_is_told_with_names(device: Device, elf: Path) -> None:
    examined = with_release(device.examined(elf), device.blocks[0] + 8)

    block = examined.findings[-1].culprit
    assert block is not None and block.allocated is not None
    assert (block.task, block.allocated.task) == ("idle", "idle")
    assert told(block.allocated.stack) == ALLOCATED + RECEIVED


def test_beside_a_config_a_firmware_without_debug_information_names_calls(device: Device, elf: Path) -> None:
    stripped = without(elf, *DEBUG)

    examined = device.examined(stripped, config=True)

    (finding,) = examined.findings
    assert finding.culprit is not None and finding.culprit.allocated is not None
    assert [frame.function for frame in finding.culprit.allocated.stack] == ["new_packet", "receive"]
    assert examined.warnings == (
        f"{stripped} has no debug information, so the layout is that of --config.",
        f"{stripped} does not describe g_taskCBArray, so tasks are shown by their numbers.",
        f"{stripped} has no debug information, so calls are shown without lines.",
    )
    with pytest.raises(UndescribedHeap, match="not stripped, or give --config"):
        device.examined(stripped)


def test_tasks_by_the_firmware_are_those_of_its_table(device: Device, elf: Path) -> None:
    memory = bytearray(8192)
    memory[TASKS : TASKS + 4] = (0x1800).to_bytes(4, "little")
    table = blocks_of_tasks(("idle", 0), ("shell", UNUSED), ("", UNUSED), ("", 0))
    memory[0x1800 : 0x1800 + len(table)] = table

    with FirmwareFile(elf) as opened:
        tasks = opened.tasks(BufferMemory(0, memory), 64)

    assert tasks == {0: Task(0, "idle", True), 1: Task(1, "shell", False), 2: Task(2, "", False)}
    assert device.examined(elf).tasks.ended == {2, 3}


@pytest.mark.parametrize(("option", "level"), [("LOSCFG_SHELL_LK=y\n", "[ERR]"), ("", "[ERR] ")])
def test_the_kernels_text_is_as_its_shell_prints_it(tmp_path: Path, elf: Path, option: str, level: str) -> None:
    said = ""
    for overran in (1, 2):
        device = Device(tmp_path, overran)
        device.config.write_text(device.config.read_text() + option)
        said += release(device.examined(elf, config=True), device.blocks[overran + 1])

    assert f"{level}allocated by task: network [ID = 0x1]\n" in said
    assert f"{level}The task [ID: 0x2] is NOT CREATED(ILLEGAL)\n" in said
    assert ("[ERR] " in said) == (level == "[ERR] ")
