"""Classes of all kinds made at run time, with properties, slots, enumerations and named tuples."""

import collections
import enum
import sys

ROUNDS = int(sys.argv[1])


def family(number):
    """A class, its child, and what they are made of."""

    class Base:
        __slots__ = ("first", "second")

        def __init__(self, first, second):
            self.first, self.second = first, second

        @property
        def total(self):
            return self.first + self.second

    class Child(Base):
        def __init__(self, *values):
            super().__init__(*values)
            self.more = {"number": number, "values": list(values)}

        def __repr__(self):
            return f"Child({self.total}, {self.more!r})"

    return Child


for turn in range(ROUNDS):
    child = family(turn)
    [repr(child(i, turn)) for i in range(60)]
    pair = collections.namedtuple("pair", ["left", "right"])
    sorted(pair(i * 7 % 31, str(i)) for i in range(60))
    enum.Enum("Colour", ["RED", "GREEN", "BLUE"])
