"""Laws of bestfit_little pools, whatever the options."""

from hypothesis import given, settings
from hypothesis import strategies as st
from support import liteos

from heapwitness.errors import HeapwitnessError
from heapwitness.liteos import Config, Pool

SIZE = 3000
CONFIGS = st.builds(
    Config,
    width=st.sampled_from([32, 64]),
    bestfit_little=st.just(True),
    task_stat=st.booleans(),
    mul_pool=st.booleans(),
    debug=st.just(True),
)
STEPS = st.lists(st.tuples(st.sampled_from(["alloc", "align", "free", "realloc"]), st.integers(0, 400)), max_size=40)


def run(pool: Pool, buffer: bytearray, steps: list[tuple[str, int]]) -> dict[int, int]:
    """Do steps; the blocks that live then, each full of a byte of its own."""
    live: dict[int, int] = {}
    for step, number in steps:
        block: int | None = None
        if step in ("alloc", "align"):
            block = pool.alloc(number) if step == "alloc" else pool.alloc_align(number, 64)
        elif live:
            old = sorted(live)[number % len(live)]
            if step == "free":
                assert pool.free(old)
                del live[old]
            else:
                block = pool.realloc(old, number)
                if block is not None or number == 0:
                    del live[old]
        if block is not None:
            live[block] = number
            at = block - liteos.POOL_ADDRESS
            buffer[at : at + number] = bytes([block // 4 % 256]) * number
    return live


@settings(max_examples=150, deadline=None)
@given(config=CONFIGS, steps=STEPS, faithful=st.booleans())
def test_blocks_keep_their_bytes_and_leave_nothing_behind(
    config: Config, steps: list[tuple[str, int]], faithful: bool
) -> None:
    buffer = bytearray(SIZE)
    pool = Pool.init(buffer, address=liteos.POOL_ADDRESS, config=config, faithful=faithful)
    whole = pool.status().max_free_node

    live = run(pool, buffer, steps)

    for block, size in live.items():
        at = block - liteos.POOL_ADDRESS
        assert buffer[at : at + size] == bytes([block // 4 % 256]) * size
    assert pool.used_blocks() == len(live)
    assert pool.findings == []
    assert pool.check() == []
    for block in live:
        assert pool.free(block)
    assert (pool.status().max_free_node, pool.free_blocks()) == (whole, 1)


@settings(max_examples=150, deadline=3000)
@given(
    config=CONFIGS,
    steps=STEPS,
    writes=st.lists(st.tuples(st.integers(0, SIZE - 1), st.binary(min_size=1, max_size=40)), min_size=1, max_size=5),
    faithful=st.booleans(),
)
def test_no_bytes_make_an_operation_crash_or_hang(
    config: Config, steps: list[tuple[str, int]], writes: list[tuple[int, bytes]], faithful: bool
) -> None:
    buffer = bytearray(SIZE)
    pool = Pool.init(buffer, address=liteos.POOL_ADDRESS, config=config, faithful=faithful)
    live = run(pool, buffer, steps)
    for at, data in writes:
        buffer[at : at + len(data)] = data[: SIZE - at]
    block = next(iter(live), liteos.POOL_ADDRESS + 800)

    for operation in (
        lambda: pool.alloc(20),
        lambda: pool.free(block),
        lambda: pool.realloc(block, 70),
        lambda: pool.alloc_align(20, 64),
        pool.status,
        pool.check,
        lambda: list(pool.nodes()),
        pool.histogram,
        pool.task_usage,
        pool.last_used,
    ):
        try:
            operation()
        except HeapwitnessError:
            continue
