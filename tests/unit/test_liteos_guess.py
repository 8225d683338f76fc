"""The layout guessed from a pool's bytes."""

import contextlib
import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import liteos

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos import Config, Layout, Pool
from heapwitness.liteos.find.guess import guess

ADDRESS = liteos.POOL_ADDRESS


def shape(config: Config) -> tuple[object, ...]:
    """What bytes can tell of a configuration; modules show only where one was named."""
    options = (config.head_backup, config.task_stat, config.mul_pool, config.recordinfo, config.leakcheck)
    return (config.width, *options)


def used_pool(config: Config) -> bytearray:
    buffer = bytearray(16384)
    pool = Pool.init(buffer, address=ADDRESS, config=config, link_registers=liteos.link_registers)
    blocks = [pool.alloc(size) for size in (16, 200, 48, 300, 64)]
    pool.free(blocks[1])
    pool.free(blocks[3])
    return buffer


@pytest.mark.parametrize("address", [ADDRESS, None])
@pytest.mark.parametrize("config", liteos.CONFIGS.values(), ids=liteos.CONFIGS)
def test_a_pools_options_are_told_from_its_bytes(config: Config, address: int | None) -> None:
    found = guess(used_pool(config), address)

    assert shape(found.config) == shape(config)
    assert (found.address, found.pool, found.sure) == (ADDRESS, ADDRESS, 1.0)
    assert found.layout == Layout.of(found.config)
    assert any("100% sure" in sentence for sentence in found.said)


@pytest.mark.parametrize("limit", [1, 16, 200])
@pytest.mark.parametrize("mul_pool", [False, True])
def test_the_task_limit_is_told_from_the_statistics(limit: int, mul_pool: bool) -> None:
    config = Config(width=32, debug=True, task_stat=True, task_limit=limit, mul_pool=mul_pool)

    found = guess(used_pool(config), ADDRESS)

    assert (found.config.task_limit, found.config.mul_pool) == (limit, mul_pool)


def test_what_two_options_can_explain_is_left_open() -> None:
    config = Config(width=64, debug=True, task_stat=True, task_limit=20)

    found = guess(used_pool(config), ADDRESS)

    assert {found.config.task_limit} | {
        int(part) for line in found.open for part in line.split() if part.isdigit()
    } == {
        19,
        20,
    }


def test_modules_are_seen_where_a_node_names_one() -> None:
    buffer = bytearray(4096)
    config = liteos.CONFIGS["backup-mulmodule-32"]
    pool = Pool.init(buffer, address=ADDRESS, config=config)
    assert not guess(buffer).config.mul_module

    pool.alloc_module(16, 3)

    assert guess(buffer).config.mul_module


def test_a_kernel_without_debug_is_recognised_by_its_plain_nodes() -> None:
    assert not guess(used_pool(Config(width=32))).config.debug


def test_a_pool_is_found_inside_of_a_larger_image() -> None:
    image = bytes(range(256)) * 4 + bytes(used_pool(liteos.CONFIGS["backup-32"])) + bytes(5000)

    found = guess(image)

    assert (found.pool, found.address) == (ADDRESS, ADDRESS - 1024)


@pytest.mark.parametrize("path", liteos.damaged(), ids=lambda path: f"{path.parent.name}/{path.name.split('.')[0]}")
def test_a_damaged_pool_is_recognised_too(path: Path) -> None:
    image = gzip.decompress(path.with_name(path.name.replace(".json.gz", ".before.img.gz")).read_bytes())

    found = guess(image)

    assert shape(found.config) == shape(liteos.CONFIGS[path.parent.name])
    assert found.sure > 0.5


@pytest.mark.parametrize("data", [b"", b"\0" * 5000, b"\xff" * 5000, bytes(range(256)) * 20], ids=range(4))
def test_bytes_without_a_pool_are_an_error_that_says_what_to_give(data: bytes) -> None:
    with pytest.raises(HeapwitnessError, match="--config or --elf"):
        guess(data)


@settings(max_examples=60, deadline=2000)
@given(st.binary(max_size=600), st.integers(0, 16000), st.booleans())
def test_no_bytes_make_it_crash(noise: bytes, at: int, wide: bool) -> None:
    image = used_pool(liteos.CONFIGS["all-64" if wide else "all-32"])
    image[at : at + len(noise)] = noise

    try:
        found = guess(image)
    except HeapwitnessError:
        return
    assert 0 <= found.sure <= 1


@pytest.mark.parametrize("name", ["backup-64", "control-64", "backup-32"])
def test_an_image_that_is_cut_anywhere_in_its_list_heads_is_no_accident(name: str) -> None:
    image = bytearray(8192)
    Pool.init(image, 0x10000, liteos.CONFIGS[name])

    for cut in range(1, 700):
        for address in (None, 0x10000):
            with contextlib.suppress(HeapwitnessError):
                guess(bytes(image[:cut]), address)


def test_an_image_full_of_list_heads_is_judged_in_time() -> None:
    image = bytearray(1 << 20)
    for at in range(0, len(image), 8):
        image[at : at + 8] = (ADDRESS + at).to_bytes(4, "little") * 2

    try:
        guess(image, ADDRESS)
    except HeapwitnessError:
        return
