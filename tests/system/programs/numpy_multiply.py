"""numpy 2.3.5 repeats a string in place without asking whether the result fits the array (its issue 30495).

Ten characters of four bytes are written to an array of one.
"""

import numpy as np

rule = np.array(["-"])
rule *= 10
print(str(rule[0]))
print("done")
