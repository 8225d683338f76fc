"""Layouts computed from options agree with what the kernel's compiler made of them."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from heapwitness.liteos import Config, Layout

SAMPLE = Path(__file__).parent.parent / "data/liteos/layouts.json"
LAYOUTS: dict[str, dict[str, Any]] = json.loads(SAMPLE.read_text())


def config_of(recorded: dict[str, Any]) -> Config:
    values: dict[str, str | int] = dict.fromkeys(recorded["options"], "y")
    values["LOSCFG_BASE_CORE_TSK_LIMIT"] = recorded["LOSCFG_BASE_CORE_TSK_LIMIT"]
    return Config.from_symbols(values, width=recorded["width"])


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_field_lies_where_the_kernel_has_it(name: str) -> None:
    recorded = LAYOUTS[name]
    fields = {key: tuple(value) for key, value in recorded.items() if isinstance(value, list) and key != "options"}

    layout = Layout.of(config_of(recorded))

    assert layout.fields() == fields


@pytest.mark.parametrize("name", LAYOUTS)
def test_sizes_and_limits_are_the_kernels(name: str) -> None:
    recorded = LAYOUTS[name]

    layout = Layout.of(config_of(recorded))

    assert layout.control.size == recorded["sizeof.LosMemCtlNode"]
    assert layout.node_size == recorded["sizeof.LosMemDynNode"]
    assert layout.pool.size == recorded["sizeof.LosMemPoolInfo"]
    assert layout.lists_size == recorded["sizeof.LosMultipleDlinkHead"]
    assert layout.min_pool_size == recorded["OS_MEM_MIN_POOL_SIZE"]
    assert layout.align == recorded["OS_MEM_ALIGN_SIZE"]
    assert (layout.list_count, layout.list_min_log2) == (recorded["OS_MULTI_DLNK_NUM"], 4)


def test_a_node_decodes_into_both_copies() -> None:
    config = Config(width=32, debug=True, head_backup=True, recordinfo=True, leakcheck=True, mul_module=True)
    layout = Layout.of(config)
    backup = (0xDFFFFFFF, 5 | 7 << 16, 0x20000100, 0, 1, 10, 21, 22, 23, 0x80000060)
    header = (0xDFFFFF00, 3 | 2 << 16, 0x20000040, 8, 2, 11, 31, 32, 33, 0xC0000040)

    node = layout.decode_node(b"pad" + struct.pack("<20I", *backup, *header), 3)

    assert node.backup is not None
    assert (node.backup.pre_node, node.backup.size, node.backup.task, node.backup.module) == (0x20000100, 0x60, 5, 7)
    assert (node.header.gap_size, node.header.checksum, node.header.origin_size) == (8, 2, 11)
    assert node.header.link_registers == (31, 32, 33)
    assert (node.header.used, node.header.aligned, node.header.magic) == (True, True, 0xDFFFFF00)


def test_a_64_bit_task_lies_over_the_upper_half_of_the_first_link() -> None:
    layout = Layout.of(Config(width=64, debug=True, mul_module=True))

    header = layout.decode_control(struct.pack("<QQQ4xI", 9 << 48 | 4 << 32 | 0xDEAD, 0, 0, 0x80000020), 0)

    assert (header.magic, header.task, header.module) == (0xDEAD, 4, 9)
