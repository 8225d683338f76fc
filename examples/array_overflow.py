"""A moving average whose window runs one element past the end of its array, by a view that was made by hand."""

import numpy
from numpy.lib.stride_tricks import as_strided

WINDOW = 8


def samples():
    return numpy.linspace(0.0, 1.0, 992)


def smooth(signal):
    # One window too many: the last one ends a whole element behind the signal.
    windows = as_strided(signal, shape=(len(signal) - WINDOW + 2, WINDOW), strides=2 * signal.strides)
    for window in windows:
        window[-1] = window.mean()


signal = samples()
smooth(signal)
print(f"{signal.sum():.3f}")
