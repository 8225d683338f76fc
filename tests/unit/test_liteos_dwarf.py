"""The layout from a firmware's debug information, compiled here for both widths."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos import Config, Layout
from heapwitness.liteos.firmware.dwarf import read_firmware

DATA = Path(__file__).parent.parent / "data/liteos"
LAYOUTS: dict[str, dict[str, Any]] = json.loads((DATA / "layouts.json").read_text())

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


def build(folder: Path, width: int, *flags: str, source: str | None = None, debug: str = "-g") -> Path:
    path, code = folder / "firmware.o", DATA / "heap.c"
    if source is not None:
        code = folder / "firmware.c"
        code.write_text(source)
    subprocess.run(["gcc", f"-m{width}", "-ffreestanding", debug, *flags, "-c", str(code), "-o", str(path)], check=True)
    return path


def config_of(recorded: dict[str, Any]) -> Config:
    return Config.from_symbols(dict.fromkeys(recorded["options"], "y"), width=recorded["width"])


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_firmwares_layout_is_the_recorded_one(tmp_path: Path, name: str) -> None:
    recorded = LAYOUTS[name]
    firmware = build(tmp_path, recorded["width"], *(f"-D{option}" for option in recorded["options"]))
    config = config_of(recorded)

    found = read_firmware(firmware, config)

    assert found.layout == Layout.of(config)
    assert found.config == config
    assert found.warnings == ()


@pytest.mark.parametrize("debug", ["-gdwarf-2", "-gdwarf-3", "-gdwarf-4", "-gdwarf-5"])
def test_every_version_of_debug_information_is_read(tmp_path: Path, debug: str) -> None:
    firmware = build(tmp_path, 32, "-DLOSCFG_MEM_HEAD_BACKUP", "-DLOSCFG_MEM_MUL_MODULE", debug=debug)

    found = read_firmware(firmware)

    assert found.layout == Layout.of(Config(width=32, debug=True, head_backup=True, mul_module=True))


def test_the_firmware_wins_over_the_config_with_a_warning(tmp_path: Path) -> None:
    firmware = build(tmp_path, 64, "-DLOSCFG_MEM_HEAD_BACKUP", "-DLOSCFG_MEM_TASK_STAT", "-DTASKS=17")
    config = Config(width=32, debug=True, task_stat=True, recordinfo=True)

    found = read_firmware(firmware, config)

    assert found.config == Config(width=64, debug=True, task_stat=True, task_limit=16, head_backup=True)
    assert found.layout == Layout.of(found.config)
    assert found.warnings == (
        "The firmware is 64-bit and not 32-bit: it is right.",
        "LOSCFG_MEM_HEAD_BACKUP is n in the .config, but the firmware has y: it is right.",
        "LOSCFG_BASE_CORE_TSK_LIMIT is 64 in the .config, but the firmware has 16: it is right.",
        "LOSCFG_MEM_RECORDINFO is y in the .config, but the firmware has n: it is right.",
    )


def test_a_firmware_without_statistics_leaves_the_task_limit_to_the_config(tmp_path: Path) -> None:
    firmware = build(tmp_path, 32)

    found = read_firmware(firmware, Config(width=32, task_limit=16, integrity_check=True, debug=True))

    assert found.config == Config(width=32, task_limit=16, integrity_check=True, debug=True)
    assert found.warnings == ()


def test_a_config_without_debug_leaves_a_plain_header_without_magic(tmp_path: Path) -> None:
    firmware = build(tmp_path, 32)

    assert not read_firmware(firmware, Config(width=32)).layout.has_magic
    assert read_firmware(firmware).layout.has_magic


def test_a_layout_of_its_own_is_used_as_it_is_and_said(tmp_path: Path) -> None:
    source = (DATA / "heap.c").read_text().replace("uint32_t sizeAndFlag;", "uint32_t own; uint32_t sizeAndFlag;")
    firmware = build(tmp_path, 32, "-DEXTRA", source=source)

    found = read_firmware(firmware, Config(width=32, debug=True))

    assert found.layout.control.size == 20
    assert found.layout.pool.size == 12
    assert found.layout.control.size_and_flag.offset == 16
    assert "LosMemCtlNode.sizeAndFlag" in found.warnings[-1]


@pytest.mark.parametrize(
    ("source", "debug", "sentence"),
    [
        ("int x;", "-g", "does not describe LosMemDynNode"),
        ("int x;", "-g0", "has no debug information"),
        ("struct LosHeapManager { int size; } *g_heap;", "-g", "bestfit_little"),
    ],
)
def test_a_firmware_that_says_nothing_of_the_heap_is_an_error(
    tmp_path: Path, source: str, debug: str, sentence: str
) -> None:
    firmware = build(tmp_path, 32, source=source, debug=debug)

    with pytest.raises(HeapwitnessError, match=sentence):
        read_firmware(firmware)


@pytest.mark.parametrize("content", [None, b"", b"hello", b"\x7fELF", b"\x7fELF\x01\x01\x01" + bytes(60)])
def test_what_is_no_firmware_is_an_error_in_a_sentence(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "firmware.elf"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(HeapwitnessError):
        read_firmware(path)


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.7, 0.9])
def test_a_firmware_that_was_cut_off_is_an_error_or_read(tmp_path: Path, cut: float) -> None:
    data = build(tmp_path, 32).read_bytes()
    path = tmp_path / "cut.elf"
    path.write_bytes(data[: int(len(data) * cut)])

    with pytest.raises(HeapwitnessError):
        read_firmware(path)
