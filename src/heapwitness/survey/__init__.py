"""A heap as a map for people: everything in bins, single blocks near what they will look at.

`tally` counts nodes that come in order of address, `nodes` reads those of an engine's pool quickly, `process` does so
for all pools of a process. Nothing is judged here: damage is what findings say.
"""
