"""LiteOS's heap, byte for byte: configuration, layout, the pool itself, dumps, and what is damaged in them.

What is named here may be relied upon: docs/api.md. Start with `inspect` for a dump, with `Config.load` and `Pool.init`
or `Pool.attach` for a pool that is to be worked with.
"""

import importlib
from typing import TYPE_CHECKING, Any

# The folder of this name is a part of the package, too; so the function has to be here before anybody asks for it.
from heapwitness.liteos.diagnose.diagnose import diagnose

if TYPE_CHECKING:
    from heapwitness.liteos.config.config import BadConfig as BadConfig
    from heapwitness.liteos.config.config import Config as Config
    from heapwitness.liteos.diagnose.plan import plan as plan_repair
    from heapwitness.liteos.dump.inspect import inspect as inspect
    from heapwitness.liteos.errors import BadPool as BadPool
    from heapwitness.liteos.errors import KernelDied as KernelDied
    from heapwitness.liteos.find.guess import NotGuessed as NotGuessed
    from heapwitness.liteos.find.guess import guess as guess_layout
    from heapwitness.liteos.find.pools import find_pools as find_pools
    from heapwitness.liteos.firmware.dwarf import BadFirmware as BadFirmware
    from heapwitness.liteos.firmware.dwarf import read_firmware as read_firmware
    from heapwitness.liteos.heap.ends import NoPool as NoPool
    from heapwitness.liteos.image.errors import BadImage as BadImage
    from heapwitness.liteos.image.load import load as load_image
    from heapwitness.liteos.kernel.sizecheck import CheckLevel as CheckLevel
    from heapwitness.liteos.layout.layout import Layout as Layout
    from heapwitness.liteos.pool.pool import Pool as Pool

__all__ = [
    "BadConfig",
    "BadFirmware",
    "BadImage",
    "BadPool",
    "CheckLevel",
    "Config",
    "KernelDied",
    "Layout",
    "NoPool",
    "NotGuessed",
    "Pool",
    "diagnose",
    "find_pools",
    "guess_layout",
    "inspect",
    "load_image",
    "plan_repair",
    "read_firmware",
]

# Where each other name is, to be imported when it is wanted: who has a pool needs no reader of ELF files.
_HOMES = {
    "BadConfig": ("config.config", "BadConfig"),
    "BadFirmware": ("firmware.dwarf", "BadFirmware"),
    "BadImage": ("image.errors", "BadImage"),
    "BadPool": ("errors", "BadPool"),
    "CheckLevel": ("kernel.sizecheck", "CheckLevel"),
    "Config": ("config.config", "Config"),
    "KernelDied": ("errors", "KernelDied"),
    "Layout": ("layout.layout", "Layout"),
    "NoPool": ("heap.ends", "NoPool"),
    "NotGuessed": ("find.guess", "NotGuessed"),
    "Pool": ("pool.pool", "Pool"),
    "find_pools": ("find.pools", "find_pools"),
    "guess_layout": ("find.guess", "guess"),
    "inspect": ("dump.inspect", "inspect"),
    "load_image": ("image.load", "load"),
    "plan_repair": ("diagnose.plan", "plan"),
    "read_firmware": ("firmware.dwarf", "read_firmware"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, own = _HOMES[name]
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{module}"), own)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
