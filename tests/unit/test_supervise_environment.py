"""What a program's environment tells the engine in it."""

import signal
from pathlib import Path
from typing import get_args

import pytest

from heapwitness.errors import HeapwitnessError
from heapwitness.findings.sites import How, parse_trap
from heapwitness.supervise import Options
from heapwitness.supervise.environment import environment
from heapwitness.supervise.options import TRAP_KINDS


def made(options: Options, inherited: dict[str, str] | None = None, engine: str = "/lib/engine.so") -> dict[str, str]:
    return environment(options, Path(engine), Path("/run/socket"), Path("/run/log"), inherited or {})


def test_traps_lie_where_their_sites_say_unless_a_kind_is_asked_for() -> None:
    traps = (parse_trap("start:server+0x1"), parse_trap("server+0x2"))

    said = made(Options(command=("x",), traps=traps))
    asked = made(Options(command=("x",), traps=traps, trap_kind="tight", trap_found=True, trap_sample=9))

    assert said["HEAPWITNESS_TRAPS"] == "start:/server+1;end:/server+2"
    assert asked["HEAPWITNESS_TRAPS"] == "tight:/server+1;tight:/server+2"
    assert (asked["HEAPWITNESS_TRAP_FOUND"], asked["HEAPWITNESS_TRAP_SAMPLE"]) == ("1", "9")
    assert get_args(How) == TRAP_KINDS


def test_options_become_variables() -> None:
    options = Options(
        command=("x",),
        on_error="abort",
        stacks="full",
        poison=True,
        check_every=7,
        check_signal=signal.SIGUSR2,
        wait_ms=1500,
    )

    assert made(options) == {
        "LD_PRELOAD": "/lib/engine.so",
        "PYTHONMALLOC": "malloc",
        "HEAPWITNESS_SOCKET": "/run/socket",
        "HEAPWITNESS_LOG": "/run/log",
        "HEAPWITNESS_ON_ERROR": "abort",
        "HEAPWITNESS_STACKS": "full",
        "HEAPWITNESS_POISON": "1",
        "HEAPWITNESS_CHECK_EVERY": "7",
        "HEAPWITNESS_CHECK_SIGNAL": str(int(signal.SIGUSR2)),
        "HEAPWITNESS_WAIT_MS": "1500",
    }


def test_what_was_preloaded_before_comes_after_the_engine() -> None:
    inherited = {"LD_PRELOAD": "/a.so /b.so:/lib/engine.so"}

    assert made(Options(command=("x",)), inherited)["LD_PRELOAD"] == "/lib/engine.so:/a.so:/b.so"


def test_users_own_variables_stay_and_stale_ones_of_ours_go() -> None:
    inherited = {"HOME": "/h", "PYTHONMALLOC": "debug", "HEAPWITNESS_POISON": "1", "HEAPWITNESS_LIBRARY_DIR": "/d"}

    got = made(Options(command=("x",)), inherited)

    assert got["HOME"] == "/h" and got["PYTHONMALLOC"] == "debug" and got["HEAPWITNESS_LIBRARY_DIR"] == "/d"
    assert "HEAPWITNESS_POISON" not in got


@pytest.mark.parametrize("engine", ["/my lib/engine.so", "/a:b/engine.so"])
def test_installation_that_cannot_be_preloaded_is_said(engine: str) -> None:
    with pytest.raises(HeapwitnessError, match="install it in another directory"):
        made(Options(command=("x",)), engine=engine)
