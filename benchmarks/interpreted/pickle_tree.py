"""A tree built and walked by recursion and generators, copied and pickled."""

import copy
import pickle
import sys

ROUNDS = int(sys.argv[1])


class Node:
    """A node of a tree of words."""

    def __init__(self, key):
        self.key, self.left, self.right = key, None, None

    def add(self, key):
        side = "left" if key < self.key else "right"
        below = getattr(self, side)
        if below is None:
            setattr(self, side, Node(key))
        else:
            below.add(key)

    def __iter__(self):
        if self.left:
            yield from self.left
        yield self.key
        if self.right:
            yield from self.right


for _ in range(ROUNDS):
    root = Node("m500")
    for i in range(300):
        root.add(f"m{i * 37 % 1000:03}")
    again = pickle.loads(pickle.dumps(root))
    list(copy.deepcopy(again))
