"""The kernel's configuration symbols that decide what its heap looks like: names, types and needs.

The Kconfig file beside this one says the same to menuconfig, with prompts and help; a test keeps
the two in step. `NEEDS` names for each option what must be on, in the order in which a missing
one is reported.
"""

from typing import Final

BESTFIT: Final = "LOSCFG_KERNEL_MEM_BESTFIT"
BESTFIT_LITTLE: Final = "LOSCFG_KERNEL_MEM_BESTFIT_LITTLE"
# The slab only adds to the pool's info: it is read, and edited in the kernel's own menuconfig.
SLAB: Final = "LOSCFG_KERNEL_MEM_SLAB_EXTENTION"
SLAB_EXPANSION: Final = "LOSCFG_KERNEL_MEM_SLAB_AUTO_EXPANSION_MODE"
TASK_STAT: Final = "LOSCFG_MEM_TASK_STAT"
TSK_LIMIT: Final = "LOSCFG_BASE_CORE_TSK_LIMIT"
DEBUG_VERSION: Final = "LOSCFG_DEBUG_VERSION"
MEM_DEBUG: Final = "LOSCFG_MEM_DEBUG"
MUL_MODULE: Final = "LOSCFG_MEM_MUL_MODULE"
MUL_POOL: Final = "LOSCFG_MEM_MUL_POOL"
HEAD_BACKUP: Final = "LOSCFG_MEM_HEAD_BACKUP"
RECORDINFO: Final = "LOSCFG_MEM_RECORDINFO"
LEAKCHECK: Final = "LOSCFG_MEM_LEAKCHECK"
INTEGRITY_CHECK: Final = "LOSCFG_BASE_MEM_NODE_INTEGRITY_CHECK"
SIZE_CHECK: Final = "LOSCFG_BASE_MEM_NODE_SIZE_CHECK"
# Only changes how the kernel prints: it is read, and edited in the kernel's own menuconfig.
SHELL_LK: Final = "LOSCFG_SHELL_LK"

ALGORITHMS: Final = (BESTFIT, BESTFIT_LITTLE)

DEFAULT_TASK_LIMIT: Final = 64

NEEDS: Final[dict[str, tuple[str, ...]]] = {
    MEM_DEBUG: (DEBUG_VERSION,),
    MUL_MODULE: (BESTFIT, MEM_DEBUG),
    MUL_POOL: (MEM_DEBUG,),
    HEAD_BACKUP: (BESTFIT, MEM_DEBUG),
    RECORDINFO: (BESTFIT, MEM_DEBUG),
    LEAKCHECK: (BESTFIT, MEM_DEBUG),
    INTEGRITY_CHECK: (MEM_DEBUG,),
    SIZE_CHECK: (BESTFIT, MEM_DEBUG),
}

BOOLEANS: Final = (
    BESTFIT,
    BESTFIT_LITTLE,
    TASK_STAT,
    DEBUG_VERSION,
    MEM_DEBUG,
    MUL_MODULE,
    MUL_POOL,
    HEAD_BACKUP,
    RECORDINFO,
    LEAKCHECK,
    INTEGRITY_CHECK,
    SIZE_CHECK,
)

# Architectures of the kernel whose pointers are 64 bits wide; all its others are 32-bit.
WIDE_ARCHITECTURES: Final = ("LOSCFG_ARCH_ARM_AARCH64", "LOSCFG_AARCH64", "LOSCFG_ARCH_RISCV_RV64GC")
