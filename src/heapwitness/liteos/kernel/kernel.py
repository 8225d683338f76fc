"""The genuine kernel's operations on a bestfit pool: its bytes, its answers, its silence.

It verifies a header only where the kernel does (a free node that a search visits, a node that is
freed), restores from the backup as the kernel does, and everywhere else believes what it reads.
An access outside of the buffer, or a loop that never ends, raises KernelDied.
"""

from heapwitness.findings.model import When
from heapwitness.liteos.config.config import Config
from heapwitness.liteos.errors import KernelDied
from heapwitness.liteos.kernel.console import (
    LINE_BAD_CANDIDATE,
    LINE_FREE_GAP,
    LINE_INFO,
    LINE_MAGIC,
    LINE_NEXT_RANGE,
    LINE_NO_LIST,
    LINE_POOL_ADDRESS,
    LINE_PREV_RANGE,
    LINE_REALLOC_GAP,
    LINE_REALLOC_GAP_FLAGS,
    Console,
    pointer,
)
from heapwitness.liteos.kernel.mechanism import Mechanism, aligned
from heapwitness.liteos.kernel.ram import Ram
from heapwitness.liteos.kernel.statistics import Status
from heapwitness.liteos.layout.layout import ALIGNED_FLAG, USED_FLAG, Layout

_FLAGS = USED_FLAG | ALIGNED_FLAG
_U32_MAX = 0xFFFFFFFF


class Kernel(Mechanism):
    """The operations of `LOS_Mem...`: addresses in and out, None and False where the kernel refuses."""

    def __init__(self, ram: Ram, config: Config, layout: Layout, console: Console) -> None:
        super().__init__(ram, config, layout)
        self.console = console

    # --- allocation --------------------------------------------------------------------------------------------

    def alloc(self, size: int) -> int | None:
        """Allocate `size` bytes."""
        if size == 0 or size & _FLAGS:
            return None
        return self._allocate(size)

    def alloc_align(self, size: int, boundary: int) -> int | None:
        """Allocate `size` bytes at a multiple of `boundary`, a power of two and a multiple of the pointer size."""
        if size == 0 or boundary == 0 or boundary & boundary - 1 or boundary % self.layout.pointer:
            return None
        wanted = size + boundary - 4
        if wanted > _U32_MAX or wanted & _FLAGS:
            return None
        payload = self._allocate(wanted)
        if payload is None:
            return None
        moved = aligned(payload, boundary)
        if moved != payload:
            self.align_payload(payload - self.layout.node_size, moved, size)
        return moved

    def _allocate(self, size: int) -> int | None:
        if self.config.integrity_check and not self.integrity_check():
            return None
        needed = self.needed(size)
        node = self._find(needed)
        if node is None:
            self._say_no_block(needed)
            return None
        self.occupy(node, size)
        return node + self.layout.node_size

    def _find(self, needed: int) -> int | None:
        """The first free node that is large enough, from the list of the wanted size upward."""
        nodes, ram = self.nodes, self.ram
        start = self.list_index(needed)
        restored = True
        for index in range(self.layout.list_count if start is None else start, self.layout.list_count):
            head = self.list_head(index)
            links = ram.word(head + self.layout.pointer)
            seen: set[int] = set()
            while links != head:
                if links in seen:
                    raise KernelDied(f"The kernel would search the free list at {head:#x} for ever: it has a loop.")
                seen.add(links)
                node = nodes.of_links(links)
                if self.config.head_backup:
                    if not nodes.checksum_holds(node):
                        self._say_bad("OsMemFindSuitableFreeBlock", "node information of current node", node)
                        before = self._before(node)
                        restored = before is not None and self._restore(before, node)
                    if not restored:
                        break
                if self.config.debug and self._is_foreign(node):
                    self._say_foreign(node, head, needed)
                    break
                if nodes.size_and_flag(node) >= needed:
                    return node
                links = nodes.next_link(node)
        return None

    def _is_foreign(self, node: int) -> bool:
        inside = self.address <= node <= self.address + self.pool_size
        return not inside or node % self.layout.align != 0

    # --- release -----------------------------------------------------------------------------------------------

    def free(self, payload: int) -> bool:
        """Free what an allocation returned."""
        if payload == 0 or payload % self.layout.pointer or self.address % self.layout.pointer:
            return False
        return self._free(payload)

    def _free(self, payload: int) -> bool:
        layout = self.layout
        gap = self._gap_word(payload)
        if gap & _FLAGS == _FLAGS:
            self.console.error(f"[OsMemFree:{LINE_FREE_GAP}]gapSize:{gap:#x} error\n")
            return False
        node = payload - layout.node_size & self.nodes.mask
        if gap & ALIGNED_FLAG:
            gap &= ~ALIGNED_FLAG
            if gap % layout.align or gap > node:
                self.console.error(f"illegal gapSize: {gap:#x}\n")
                if not self.config.head_backup:
                    return False
            else:
                node = node - gap
        if self.config.head_backup and not self._make_good(payload, node):
            return False
        if not self._is_used(node):
            return False
        self.release(node)
        return True

    def _gap_word(self, payload: int) -> int:
        """The word before a payload. Before a pointer to elsewhere the target has memory that says nothing here."""
        at = payload - 4
        return self.ram.u32(at) if 0 <= at - self.ram.address <= self.ram.size - 4 else 0

    def _make_good(self, payload: int, node: int) -> bool:
        """Where a freed node's header is bad, look for the node of the payload and restore it on the way."""
        if not self.first <= node <= self.end or self.nodes.checksum_holds(node):
            return True
        found = self._search(payload)
        return found is not None and self._restore(*found)

    def _is_used(self, node: int) -> bool:
        """Whether node and neighbours look as they must for a free or realloc; always without MEM_DEBUG."""
        if not self.config.debug:
            return True
        nodes = self.nodes
        if not self._is_valid(node) or not nodes.used(node):
            return False
        following = nodes.following(node)
        if not self._is_valid(following) or nodes.pre_node(following) != node:
            return False
        if node == self.first:
            return True
        before = nodes.pre_node(node)
        return self._is_valid(before) and nodes.following(before) == node

    def _is_valid(self, node: int) -> bool:
        if not self.first <= node <= self.end:
            return False
        if self.nodes.used(node):
            return self.nodes.kernel_magic_holds(node)
        return self.address <= self.nodes.prev(node) < self.address + self.pool_size

    # --- resizing ----------------------------------------------------------------------------------------------

    def realloc(self, payload: int, size: int) -> int | None:
        """Resize an allocation: null allocates, size 0 frees."""
        if size & _FLAGS:
            return None
        if payload == 0:
            return self.alloc(size)
        if size == 0:
            self.free(payload)
            return None
        return self._resize(payload, size)

    def _resize(self, payload: int, size: int) -> int | None:
        nodes, node_size = self.nodes, self.layout.node_size
        start = self._payload_start(payload)
        if start is None:
            return None
        node = start - node_size & nodes.mask
        if not self._is_used(node):
            return None
        needed = self.needed(size)
        old_size = nodes.size(node)
        if old_size >= needed:
            self.shrink(node, needed)
            self.set_requested(node, size)
            return payload
        following = nodes.following(node)
        if not nodes.used(following) and nodes.size_and_flag(following) + old_size >= needed:
            self.grow(node, needed)
            self.set_requested(node, size)
            return payload
        moved = self._allocate(size)
        if moved is None:
            return None
        length = old_size - node_size - (payload - start) & nodes.mask
        if length > size:
            self._free(moved)
            return None
        self.ram.move(payload, moved, length)
        self.release(node)
        return moved

    def _payload_start(self, payload: int) -> int | None:
        """Where the payload of a possibly aligned pointer starts."""
        gap = self._gap_word(payload)
        if gap & _FLAGS == _FLAGS:
            self.console.error(f"[OsGetRealPtr:{LINE_REALLOC_GAP_FLAGS}]gapSize:{gap:#x} error\n")
            return None
        if not gap & ALIGNED_FLAG:
            return payload
        gap &= ~ALIGNED_FLAG
        room = payload - self.layout.node_size - self.address & self.nodes.mask
        if gap % self.layout.align or gap > room:
            self.console.error(f"[OsGetRealPtr:{LINE_REALLOC_GAP}]gapSize:{gap:#x} error\n")
            return None
        return payload - gap

    # --- modules -----------------------------------------------------------------------------------------------

    def node_of(self, payload: int, when: When) -> int | None:
        """The node that a module's pointer names by the word before it; None where that cannot be."""
        layout = self.layout
        if payload % layout.align:
            self.console.error(f"[OsMemPtrToNode]ptr:{pointer(payload)} not align by 4byte\n")
            return None
        gap = self.ram.u32(payload - 4)
        size = gap & ~ALIGNED_FLAG if gap & ALIGNED_FLAG else 0
        if gap & _FLAGS == _FLAGS or size % layout.align or size > payload - layout.node_size:
            self.console.error(f"[OsMemPtrToNode]gapSize:{gap:#x} error\n")
            return None
        return payload - size - layout.node_size

    def tell_foreign(self, when: When, payload: int, node: int, owner: int, module: int) -> None:
        """Say that a module gives back what another one owns."""
        what = "node" if when == "free" else "a node"
        task = self.nodes.task(node)
        self.console.error(
            f"{what}[{pointer(payload)}] alloced in module {owner}, but {when} in module {module}\n"
            f" node's taskId: {f'{task:#x}' if when == 'free' else task}\n"
        )

    # --- restoring ---------------------------------------------------------------------------------------------

    def _restore(self, before: int, node: int) -> bool:
        """Copy the backup in `before` over the node's header, good or not, and renew the backup in the node."""
        self.console.error("the backup node information of current node in previous node:\n")
        self.console.control(self.nodes, before, backup=True)
        self.console.previous(self.nodes, before)
        self.nodes.copy_from_backup(node, before)
        return self._renew_backup(node)

    def _renew_backup(self, node: int) -> bool:
        """Where the backup in a node is bad, take it from the next node again; False if that is bad itself."""
        nodes = self.nodes
        following = self.first if node == self.end else nodes.following(node)
        if not nodes.checksum_holds(following):
            self.console.error("[OsMemBackupSetup4Next]the next node is broken!!\n")
            self.console.control(nodes, following)
            self.console.error("Current node details:\n")
            self.console.details(nodes, node)
            return False
        if not nodes.backup_holds(node):
            nodes.copy_to_backup(following, node)
        return True

    def _before(self, node: int) -> int | None:
        """The node before one, found from the first on; what is bad on the way is restored where it can be."""
        nodes = self.nodes
        if node == self.first:
            return self._before_first()
        before: int | None = None
        current = self.first
        while current < self.end:
            if not self._make_passable("OsMemNodePrevGet", current, before):
                return None
            following = nodes.following(current)
            if following == node:
                return current
            if following > node:
                return None
            before, current = current, self._advance(current, following)
        return None

    def _before_first(self) -> int | None:
        """The end node holds the first node's backup."""
        nodes, end = self.nodes, self.end
        if not nodes.checksum_holds(end):
            self.console.error("the current node is THE FIRST NODE !\n")
            self._say_bad("OsMemFirstNodePrevGet", "node information of previous node", end)
        if nodes.backup_holds(end):
            return end
        self.console.error("the current node is THE FIRST NODE !\n")
        what = "backup node information of current node in previous Node"
        self._say_bad("OsMemFirstNodePrevGet", what, end, backup=True)
        return None

    def _search(self, payload: int) -> tuple[int, int] | None:
        """The node before a payload's node, and that node; None for a wild pointer or where the way is broken."""
        nodes = self.nodes
        before, current = self.end, self.first
        while current < self.end:
            if not self._make_passable("OsMemNodePrevTryGet", current, before):
                return None
            if current + nodes.gap_size(current) + self.layout.node_size & nodes.mask == payload:
                return before, current
            following = nodes.following(current)
            if following > payload:
                self.console.wild_pointer(nodes, current, payload)
                return None
            before, current = current, self._advance(current, following)
        return None

    def _make_passable(self, function: str, node: int, before: int | None) -> bool:
        """Restore a node's header and the backup in it, if they are bad, before its size is believed."""
        nodes = self.nodes
        if not nodes.checksum_holds(node):
            self._say_bad(function, "node information of current node", node)
            if before is None:
                return False
            self.console.previous(nodes, before)
            if not self._restore(before, node):
                return False
        if nodes.backup_holds(node):
            return True
        self._say_bad(function, "backup node information in current node", node, backup=True)
        if before is not None:
            self.console.previous(nodes, before)
        return self._renew_backup(node)

    def _advance(self, node: int, following: int) -> int:
        if following == node:
            raise KernelDied(f"The kernel would stay at the node at {node:#x} for ever: its size is 0.")
        return following

    # --- inspection --------------------------------------------------------------------------------------------

    def bad_node_show(self) -> None:
        """Print every header, and for a bad one the node before it; restores on the way as the kernel does."""
        nodes, node = self.nodes, self.first
        while node <= self.end:
            self.console.control(nodes, node)
            if not nodes.checksum_holds(node):
                before = self._before(node)
                if before is None:
                    self.console.error("the current node is invalid, but cannot find its previous Node\n")
                else:
                    self.console.previous(nodes, before)
            node = self._advance(node, nodes.following(node))
        self.console.text("check finish\n")

    def integrity_check(self) -> bool:
        """The kernel's own integrity check: magic of used nodes, links of free ones; True without the option."""
        if not self.config.integrity_check:
            return True
        nodes = self.nodes
        pool_end = self.address + self.pool_size
        self._check_lists(pool_end)
        before = node = self.first
        while node < self.end:
            if not self._passes(node, pool_end):
                self.console.broken(nodes, node, before, self.config.leakcheck)
                return False
            before, node = node, self._advance(node, nodes.following(node))
        return True

    def _passes(self, node: int, pool_end: int) -> bool:
        nodes, say = self.nodes, self.console.error
        title = "[OsMemIntegrityCheck], {}, memory check error!\n"
        if nodes.used(node):
            if nodes.kernel_magic_holds(node):
                return True
            magic = pointer(nodes.prev(node))
            say(
                title.format(LINE_MAGIC)
                + f"memory used but magic num wrong, freeNodeInfo.pstPrev(magic num):{magic} \n"
            )
            return False
        allowed = f"is out of legal mem range[{pointer(self.address)}, {pointer(pool_end)}]\n"
        for name, line, links in (
            ("pstPrev", LINE_PREV_RANGE, nodes.prev(node)),
            ("pstNext", LINE_NEXT_RANGE, nodes.next_link(node)),
        ):
            if not self.address <= links < pool_end:
                say(title.format(line) + f" freeNodeInfo.{name}:{pointer(links)} {allowed}")
                return False
        return True

    def _check_lists(self, pool_end: int) -> None:
        """Print list heads that cannot be; the kernel goes on all the same."""
        size = self.layout.pointer
        if self.address % size:
            where = f"func:OsMemPoolHeadInfoPrint,line:{LINE_POOL_ADDRESS}"
            self.console.error(f"wrong mem pool addr: {pointer(self.address)}, {where}\n")
            return
        bad = False
        for index in range(self.layout.list_count):
            head = self.list_head(index)
            links = self.ram.word(head), self.ram.word(head + size)
            if any(not self.lists <= link < pool_end or link % size for link in links):
                bad = True
                prev, following = map(pointer, links)
                self.console.error(f"DlinkHead[{index}]: pstPrev:{prev}, pstNext:{following}\n")
        if bad:
            info = self.layout.pool.pool.offset
            pool = pointer(self.ram.word(self.address + info))
            self.console.text(f"mem pool info: poolAddr:{pool}, poolSize:{self.pool_size:#x}\n")
            if self.config.task_stat:
                used, peak = (self.ram.u32(counter) for counter in self.total_counters())
                self.console.text(f"mem pool info: poolWaterLine:{peak:#x}, poolCurUsedSize:{used:#x}\n")

    def status(self) -> Status | None:
        """Totals over all nodes, the end node included; None where the kernel refuses, as it does in 64-bit."""
        if not self.nodes.kernel_magic_holds(aligned(self.end, self.layout.align)):
            self.console.error(f"wrong mem pool addr: {pointer(self.address)}\n, line:{LINE_INFO}")
            return None
        return self.totals()

    def totals(self) -> Status:
        """Totals over all nodes, the end node included."""
        nodes = self.nodes
        used: list[int] = []
        free: list[int] = []
        node = self.first
        while node <= self.end:
            (used if nodes.used(node) else free).append(nodes.size(node))
            node = self._advance(node, nodes.following(node))
        peak = self.ram.u32(self.total_counters()[1]) if self.config.task_stat else None
        return Status(sum(used), sum(free), max(free, default=0), len(used), len(free), peak)

    def last_used(self) -> int:
        """Where the last used node ends: the payload of a free node after it would start there."""
        nodes = self.nodes
        last = nodes.pre_node(self.end)
        return last + (nodes.size(last) if nodes.used(last) else 0) + self.layout.node_size & nodes.mask

    # --- words -------------------------------------------------------------------------------------------------

    def no_list(self, step: str) -> None:
        """Print what the kernel prints where no list is for a size."""
        function, line = LINE_NO_LIST[step]
        self.console.error(f"{function} {line}\n")

    def _say_bad(self, function: str, what: str, node: int, *, backup: bool = False) -> None:
        self.console.error(f"[{function}]: the {what} is bad !!\n")
        self.console.control(self.nodes, node, backup=backup)

    def _say_foreign(self, node: int, head: int, needed: int) -> None:
        self.console.panic(
            f"[OsMemFindSuitableFreeBlock:{LINE_BAD_CANDIDATE}]Mem node data error:"
            f"OS_MEM_HEAD_ADDR(pool)={pointer(self.lists)}, listNodeHead:{pointer(head)},"
            f"allocSize={needed}, tmpNode={pointer(node)}\n"
        )

    def _say_no_block(self, needed: int) -> None:
        """Print the pool's totals and what was wanted, with MEM_DEBUG."""
        if not self.config.debug:
            return
        self.console.error("-" * 107 + "\n")
        status = self.status()
        if status is not None:
            self.console.text(status.kernel_table(self.address, self.pool_size))
        self.console.error(f"[OsMemInfoAlert] No suitable free block, require free node size: {needed:#x}\n")
        self.console.error("-" * 107 + "\n")
