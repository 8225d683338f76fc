"""Laws of LiteOS pools: what any sequence of operations keeps, whatever the options."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from support import liteos

from heapwitness.liteos import Config, Pool

SIZE = 6000
SIZES = st.one_of(st.integers(1, 64), st.integers(1, 1500))
CONFIGS = st.one_of(
    st.sampled_from(list(liteos.CONFIGS.values())),
    st.builds(Config, width=st.sampled_from([32, 64]), task_stat=st.booleans()),
    st.builds(
        Config,
        width=st.sampled_from([32, 64]),
        debug=st.just(True),
        task_stat=st.booleans(),
        task_limit=st.integers(1, 100),
        head_backup=st.booleans(),
        mul_module=st.booleans(),
        recordinfo=st.booleans(),
        leakcheck=st.booleans(),
    ),
)


class Pools(RuleBasedStateMachine):
    """A careful pool and, where the kernel can free at all, a faithful one, do the same things."""

    blocks = Bundle("blocks")

    @initialize(config=CONFIGS)
    def start(self, config: Config) -> None:
        self.config = config
        self.bytes = bytearray(SIZE)
        self.pool = self.make(self.bytes, faithful=False)
        self.kernel_bytes = bytearray(SIZE)
        self.kernel = self.make(self.kernel_bytes, faithful=True) if config.width == 32 or not config.debug else None
        self.live: dict[int, int] = {}
        self.aligned = False

    def make(self, buffer: bytearray, *, faithful: bool) -> Pool:
        return Pool.init(
            buffer,
            address=liteos.POOL_ADDRESS,
            config=self.config,
            faithful=faithful,
            link_registers=liteos.link_registers,
        )

    def fill(self, block: int, size: int) -> None:
        """Use every byte of a block, so that blocks that overlap or give too little are noticed."""
        at = block - liteos.POOL_ADDRESS
        content = bytes([block // 4 % 255 + 1]) * size
        self.bytes[at : at + size] = content
        if self.kernel is not None:
            self.kernel_bytes[at : at + size] = content
        self.live[block] = size

    @rule(target=blocks, size=SIZES)
    def alloc(self, size: int):  # type: ignore[no-untyped-def]
        block = self.pool.alloc(size)
        assert self.kernel is None or self.kernel.alloc(size) == block
        if block is None:
            return multiple()
        assert block % (self.config.width // 8) == 0
        self.fill(block, size)
        return block

    @rule(target=blocks, size=SIZES, boundary=st.sampled_from([8, 32, 256]))
    def alloc_align(self, size: int, boundary: int):  # type: ignore[no-untyped-def]
        block = self.pool.alloc_align(size, boundary)
        assert self.kernel is None or self.kernel.alloc_align(size, boundary) == block
        if block is None:
            return multiple()
        assert block % boundary == 0
        # The kernel clears an aligned node's gap size when it saves the node as a neighbour; this pool keeps it.
        self.aligned = True
        self.fill(block, size)
        return block

    @rule(block=consumes(blocks))
    def free(self, block: int) -> None:
        assert self.pool.free(block)
        assert self.kernel is None or self.kernel.free(block)
        del self.live[block]

    @rule(target=blocks, block=consumes(blocks), size=SIZES)
    def realloc(self, block: int, size: int):  # type: ignore[no-untyped-def]
        if self.aligned:
            # The kernel takes a resized aligned block's gap for room, and gives too little.
            self.kernel = None
        moved = self.pool.realloc(block, size)
        assert self.kernel is None or self.kernel.realloc(block, size) == moved
        if moved is None:
            return block
        kept = min(self.live.pop(block), size)
        at = moved - liteos.POOL_ADDRESS
        assert self.bytes[at : at + kept] == bytes([block // 4 % 255 + 1]) * kept
        self.fill(moved, size)
        return moved

    @rule(task=st.integers(0, 70))
    def run_task(self, task: int) -> None:
        self.pool.task = task
        if self.kernel is not None:
            self.kernel.task = task

    @invariant()
    def nothing_is_found_wrong(self) -> None:
        assert self.pool.findings == []
        assert self.pool.check() == []

    @invariant()
    def the_bytes_are_the_kernels(self) -> None:
        if self.kernel is not None and not self.aligned:
            assert self.bytes == self.kernel_bytes

    @invariant()
    def blocks_keep_what_was_written(self) -> None:
        for block, size in self.live.items():
            at = block - liteos.POOL_ADDRESS
            assert self.bytes[at : at + size] == bytes([block // 4 % 255 + 1]) * size

    @invariant()
    def the_totals_are_those_of_the_blocks(self) -> None:
        status = self.pool.status()
        assert status.used_nodes == len(self.live) + 1
        assert status.total_used + status.total_free == self.pool.size - self.pool.layout.first_offset
        assert sum(one.nodes for one in self.pool.histogram()) == status.free_nodes
        if self.config.task_stat:
            own = self.pool.layout.node_size
            assert sum(one.used for one in self.pool.task_usage()) == status.total_used - own


Pools.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPools = Pools.TestCase
