"""Laws of dumps taken in the middle of an operation: it is no damage, and damage elsewhere is found all the same."""

import random
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support import liteos
from support.midway import Recorded, record

from heapwitness.liteos import Pool
from heapwitness.liteos.diagnose.diagnose import diagnose
from heapwitness.liteos.diagnose.finding import LiteosFinding
from heapwitness.liteos.diagnose.plan import plan

ADDRESS = liteos.POOL_ADDRESS
SIZE = 8192
NO_DEADLINE = settings(
    deadline=None,
    max_examples=40,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

names = st.sampled_from(sorted(name for name in liteos.CONFIGS if not name.startswith("control")))
seeds = st.integers(0, 1 << 32)


@dataclass
class Stopped:
    """A pool of which the last operation was recorded."""

    pool: Pool
    buffer: bytearray
    recorded: Recorded


def stopped(name: str, seed: int, steps: int = 25) -> Stopped:
    """A pool after some operations, as faithful as its width allows, and the last of them store by store."""
    chooser = random.Random(seed)
    config = liteos.CONFIGS[name]
    buffer = bytearray(chooser.randbytes(SIZE))
    faithful = config.width == 32
    pool = Pool.init(buffer, ADDRESS, config, faithful=faithful, link_registers=liteos.link_registers)
    blocks: list[int] = []

    def operate() -> None:
        pool.task = chooser.randrange(5)
        choice = chooser.random()
        if choice < 0.5 or not blocks:
            block = pool.alloc(chooser.choice([8, 24, 40, 100, 200, 400]))
            blocks.extend([] if block is None else [block])
        elif choice < 0.75 and faithful:
            block = blocks.pop(chooser.randrange(len(blocks)))
            blocks.append(pool.realloc(block, chooser.choice([8, 24, 60, 130, 300])) or block)
        else:
            pool.free(blocks.pop(chooser.randrange(len(blocks))))

    for _ in range(steps - 1):
        operate()
    return Stopped(pool, buffer, record(buffer, pool, operate))


@NO_DEADLINE
@given(names, seeds, st.integers(1, 40))
def test_no_store_of_an_operation_leaves_damage_behind(name: str, seed: int, steps: int) -> None:
    state = stopped(name, seed, steps)

    for data in state.recorded.midway():
        assert diagnose(data, ADDRESS, state.pool.layout, midway=True, held=True) == ()


@NO_DEADLINE
@given(names, seeds)
def test_a_repair_leaves_an_operation_half_way_as_it_is(name: str, seed: int) -> None:
    state = stopped(name, seed)

    for data in list(state.recorded.midway())[::5]:
        assert plan(data, ADDRESS, state.pool.layout, midway=True, held=True).changes == ()


@NO_DEADLINE
@given(names, seeds, st.data())
def test_damage_elsewhere_is_found_in_the_middle_of_an_operation(name: str, seed: int, data: st.DataObject) -> None:
    state = stopped(name, seed)
    layout = state.pool.layout
    touched = {at + byte for at, stored in state.recorded.stores for byte in range(len(stored))}
    node = data.draw(st.sampled_from(list(state.pool.nodes())))
    start = node.address - ADDRESS
    around = range(start - layout.node_size, start + 2 * layout.node_size)
    assume(not touched.intersection(around))
    text = b"overwritten by a stray string"[: data.draw(st.integers(9, 29))]
    at = start + data.draw(st.integers(0, layout.control.size - 9))
    middle = bytearray(data.draw(st.sampled_from(list(state.recorded.midway()))))
    at_rest = state.buffer[:]
    for room in (middle, at_rest):
        room[at : at + len(text)] = text
    # Link registers have no witness, nor has a free node's requested size.
    assume(_is_told(diagnose(at_rest, ADDRESS, layout), at, len(text)))

    found = diagnose(middle, ADDRESS, layout, midway=True)

    assert _is_told(found, at, len(text))


def _is_told(findings: tuple[LiteosFinding, ...], at: int, length: int) -> bool:
    """Whether damage at `at` of the pool is part of a finding."""
    ranges = [(one.address - ADDRESS, one.length) for finding in findings for one in finding.extents]
    return any(low < at + length and at < low + span for low, span in ranges)


@pytest.mark.parametrize("name", ["backup-32", "backup-64", "backup-taskstat-32"])
def test_a_lone_flag_is_damage_unless_the_lock_was_held(name: str) -> None:
    buffer = bytearray(SIZE)
    pool = Pool.init(buffer, ADDRESS, liteos.CONFIGS[name])
    blocks = [pool.alloc(64) for _ in range(3)]
    assert blocks[1] is not None
    buffer[blocks[1] - ADDRESS - 1] ^= 0x80

    unknown = diagnose(buffer, ADDRESS, pool.layout, midway=True)
    held = diagnose(buffer, ADDRESS, pool.layout, midway=True, held=True)

    assert [finding.kind for finding in unknown] == ["header-overwrite"]
    assert held == ()
