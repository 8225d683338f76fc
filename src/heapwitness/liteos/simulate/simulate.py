"""The mechanism on a desk: a trace on two pools at once, the genuine kernel's and ours, with the same faults.

After each operation stands what the kernel answers and prints, and what ours finds. Blocks are known
by the operation that made them, so the two may give them different addresses once they differ.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from heapwitness.liteos.config.config import Config
from heapwitness.liteos.diagnose.finding import LiteosFinding
from heapwitness.liteos.errors import KernelDied
from heapwitness.liteos.pool.pool import Pool
from heapwitness.liteos.simulate.faults import BadFault, InjectedFault, released_pointer, strike
from heapwitness.liteos.simulate.trace import Name, Operation, Trace

LINK_REGISTERS: Final = (0x08000200, 0x08000300, 0x08000400)
"""The return addresses that LEAKCHECK records in a simulation: nobody calls."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One operation or injected call, or the check at the end, and what came of it.

    `faults` struck before it and after the one before. `kernel_answer` and `our_answer` are addresses, 0 for
    none, for a free 0 when it was done and 1 when it was refused; None where there is no answer. `died` says
    why the kernel would not have returned. `findings` are ours.
    """

    number: int
    text: str
    faults: tuple[str, ...] = ()
    kernel_answer: int | None = None
    our_answer: int | None = None
    console: str = ""
    died: str = ""
    findings: tuple[LiteosFinding, ...] = ()
    disagrees: str = ""


class _Side:
    """One of the two pools, and which block each name and each operation has there."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.names: dict[Name, int] = {}
        self.blocks: dict[int, int] = {}

    def pointer(self, operation: Operation) -> int:
        """What an operation on a named block passes; an address that names none is passed as it is."""
        name = operation.pointer
        if name is None:
            return 0
        return self.names.get(name, name if isinstance(name, int) else 0)

    def do(self, operation: Operation) -> int | None:
        """Do an operation; its answer as the kernel gives it."""
        pool = self.pool
        passed = self.pointer(operation)
        match operation.kind:
            case "alloc":
                given = pool.alloc(operation.size)
            case "alloc_align":
                given = pool.alloc_align(operation.size, operation.boundary)
            case "alloc_module":
                given = pool.alloc_module(operation.size, operation.module)
            case "realloc":
                given = pool.realloc(passed, operation.size)
            case "free":
                self.blocks[operation.number] = passed
                return 0 if pool.free(passed) else 1
            case "task":
                pool.task = operation.task
                return None
            case _:
                return None
        # A realloc that gives nothing leaves the block where it was.
        block = given or passed
        self.blocks[operation.number] = block
        for name in (operation.pointer, operation.result):
            if name:
                self.names[name] = block
        return given or 0

    def forget(self, operation: Operation) -> None:
        """Have the block that an operation names no more, so that what is done with it later is done with null."""
        if operation.pointer is not None:
            self.names[operation.pointer] = 0


class Simulation:
    """A trace on two pools: `run` it, and look at what is left of the kernel's with `kernel_bytes`.

    Args:
        trace: what to do.
        config: the kernel's options.
        faults: what goes wrong on the way.
        tasks: names of tasks by number.

    Raises:
        HeapwitnessError: the kernel would refuse to make the pool, or a fault names no operation of the trace.
    """

    def __init__(
        self, trace: Trace, config: Config, faults: Iterable[InjectedFault] = (), tasks: Mapping[int, str] | None = None
    ) -> None:
        self.trace = trace
        self.faults: dict[int, list[InjectedFault]] = {}
        for fault in faults:
            if not 1 <= fault.operation <= len(trace.operations):
                raise BadFault(f"{fault.text!r}: the trace has the operations 1 to {len(trace.operations)}.")
            self.faults.setdefault(fault.operation, []).append(fault)
        self.kernel, self.ours = (_Side(_pool(trace, config, tasks or {}, faithful=one)) for one in (True, False))
        self.config = config
        self.died = ""
        self._told_death = False
        self._printed = self._found = 0

    def run(self) -> Iterator[Step]:
        """A step for each operation, and a last one for a check of the whole pool.

        Raises:
            HeapwitnessError: an operation needs an option that is off, or a fault cannot be put there.
        """
        struck: tuple[str, ...] = ()
        for operation in self.trace.operations:
            yield self._step(operation, struck)
            faults = self.faults.get(operation.number, [])
            struck = tuple(fault.text for fault in faults if not fault.is_release)
            for fault in faults:
                if fault.is_release:
                    yield self._release(fault)
                else:
                    self._strike(fault)
        yield self._check(len(self.trace.operations), "check of the whole pool at the end", struck)

    def kernel_bytes(self) -> bytes:
        """The kernel's pool as it is now: a raw dump."""
        return bytes(self.kernel.pool.buffer)

    def _step(self, operation: Operation, struck: tuple[str, ...]) -> Step:
        if operation.kind == "check":
            return self._check(operation.number, operation.text, struck)
        kernel_answer: int | None = None
        if not self.died:
            try:
                kernel_answer = self.kernel.do(operation)
            except KernelDied as died:
                self.died = str(died)
        our_answer = self.ours.do(operation)
        if operation.kind == "free" and kernel_answer and our_answer == 0:
            # The kernel still has it, so the trace may free it once more: that is no double free of ours.
            self.ours.forget(operation)
        return self._told(
            operation.number,
            operation.text,
            struck,
            kernel_answer,
            our_answer,
            self._disagreement(operation, kernel_answer),
        )

    def _disagreement(self, operation: Operation, answer: int | None) -> str:
        """Where the simulated kernel is not the recorded one: never, unless faults were put in."""
        if self.faults or not self.trace.recorded or self.died:
            return ""
        if operation.kind == "sha256":
            have = hashlib.sha256(self.kernel.pool.buffer).hexdigest()
            return "" if have == operation.answered else f"the recorded pool has the SHA-256 {operation.answered}"
        recorded = operation.answered if operation.kind == "free" else operation.result
        if answer is None or not isinstance(recorded, int) or answer == recorded:
            return ""
        return f"the recorded kernel answered {recorded:#x}"

    def _strike(self, fault: InjectedFault) -> None:
        for side in (self.kernel, self.ours):
            strike(fault, side.pool, self._block(side, fault))

    def _block(self, side: _Side, fault: InjectedFault) -> int:
        block = side.blocks.get(fault.operation, 0)
        if not block and fault.kind != "write":
            raise BadFault(f"{fault.text!r}: operation {fault.operation} has no block there.")
        return block

    def _release(self, fault: InjectedFault) -> Step:
        kernel_answer: int | None = None
        if not self.died:
            try:
                pointer = released_pointer(fault, self._block(self.kernel, fault))
                kernel_answer = 0 if self.kernel.pool.free(pointer) else 1
            except KernelDied as died:
                self.died = str(died)
        ours = released_pointer(fault, self._block(self.ours, fault))
        our_answer = 0 if self.ours.pool.free(ours) else 1
        return self._told(fault.operation, f"free {ours:#x}", (fault.text,), kernel_answer, our_answer, "")

    def _check(self, number: int, text: str, struck: tuple[str, ...]) -> Step:
        if not self.died:
            try:
                self.kernel.pool.integrity_check()
            except KernelDied as died:
                self.died = str(died)
        found = self.ours.pool.check()
        self.ours.pool.restore()
        step = self._told(number, text, struck, None, None, "")
        return msgspec.structs.replace(step, findings=(*step.findings, *found))

    def _told(
        self,
        number: int,
        text: str,
        struck: tuple[str, ...],
        kernel_answer: int | None,
        our_answer: int | None,
        disagrees: str,
    ) -> Step:
        """The step, with what was printed and found since the last one."""
        console, findings = self.kernel.pool.console, self.ours.pool.findings
        died, self._told_death = ("" if self._told_death else self.died), bool(self.died)
        printed, found = "".join(console[self._printed :]), tuple(findings[self._found :])
        self._printed, self._found = len(console), len(findings)
        return Step(
            number=number,
            text=text,
            faults=struck,
            kernel_answer=kernel_answer,
            our_answer=our_answer,
            console=printed,
            died=died,
            findings=found,
            disagrees=disagrees,
        )


def _pool(trace: Trace, config: Config, tasks: Mapping[int, str], *, faithful: bool) -> Pool:
    return Pool.init(
        bytearray([trace.fill]) * trace.size,
        address=trace.address,
        config=config,
        faithful=faithful,
        link_registers=lambda: LINK_REGISTERS,
        tasks=tasks,
    )
