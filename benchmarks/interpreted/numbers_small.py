"""NumPy's small arrays, as a simulation in Python uses them."""

import sys

import numpy as np

ROUNDS = int(sys.argv[1])
place, speed = np.zeros((20, 3)), np.ones((20, 3))
for turn in range(ROUNDS):
    force = np.sin(place) - 0.1 * speed
    speed = speed + force * 0.01
    place = place + speed * 0.01
    far = place[np.linalg.norm(place, axis=1) > 1.0]
    if turn % 10 == 0:
        total = np.concatenate([far, place]).sum(axis=0).tolist()
