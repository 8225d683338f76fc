"""The fuzzers' targets take what they begin with: their own errors would hide everyone else's."""

import importlib.util
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import pytest

FUZZ = Path(__file__).parents[2] / "benchmarks/fuzz"


class Provider:
    """Numbers from an input's end and bytes from its start, as atheris takes them."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def ConsumeIntInRange(self, least: int, most: int) -> int:
        size = ((most - least).bit_length() + 7) // 8
        taken, self.data = self.data[len(self.data) - size :], self.data[: max(0, len(self.data) - size)]
        return least + int.from_bytes(taken, "little") % (most - least + 1)

    def ConsumeBytes(self, count: int) -> bytes:
        taken, self.data = self.data[:count], self.data[count:]
        return taken


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The fuzzers' modules, without atheris, which need not be installed."""
    atheris = ModuleType("atheris")
    vars(atheris).update(instrument_imports=lambda include: nullcontext(), FuzzedDataProvider=Provider)
    monkeypatch.setitem(sys.modules, "atheris", atheris)
    loaded = {}
    for name in ("forged_runs", "seeds", "inputs"):
        spec = importlib.util.spec_from_file_location(name, FUZZ / f"{name}.py")
        assert spec and spec.loader
        loaded[name] = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, loaded[name])
        spec.loader.exec_module(loaded[name])
    return loaded


@pytest.mark.parametrize("target", ["pools", "runs"])
def test_the_seeds_of_a_heap_are_read_by_its_target(
    fuzz: dict[str, ModuleType], tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[int] = []
    diagnose = fuzz["inputs"].diagnose

    def counted(*words: object) -> object:
        found = diagnose(*words)
        judged.append(len(found))
        return found

    monkeypatch.setattr(fuzz["inputs"], "diagnose", counted)
    fuzz["seeds"].write(target, tmp_path)

    for seed in tmp_path.iterdir():
        getattr(fuzz["inputs"], target)(seed.read_bytes())

    assert len(judged) >= len(list(tmp_path.iterdir())) and all(judged)
