"""Runs the programs of public reports under heapwitness, and says which reports are right.

    python benchmarks/public_reports/run.py --inputs DIR --cache DIR                  all; some minutes, 5 GiB of memory
    python benchmarks/public_reports/run.py --inputs DIR --cache DIR --only scipy     rows whose name contains a text
    python benchmarks/public_reports/run.py --inputs DIR --cache DIR --show           the reports of wrong rows, too

What is right is data: rows.toml. Environments and programs are made the first time, in the cache.
"""

import argparse
import os
import shlex
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import judge
from outcome import Outcome, run
from surroundings import Cache, Unavailable, need

ROWS = Path(__file__).parent / "rows.toml"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A row, what came of it, and what of that is wrong; without an outcome, why it could not be run."""

    row: dict[str, Any]
    outcome: Outcome | None
    wrong: list[str]

    @property
    def ok(self) -> str:
        if self.outcome is None:
            return "not run"
        return "no" if self.wrong else "yes"


def main() -> int:
    options = _options()
    described = tomllib.loads(ROWS.read_text())
    cache = Cache(options.cache.resolve(), options.pythons)
    verdicts = []
    for row in described["row"]:
        if options.only in row["name"]:
            verdict = _judged(row, described["surroundings"][row["in"]], options.inputs.resolve(), cache)
            verdicts.append(verdict)
            print(f"{verdict.ok:7}  {row['name']}  {'; '.join(verdict.wrong)}", file=sys.stderr, flush=True)
            if options.show and verdict.ok == "no" and verdict.outcome:
                print(verdict.outcome.errors, file=sys.stderr, flush=True)
    print(table(verdicts))
    return 0 if all(verdict.ok == "yes" for verdict in verdicts) else 1


def table(verdicts: Iterable[Verdict]) -> str:
    """The rows in Markdown: what was run, what is right, what was said, and whether that is the same."""
    lines = ["| row | command | expected | found | ok |", "| --- | --- | --- | --- | --- |"]
    for verdict in verdicts:
        row = verdict.row
        command = " ".join([*row.get("options", []), "--", shown(row)])
        found = ("; ".join(verdict.wrong) if verdict.outcome is None else brief(verdict.outcome)).replace("|", "\\|")
        lines.append(f"| {row['name']} | `{command.strip()}` | {row['right_is']} | {found} | {verdict.ok} |")
    return "\n".join(lines)


def shown(row: dict[str, Any]) -> str:
    """The command of a row, without places of this machine."""
    ending = f"; kill -{row['signal']}" if "signal" in row else ""
    return shlex.join([row["input"], *row.get("arguments", [])]) + ending


def brief(outcome: Outcome) -> str:
    """A line about a report."""
    parts = [_brief(one) for one in outcome.findings] or ["no finding"]
    return f"{', '.join(parts)}; status {outcome.status}"


def _brief(finding: dict[str, Any]) -> str:
    damage = finding["damage"]
    extent = f" {'' if damage['exact'] else '>='}{damage['length']} bytes at {damage['offset']}" if damage else ""
    blocks = [f"{role} {finding[role]['size']}" for role in ("culprit", "suspect") if finding.get(role)]
    times = f"{finding['count']} x " if finding["count"] > 1 else ""
    return f"{times}{finding['kind']}{extent} ({', '.join(blocks) or 'no block named'})"


def _judged(row: dict[str, Any], surroundings: dict[str, Any], inputs: Path, cache: Cache) -> Verdict:
    try:
        source = inputs / row["input"]
        if not source.exists():
            raise Unavailable(f"{source} does not exist (see --inputs)")
        need(surroundings.get("needs", []))
        command = [*cache.command(surroundings, source), *row.get("arguments", [])]
    except Unavailable as error:
        return Verdict(row, None, [str(error)])
    # What depends on luck is tried until it is what the row is about; what must not depend on it is run several times.
    verdict = Verdict(row, None, ["the fault did not show itself in any run"])
    wanted, attempts = row.get("runs", 1), row.get("attempts", row.get("runs", 1))
    for _ in range(attempts):
        outcome = run(command, row.get("options", []), row.get("signal"), row.get("timeout", 300))
        if judge.strikes(row, outcome):
            verdict = Verdict(row, outcome, judge.complaints(row, outcome))
            wanted -= 1
        if verdict.ok == "no" or wanted == 0:
            break
    return verdict


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=Path, required=True, metavar="DIR", help="where the programs are")
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="for what is made once; not in /tmp")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name contains it")
    parser.add_argument("--show", action="store_true", help="print the reports of wrong rows")
    pythons = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    parser.add_argument("--pythons", type=Path, default=pythons, metavar="DIR", help="has a folder for each Python")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
