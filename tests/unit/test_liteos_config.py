"""Reading, changing and checking a kernel's .config, in Python, in scripts and in menus."""

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import kconfiglib
import pytest
from click.testing import CliRunner

from heapwitness.cli.config import command as config_command
from heapwitness.cli.menuconfig import command as menuconfig_command
from heapwitness.errors import HeapwitnessError
from heapwitness.liteos import Config
from heapwitness.liteos.config import symbols
from heapwitness.liteos.config.dotconfig import KCONFIG, DotConfig

KERNEL_CONFIG = """\
#
# Huawei LiteOS Configuration
#
LOSCFG_COMPILER_ARM_NONE_EABI=y
LOSCFG_PLATFORM="STM32F769IDISCOVERY"
# LOSCFG_KERNEL_SMP is not set
LOSCFG_BASE_CORE_TSK_LIMIT=16

#
# Memory Management
#
LOSCFG_KERNEL_MEM_BESTFIT=y
# LOSCFG_KERNEL_MEM_BESTFIT_LITTLE is not set
LOSCFG_MEM_TASK_STAT=y
LOSCFG_SHELL=y
LOSCFG_DEBUG_VERSION=y
LOSCFG_MEM_DEBUG=y
# LOSCFG_MEM_MUL_MODULE is not set
LOSCFG_MEM_MUL_POOL=y
# LOSCFG_MEM_HEAD_BACKUP is not set
# LOSCFG_MEM_RECORDINFO is not set
# LOSCFG_MEM_LEAKCHECK is not set
# LOSCFG_BASE_MEM_NODE_INTEGRITY_CHECK is not set
# LOSCFG_BASE_MEM_NODE_SIZE_CHECK is not set
LOSCFG_DRIVERS=y
"""


def run(*arguments: object) -> str:
    result = CliRunner().invoke(config_command, [str(one) for one in arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.stdout


@pytest.fixture
def kernel_config(tmp_path: Path) -> Path:
    path = tmp_path / ".config"
    path.write_text(KERNEL_CONFIG)
    return path


# --- reading -------------------------------------------------------------------------------------------------------


def test_a_kernels_complete_config_is_read(kernel_config: Path) -> None:
    config = Config.load(kernel_config, width=32)

    assert config == Config(width=32, debug=True, task_stat=True, mul_pool=True, task_limit=16)


def test_the_architecture_decides_the_width_unless_one_is_given(tmp_path: Path) -> None:
    path = tmp_path / ".config"
    path.write_text("LOSCFG_ARCH_ARM_AARCH64=y\n")

    assert Config.load(path).width == 64
    assert Config.load(path, width=32).width == 32


def test_bestfit_is_the_algorithm_where_none_is_named() -> None:
    assert not Config.from_symbols({}, width=32).bestfit_little


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"LOSCFG_MEM_HEAD_BACKUP": "y", "LOSCFG_KERNEL_MEM_BESTFIT_LITTLE": "y"},
            "LOSCFG_MEM_HEAD_BACKUP needs LOSCFG_KERNEL_MEM_BESTFIT",
        ),
        (
            {"LOSCFG_MEM_HEAD_BACKUP": "y", "LOSCFG_DEBUG_VERSION": "y"},
            "LOSCFG_MEM_HEAD_BACKUP needs LOSCFG_MEM_DEBUG",
        ),
        ({"LOSCFG_MEM_DEBUG": "y"}, "LOSCFG_MEM_DEBUG needs LOSCFG_DEBUG_VERSION"),
        (
            {"LOSCFG_KERNEL_MEM_BESTFIT": "y", "LOSCFG_KERNEL_MEM_BESTFIT_LITTLE": "y"},
            "LOSCFG_KERNEL_MEM_BESTFIT and LOSCFG_KERNEL_MEM_BESTFIT_LITTLE exclude each other",
        ),
        ({"LOSCFG_MEM_DEBUG": "maybe"}, "LOSCFG_MEM_DEBUG is y or n, not 'maybe'"),
        ({"LOSCFG_BASE_CORE_TSK_LIMIT": "many"}, "LOSCFG_BASE_CORE_TSK_LIMIT is a number, not 'many'"),
        ({"LOSCFG_BASE_CORE_TSK_LIMIT": 0}, "LOSCFG_BASE_CORE_TSK_LIMIT must be 1 to 65534, not 0"),
    ],
)
def test_a_choice_that_cannot_be_says_why(values: dict[str, str | int], sentence: str) -> None:
    with pytest.raises(HeapwitnessError) as caught:
        Config.from_symbols(values, width=32)

    assert sentence in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\0\0\0", b"\x7fELF\0"])
def test_a_file_that_is_no_config_is_an_error_in_a_sentence(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / ".config"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(HeapwitnessError):
        Config.load(path, width=32)


# --- the Kconfig ---------------------------------------------------------------------------------------------------

PATHS = {
    "LOSCFG_KERNEL_MEM_BESTFIT": "Kernel > Memory Management > Dynamic Memory Management Algorithm > bestfit",
    "LOSCFG_KERNEL_MEM_BESTFIT_LITTLE": "Kernel > Memory Management > Dynamic Memory Management Algorithm"
    " > bestfit_little",
    "LOSCFG_MEM_TASK_STAT": "Kernel > Memory Management > Enable Memory Task Usage Statistics",
    "LOSCFG_BASE_CORE_TSK_LIMIT": "Kernel > Basic Config > Task > Max Task Number",
    "LOSCFG_DEBUG_VERSION": "Debug > Enable a Debug Version",
    "LOSCFG_MEM_DEBUG": "Debug > Enable a Debug Version > Enable MEM Debug",
    "LOSCFG_MEM_MUL_MODULE": "Debug > Enable a Debug Version > Enable MEM Debug > Enable Memory module statistics",
    "LOSCFG_MEM_MUL_POOL": "Debug > Enable a Debug Version > Enable MEM Debug > Enable Memory multi-pool control",
    "LOSCFG_MEM_HEAD_BACKUP": "Debug > Enable a Debug Version > Enable MEM Debug > Enable Node Head Backup",
    "LOSCFG_MEM_RECORDINFO": "Debug > Enable a Debug Version > Enable MEM Debug > Enable Mem Record",
    "LOSCFG_MEM_LEAKCHECK": "Debug > Enable a Debug Version > Enable MEM Debug"
    " > Enable Function call stack of Mem operation recorded",
    "LOSCFG_BASE_MEM_NODE_INTEGRITY_CHECK": "Debug > Enable a Debug Version > Enable MEM Debug"
    " > Enable integrity check or not",
    "LOSCFG_BASE_MEM_NODE_SIZE_CHECK": "Debug > Enable a Debug Version > Enable MEM Debug > Enable size check or not",
}


def test_every_symbol_stands_at_the_guides_menu_path(tmp_path: Path) -> None:
    edited = DotConfig(tmp_path / ".config")
    paths = {}
    for symbol in edited.unique_defined_syms:
        node = symbol.nodes[0]
        prompts: list[str] = []
        while node.parent is not None:
            prompts.insert(0, node.prompt[0])
            node = node.parent
        paths[symbol.name] = " > ".join(prompts)

    assert paths == PATHS


def test_the_repository_and_the_package_share_one_kconfig() -> None:
    root = Path(__file__).parents[2]

    sources = [line.split()[1].strip('"') for line in (root / "Kconfig").read_text().splitlines() if "source" in line]

    assert [(root / source).read_bytes() for source in sources] == [KCONFIG.read_bytes()]


def test_dependencies_in_kconfig_are_those_that_reading_asks_for() -> None:
    edited = DotConfig(Path("no such file"))
    ours = {*symbols.BOOLEANS} - {*symbols.ALGORITHMS, symbols.TASK_STAT, symbols.DEBUG_VERSION}

    for name in ours:
        needed = {item.name for item in kconfiglib.expr_items(edited.syms[name].direct_dep)}
        needed -= set(symbols.ALGORITHMS) if needed.issuperset(symbols.ALGORITHMS) else set()
        assert needed == set(symbols.NEEDS[name]), name


def test_defaults_are_the_kernels(tmp_path: Path) -> None:
    edited = DotConfig(tmp_path / ".config")

    edited.set({"LOSCFG_MEM_DEBUG": "y"})

    on = {name for name, value in edited.values().items() if value == "y"}
    assert on == {
        "LOSCFG_KERNEL_MEM_BESTFIT",
        "LOSCFG_MEM_TASK_STAT",
        "LOSCFG_DEBUG_VERSION",
        "LOSCFG_MEM_DEBUG",
        "LOSCFG_MEM_MUL_POOL",
    }
    assert edited.values()["LOSCFG_BASE_CORE_TSK_LIMIT"] == "64"


def test_the_help_of_the_backup_says_what_it_costs() -> None:
    edited = DotConfig(Path("no such file"))

    text = " ".join(edited.syms["LOSCFG_MEM_HEAD_BACKUP"].nodes[0].help.split())

    assert "nodes x header" in text
    assert "24 bytes a node in 32-bit and 48 in 64-bit" in text


# --- in scripts ----------------------------------------------------------------------------------------------------


def test_set_changes_only_the_line_of_its_symbol(kernel_config: Path) -> None:
    run("--config", kernel_config, "--set", "LOSCFG_MEM_HEAD_BACKUP=y")

    wanted = KERNEL_CONFIG.replace("# LOSCFG_MEM_HEAD_BACKUP is not set", "LOSCFG_MEM_HEAD_BACKUP=y")
    assert kernel_config.read_text() == wanted


def test_set_makes_a_config_with_the_kernels_defaults(tmp_path: Path) -> None:
    path = tmp_path / ".config"

    run("--config", path, "--set", "LOSCFG_MEM_HEAD_BACKUP=y", "--set", "LOSCFG_MEM_DEBUG=y")

    wanted = Config(width=32, debug=True, task_stat=True, mul_pool=True, head_backup=True)
    assert Config.load(path, width=32) == wanted


def test_set_leaves_off_what_a_short_config_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / ".config"
    path.write_text("LOSCFG_DEBUG_VERSION=y\nLOSCFG_MEM_DEBUG=y\n")

    run("--config", path, "--set", "LOSCFG_MEM_HEAD_BACKUP=y")

    assert Config.load(path, width=32) == Config(width=32, debug=True, head_backup=True)


def test_set_says_which_dependency_fails_and_writes_nothing(kernel_config: Path) -> None:
    run("--config", kernel_config, "--set", "LOSCFG_KERNEL_MEM_BESTFIT_LITTLE=y")
    before = kernel_config.read_text()

    with pytest.raises(HeapwitnessError, match="LOSCFG_MEM_HEAD_BACKUP needs LOSCFG_KERNEL_MEM_BESTFIT"):
        run("--config", kernel_config, "--set", "LOSCFG_MEM_HEAD_BACKUP=y")

    assert kernel_config.read_text() == before


def test_switching_the_algorithm_switches_the_backup_off_and_says_so(kernel_config: Path) -> None:
    run("--config", kernel_config, "--set", "LOSCFG_MEM_HEAD_BACKUP=y")

    result = CliRunner().invoke(
        config_command, ["--config", str(kernel_config), "--set", "LOSCFG_KERNEL_MEM_BESTFIT_LITTLE=y"]
    )

    assert "LOSCFG_MEM_HEAD_BACKUP is off now" in result.output
    assert Config.load(kernel_config, width=32).bestfit_little


@pytest.mark.parametrize(
    "assignment",
    ["LOSCFG_SHELL=y", "LOSCFG_MEM_DEBUG", "LOSCFG_MEM_DEBUG=m", "LOSCFG_BASE_CORE_TSK_LIMIT=0", "=y"],
)
def test_an_assignment_that_cannot_be_is_an_error(kernel_config: Path, assignment: str) -> None:
    with pytest.raises(HeapwitnessError):
        run("--config", kernel_config, "--set", assignment)

    assert kernel_config.read_text() == KERNEL_CONFIG


def test_get_prints_values_of_any_symbol_in_the_file(kernel_config: Path) -> None:
    text = run("--config", kernel_config, "--get", "LOSCFG_MEM_HEAD_BACKUP", "--get", "LOSCFG_PLATFORM")

    assert text == "n\nSTM32F769IDISCOVERY\n"


def test_check_names_the_cost_of_a_node(kernel_config: Path) -> None:
    run("--config", kernel_config, "--set", "LOSCFG_MEM_HEAD_BACKUP=y")

    assert run("--config", kernel_config, "--check") == (
        "ok: bestfit, 48 bytes a node in 32-bit, of them 24 for the backup\n"
    )


def test_check_says_which_dependency_fails(kernel_config: Path) -> None:
    kernel_config.write_text(KERNEL_CONFIG.replace("LOSCFG_MEM_DEBUG=y", "# LOSCFG_MEM_DEBUG is not set"))

    with pytest.raises(HeapwitnessError, match="LOSCFG_MEM_MUL_POOL needs LOSCFG_MEM_DEBUG"):
        run("--config", kernel_config, "--check")


# --- in menus ------------------------------------------------------------------------------------------------------


def test_menuconfig_without_a_terminal_is_an_error_in_a_sentence() -> None:
    result = CliRunner().invoke(menuconfig_command, [], standalone_mode=False)

    assert isinstance(result.exception, HeapwitnessError)
    assert "needs a terminal" in str(result.exception)


def test_menuconfig_enables_the_backup_at_the_guides_path(kernel_config: Path) -> None:
    down, enter = "j", "\n"
    # Debug, Enable a Debug Version, Enable MEM Debug, third entry there; save, say where to, quit.
    keys = [down, enter, enter, enter, down, down, "y", "s", enter, enter, "q"]

    status, screen = drive([sys.executable, "-m", "heapwitness", "menuconfig", "--config", str(kernel_config)], keys)

    assert status == 0, screen
    wanted = KERNEL_CONFIG.replace("# LOSCFG_MEM_HEAD_BACKUP is not set", "LOSCFG_MEM_HEAD_BACKUP=y")
    assert kernel_config.read_text() == wanted


def test_the_values_of_another_file_can_be_loaded_into_the_edited_one(kernel_config: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(KERNEL_CONFIG.replace("# LOSCFG_MEM_HEAD_BACKUP is not set", "LOSCFG_MEM_HEAD_BACKUP=y"))
    edited = DotConfig(kernel_config)

    edited.load_config(str(other))
    edited.save()

    assert kernel_config.read_text() == other.read_text()


def test_loading_what_is_no_config_is_an_error_that_menus_can_show(kernel_config: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot be read"):
        DotConfig(kernel_config).load_config(str(tmp_path / "none"))


def drive(command: list[str], keys: list[str]) -> tuple[int, str]:
    """Type keys into a program on a terminal of its own, each after the screen has settled."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        try:
            os.execv(command[0], command)
        finally:
            os._exit(127)  # else the child would go on with the tests
    shown = settle(terminal, 60)
    for key in keys:
        os.write(terminal, key.encode())
        shown += settle(terminal, 5)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            os.close(terminal)
            return os.waitstatus_to_exitcode(status), shown
        time.sleep(0.05)
    subprocess.run(["kill", "-9", str(pid)], check=False)
    os.waitpid(pid, 0)
    return -9, shown


def settle(terminal: int, first: float) -> str:
    """What is shown until nothing more comes; waits at most `first` seconds for it to begin."""
    shown, wait = b"", first
    while select.select([terminal], [], [], wait)[0]:
        try:
            shown += os.read(terminal, 65536)
        except OSError:
            break
        wait = 0.2
    return shown.decode(errors="replace")
