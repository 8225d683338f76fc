"""A plain model of the best-fit heap: a sorted list of nodes, every choice made by looking at all of them."""

from dataclasses import dataclass

from heapwitness.layout.witness import CONTROL, END, MIN_NODE, OVERHEAD, State


@dataclass(slots=True)
class Block:
    """A node of the model; sizes in granules, `requested` in bytes."""

    offset: int
    size: int
    state: State = State.FREE
    requested: int = 0
    content: bytes = b""


class Model:
    """What `heapwitness.Pool` should do, for a pool of `size` bytes at `address`."""

    def __init__(self, size: int, log2: int, address: int) -> None:
        self.log2, self.address = log2, address
        self.min = MIN_NODE >> log2
        first = CONTROL >> log2
        self.end = (size - END) >> log2
        self.blocks = [Block(first, self.end - first)]

    def need(self, size: int) -> int:
        granule = 1 << self.log2
        return max(self.min, ((size + granule - 1) >> self.log2) + (OVERHEAD >> self.log2))

    def payload(self, offset: int) -> int:
        return self.address + (offset << self.log2) + OVERHEAD

    def find(self, offset: int) -> Block:
        return next(block for block in self.blocks if block.offset == offset)

    def allocate(self, size: int, align: int) -> int | None:
        need, lead = self.need(size), 0
        free = sorted((b.size, b.offset) for b in self.blocks if b.state is State.FREE)
        fitting = [(s, o) for s, o in free if s == need or s >= need + self.min]
        if not fitting:
            return None
        length, offset = fitting[0]
        if align >> self.log2 > 1 and self.payload(offset) % align:
            roomy = [(s, o) for s, o in free if s >= need + (align >> self.log2) + 2 * self.min - 1]
            if not roomy:
                return None
            length, offset = roomy[0]
            gap = -self.payload(offset) % align
            while 0 < gap < MIN_NODE:
                gap += align
            lead = gap >> self.log2
        at = self.blocks.index(self.find(offset))
        parts = [Block(offset, lead)] if lead else []
        parts.append(Block(offset + lead, need, State.USED, size or 1))
        if rest := length - lead - need:
            parts.append(Block(offset + lead + need, rest))
        self.blocks[at : at + 1] = parts
        return offset + lead

    def take(self, least: int, most: int) -> int | None:
        need, room = self.need(least), self.need(most)
        free = sorted((b.size, b.offset) for b in self.blocks if b.state is State.FREE and b.size >= need)
        if not free or room < need:
            return None
        block = self.find(free[0][1])
        block.state = State.CACHED
        if block.size - room >= self.min:
            rest = Block(block.offset + room, block.size - room)
            self.blocks.insert(self.blocks.index(block) + 1, rest)
            block.size = room
        return block.offset

    def cut(self, offset: int, size: int) -> bool:
        block, need = self.find(offset), self.need(size)
        if block.size - need < self.min:
            return False
        rest = Block(offset + need, block.size - need, State.CACHED)
        self.blocks.insert(self.blocks.index(block) + 1, rest)
        block.size, block.state, block.requested = need, State.USED, size or 1
        return True

    def release(self, offset: int) -> None:
        at = self.blocks.index(self.find(offset))
        low = at - 1 if at and self.blocks[at - 1].state is State.FREE else at
        behind = at + 1
        high = behind if behind < len(self.blocks) and self.blocks[behind].state is State.FREE else at
        size = sum(block.size for block in self.blocks[low : high + 1])
        self.blocks[low : high + 1] = [Block(self.blocks[low].offset, size)]

    def resize(self, offset: int, size: int) -> bool:
        block, need = self.find(offset), self.need(size)
        at = self.blocks.index(block)
        behind = self.blocks[at + 1] if at + 1 < len(self.blocks) else None
        absorb = need != block.size and behind is not None and behind.state is State.FREE
        room = block.size + (behind.size if absorb and behind else 0)
        if room != need and room < need + self.min:
            return False
        if absorb:
            del self.blocks[at + 1]
        block.size, block.requested = need, size or 1
        block.content = block.content[: block.requested]
        if room != need:
            self.blocks.insert(at + 1, Block(offset + need, room - need))
        return True

    def extend(self, size: int) -> bool:
        end = (size - END) >> self.log2
        if end < self.end + self.min:
            return False
        if self.blocks[-1].state is State.FREE:
            self.blocks[-1].size += end - self.end
        else:
            self.blocks.append(Block(self.end, end - self.end))
        self.end = end
        return True
