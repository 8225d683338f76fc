"""How a report looks: `json` writes and reads it, `terminal` shows it, `folding` counts repetitions."""
