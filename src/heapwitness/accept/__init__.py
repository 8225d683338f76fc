"""Findings that are accepted beforehand: suppressed by a rule, or known from an earlier report."""
