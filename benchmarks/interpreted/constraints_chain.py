"""Constraints that are planned and solved along chains: small objects, sets and method calls (as DeltaBlue is)."""

import itertools
import sys
from dataclasses import dataclass, field

ROUNDS = int(sys.argv[1])


@dataclass(eq=False)
class Variable:
    """A value, and what it takes part in."""

    value: float = 0.0
    stay: bool = True
    constraints: list = field(default_factory=list)
    mark: int = 0


@dataclass(eq=False)
class Scale:
    """to = source * factor + offset."""

    source: Variable
    to: Variable
    factor: float
    offset: float

    def __post_init__(self):
        self.source.constraints.append(self)
        self.to.constraints.append(self)

    def execute(self):
        self.to.value = self.source.value * self.factor + self.offset


def plan(first, mark):
    """Constraints in the order in which they are to be solved."""
    ordered, waiting = [], [first]
    while waiting:
        variable = waiting.pop()
        variable.mark = mark
        following = {one for one in variable.constraints if one.source is variable and one.to.mark != mark}
        ordered += sorted(following, key=lambda one: one.factor)
        waiting += [one.to for one in following]
    return ordered


for turn in range(ROUNDS):
    chain = [Variable(float(n)) for n in range(200)]
    kept = [Scale(a, b, 1.5, float(n)) for n, (a, b) in enumerate(itertools.pairwise(chain))]
    for value in range(10):
        chain[0].value = float(value)
        for constraint in plan(chain[0], turn * 10 + value + 1):
            constraint.execute()
