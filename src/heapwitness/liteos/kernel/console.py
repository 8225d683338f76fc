"""What the genuine kernel prints about its heap, word for word, so that its output can be compared with ours."""

from collections.abc import Callable

from heapwitness.liteos.kernel.nodes import Nodes

# Line numbers that the kernel's messages carry (LiteOS 5.0).
LINE_FREE_GAP = 1699
LINE_REALLOC_GAP_FLAGS = 1768
LINE_REALLOC_GAP = 1775
LINE_INFO = 1330
LINE_MAGIC = 1133
LINE_PREV_RANGE = 1145
LINE_NEXT_RANGE = 1156
LINE_POOL_ADDRESS = 1083
LINE_BAD_CANDIDATE = 856
LINE_NO_LIST = {"split": ("OsMemSplitNode", 928), "join": ("OsMemFreeNode", 968), "release": ("OsMemFreeNode", 979)}

_STARS = "*" * 48
_WIDE_STARS = "*" * 53
_RULE = "\n---------------------------------------------\n"
_DUMP_SIZE = 64

TaskName = Callable[[int], str | None]


def pointer(value: int) -> str:
    """How the kernel prints an address."""
    return hex(value) if value else "(nil)"


class Console:
    """Prints into `out`. `task_name` gives the name of a task that exists, None for others.

    `lk` tells that the shell's log prints errors (LOSCFG_SHELL_LK), which puts no blank behind their level.
    """

    def __init__(
        self, out: list[str], task_limit: int, task_name: TaskName, modules: bool, *, lk: bool = False
    ) -> None:
        self.out = out
        self.task_limit = task_limit
        self.task_name = task_name
        self.modules = modules
        self._error = "[ERR]" if lk else "[ERR] "

    def text(self, text: str) -> None:
        """Print text as it is."""
        self.out.append(text)

    def error(self, text: str) -> None:
        """Print at the kernel's error level."""
        self.out.append(self._error + text)

    def panic(self, text: str) -> None:
        """What is printed where the kernel stops the system."""
        self.out.append(f"[PANIC] {text}\n@PANIC\n")

    def unaligned(self, address: int, size: int) -> None:
        """Warn about a pool that will be made smaller."""
        span = f"[{pointer(address)}, {pointer(address + size)})"
        self.text(f"[WARN] pool {span} size {size:#x} should be aligned with OS_MEM_ALIGN_SIZE\n")

    def control(self, nodes: Nodes, node: int, *, backup: bool = False) -> None:
        """Print a control header: the node's own, or the backup that lies in it."""
        layout = nodes.layout
        header = nodes.backup(node) if backup else nodes.header(node)
        at = node + (layout.backup_offset or 0 if backup else layout.header_offset)
        self.text(
            f"node:{pointer(at)} checksum={pointer(header.checksum)}[{pointer(layout.checksum(header))}]"
            f" freeNodeInfo.pstPrev={pointer(header.prev)} freeNodeInfo.pstNext={pointer(header.next)}"
            f" preNode={pointer(header.pre_node)} gapSize={header.gap_size:#x} sizeAndFlag={header.size_and_flag:#x}\n"
        )

    def details(self, nodes: Nodes, node: int) -> None:
        """Print a node and who allocated it."""
        self.error(f"{_STARS}\n")
        self.control(nodes, node)
        self.error(f"the address of node :{pointer(node)}\n")
        self._owner(nodes, node)
        self.error(f"{_STARS}\n\n")

    def previous(self, nodes: Nodes, node: int) -> None:
        """Print the node before a damaged one."""
        self.error("the detailed information of previous node:\n")
        self.details(nodes, node)

    def _owner(self, nodes: Nodes, node: int) -> None:
        if not nodes.used(node):
            self.error("this is a FREE node\n")
            return
        task = nodes.task(node)
        if task >= self.task_limit:
            self.error(f"The task [ID: {task:#x}] is ILLEGAL\n")
            if task == self.task_limit:
                self.error("PROBABLY alloc by SYSTEM INIT, NOT IN ANY TASK\n")
            return
        name = self.task_name(task)
        if name is None:
            self.error(f"The task [ID: {task:#x}] is NOT CREATED(ILLEGAL)\n")
            return
        self.error(f"allocated by task: {name} [ID = {task:#x}]\n")
        if self.modules:
            self.error(f"allocated by moduleId: {nodes.module(node)}\n")

    def wild_pointer(self, nodes: Nodes, node: int, given: int) -> None:
        """Print that a freed pointer lies inside of a node's payload."""
        gap_size = nodes.gap_size(node)
        size = nodes.layout.node_size
        self.error(f"{_WIDE_STARS}\n")
        self.error(
            f"find a control block at: {pointer(node)}, gap size: {gap_size:#x}, sizeof(LosMemDynNode): {size:#x}\n"
        )
        self.error(f"the pointer should be: {pointer(node + gap_size + size & nodes.mask)}\n")
        self.error(f"the pointer given is: {pointer(given)}\n")
        self.error("PROBABLY A WILD POINTER\n")
        self.text("*******backtrace begin*******\n")
        self.error(f"{_WIDE_STARS}\n\n")

    def broken(self, nodes: Nodes, node: int, before: int, leakcheck: bool) -> None:
        """Print the node at which the integrity check stopped, and stop the system."""
        if node == before:
            self.text("\n the broken node is the first node\n")
        found, previous = nodes.header(node), nodes.header(before)
        heads = (
            f"{pointer(header.prev)}  {pointer(header.next)}  {pointer(header.pre_node)}  {header.size_and_flag:#x}"
            for header in (found, previous)
        )
        self.text("\n broken node head: {}, pre node head: {}\n".format(*heads))
        if leakcheck:
            for title, header in (("broken node", found), ("pre node", previous)):
                self.text(f"\n {title} head LR info: \n")
                for index, register in enumerate(header.link_registers):
                    self.text(f" LR[{index}]:{pointer(register)}\n")
        self.text(_RULE)
        dump_end = min(node + _DUMP_SIZE, nodes.mask)
        self.text(f" dump mem tmpNode:{pointer(node)} ~ {pointer(dump_end)}\n")
        self.text(f"<dump {dump_end - node} bytes at {node:#x}>\n")
        self.text(_RULE)
        if before != node:
            start = node - _DUMP_SIZE & nodes.mask
            self.text(
                f" dump mem :{pointer(start)} ~ tmpNode:{pointer(node)}\n<dump {_DUMP_SIZE} bytes at {start:#x}>\n"
            )
            self.text(_RULE)
        task = nodes.task(before)
        name = self.task_name(task) if task < self.task_limit else None
        if task >= self.task_limit:
            self.panic(f"Task ID {task} in pre node is invalid!\n")
        elif name is None:
            self.panic(f"\r\nTask ID {task} in pre node is not created!\n")
        else:
            cur, pre = pointer(node), pointer(before)
            self.panic(f"cur node: {cur}\npre node: {pre}\npre node was allocated by task:{name}\n")
