"""Random programs, random damage, and what came of it: the fault campaign.

    python benchmarks/faults/run.py                                    some of each level; minutes
    python benchmarks/faults/run.py --seeds 1-8 --bare 10000000 --core 100000 --engine 200000 --run 500 --jobs 2
    python benchmarks/faults/run.py --seeds 1-8 --table --markdown docs/faults.md     only write what is known
    python benchmarks/faults/run.py --replay core 1 4711               one run, with what was found

The same damage on four levels: the core alone, in C (`bare`); the core, its walker and the diagnosis in this process
(`core`); the engine in forked processes (`engine`); and `heapwitness run` as a whole (`run`). Results are kept in the
state directory in chunks as soon as they are there: started again, the campaign goes on where it was. Other machines
take other seeds; --merge puts their files in. What was measured with other sources is left out. The exit status is 1
when a damage was not detected or a header not restored.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import page
import results
from results import LEVELS, ROOT

STATE = ROOT / "build" / "faults"
WANTED = {"bare": 1_000_000, "core": 2000, "engine": 1500, "run": 50}


def main() -> int:
    options = _options()
    options.state.mkdir(parents=True, exist_ok=True)
    version = results.version()
    log = options.state / "chunks.jsonl"
    done = results.load([log, *options.merge], version)
    if options.replay or not options.table:
        programs = results.Programs.build(options.state)
        if options.replay:
            return _replay(programs, *options.replay)
        wanted = {level: getattr(options, level) for level in LEVELS}
        todo = [chunk for chunk in results.chunks(wanted, options.seeds) if chunk.key not in done]
        for one in results.carry_out(todo, programs, options.jobs):
            done[one.chunk.key] = one.tally
            results.keep(log, one, version)
            print(
                f"{one.chunk.key:>20}: {one.tally.runs:,} runs, {one.tally.runs / one.seconds:.0f} a second", flush=True
            )
    tallies = {level: results.together(done, level, options.seeds) for level in LEVELS}
    text = page.page(tallies, options.seeds, _command(options))
    if options.markdown:
        options.markdown.write_text(text)
    else:
        print(text)
    return 0 if page.goals_are_met(tallies) else 1


def _replay(programs: results.Programs, level: str, seed: str, number: str) -> int:
    if level == "bare":
        print(results.bare.tally(programs.bare, int(seed), int(number), 1).rows)
        return 0
    for _, result in results.runs(level, programs, int(seed), int(number), 1):
        print(result)
    return 0


def _command(options: argparse.Namespace) -> str:
    """What makes the page, wherever it is put."""
    wanted = " ".join(f"--{level} {getattr(options, level)}" for level in LEVELS)
    seeds = f"{options.seeds[0]}-{options.seeds[-1]}"
    return f"python benchmarks/faults/run.py --seeds {seeds} {wanted} --markdown docs/faults.md"


def _seeds(text: str) -> Sequence[int]:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for level, most in WANTED.items():
        parser.add_argument(
            f"--{level}", type=int, default=most, metavar="RUNS", help=f"of each seed, in chunks of {LEVELS[level]:,}"
        )
    parser.add_argument("--seeds", type=_seeds, default=range(1, 2), metavar="A[-B]", help="all follows from them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at the same time")
    parser.add_argument("--merge", type=Path, nargs="+", default=[], metavar="FILE", help="chunks of other machines")
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--replay", nargs=3, metavar=("LEVEL", "SEED", "RUN"), help="make one run again and print it")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page to a file")
    parser.add_argument("--state", type=Path, default=STATE, metavar="DIR", help="where results are kept")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
