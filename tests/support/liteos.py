"""Recordings of the genuine LiteOS kernel: all of them where they lie beside the repository, else a small sample."""

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heapwitness.liteos import Config, Pool

SAMPLE = Path(__file__).parent.parent / "data/liteos"
ALL = Path(__file__).parents[2].parent / "shared/liteos"
RECORDINGS = ALL if (ALL / "layouts.json").is_file() else SAMPLE
LAYOUTS: dict[str, dict[str, Any]] = json.loads((SAMPLE / "layouts.json").read_text())

POOL_ADDRESS = 0x20000000


def config_of(name: str, width: int) -> Config:
    """The configuration of a recording."""
    recorded = LAYOUTS[f"{name}-{width}"]
    values: dict[str, str | int] = dict.fromkeys(recorded["options"], "y")
    values["LOSCFG_BASE_CORE_TSK_LIMIT"] = recorded["LOSCFG_BASE_CORE_TSK_LIMIT"]
    return Config.from_symbols(values, width=width)


CONFIGS = {name: config_of(name.rsplit("-", 1)[0], recorded["width"]) for name, recorded in LAYOUTS.items()}


def link_registers() -> tuple[int, int, int]:
    """The return addresses in all recordings."""
    return 0x08000200, 0x08000300, 0x08000400


def sha256(data: bytes | bytearray) -> str:
    """How recordings name a pool's bytes."""
    return hashlib.sha256(data).hexdigest()


# --- traces ----------------------------------------------------------------------------------------------------------


def traces() -> list[Path]:
    """The recorded traces."""
    return sorted((RECORDINGS / "traces").glob("*.jsonl.gz"))


def operations(trace: Path) -> Iterator[dict[str, Any]]:
    """A trace's operations; the first one is `init`."""
    with gzip.open(trace, "rt") as file:
        for line in file:
            yield json.loads(line)


def begin(operation: dict[str, Any], *, faithful: bool) -> tuple[bytearray, Pool]:
    """The pool that an `init` operation makes, and its bytes."""
    buffer = bytearray([operation["fill"]]) * operation["size"]
    config = config_of(operation["config"], operation["width"])
    pool = Pool.init(
        buffer, address=operation["address"], config=config, faithful=faithful, link_registers=link_registers
    )
    return buffer, pool


def perform(pool: Pool, operation: dict[str, Any]) -> int | None:
    """Do one operation of a trace; its result as recordings have it, None for one that has none."""
    match operation["op"]:
        case "alloc":
            return pool.alloc(operation["size"]) or 0
        case "alloc_align":
            return pool.alloc_align(operation["size"], operation["boundary"]) or 0
        case "malloc_module":
            return pool.alloc_module(operation["size"], operation["module"]) or 0
        case "realloc":
            return pool.realloc(operation["pointer"], operation["size"]) or 0
        case "free":
            return 0 if pool.free(operation["pointer"]) else 1
        case "task":
            pool.task = operation["id"]
            return None
        case other:
            raise AssertionError(f"unknown operation {other}")


# --- damaged pools ---------------------------------------------------------------------------------------------------


def damaged() -> list[Path]:
    """The recordings of an operation on a damaged pool."""
    return sorted((RECORDINGS / "corrupt").glob("*/*.json.gz"))


def load(path: Path) -> tuple[dict[str, Any], bytearray]:
    """Such a recording, and the damaged pool's bytes."""
    recorded = json.loads(gzip.decompress(path.read_bytes()))
    image = path.with_name(path.name.replace(".json.gz", ".before.img.gz"))
    return recorded, bytearray(gzip.decompress(image.read_bytes()))


def attach(recorded: dict[str, Any], buffer: bytearray, *, faithful: bool, task: int = 0) -> Pool:
    """A pool on a recording's bytes."""
    config = config_of(recorded["config"], recorded["width"])
    return Pool.attach(
        buffer, address=recorded["pool"], config=config, faithful=faithful, link_registers=link_registers, task=task
    )


def detect(pool: Pool, recorded: dict[str, Any]) -> str:
    """Do the operation that was recorded on a damaged pool; its result as recordings have it."""
    operation, *arguments = recorded["detect"].split()
    if operation == "free":
        return "0" if pool.free(int(arguments[0], 16)) else "1"
    if operation == "alloc":
        payload = pool.alloc(int(arguments[0], 16))
        return "1" if payload is None else f"{payload:x}"
    if operation == "check":
        return "0" if pool.integrity_check() else "1"
    assert operation == "badshow"
    pool.bad_node_show()
    return "0"
