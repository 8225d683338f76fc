"""From damaged nodes to findings, and the plan of the repair."""
