"""Words counted, formatted, sorted, and written as CSV: text and dictionaries."""

import collections
import csv
import io
import sys

ROUNDS = int(sys.argv[1])
text = " ".join(f"word{i * i % 977} and{i % 13},of {i % 101}." for i in range(2_000))
for _ in range(ROUNDS):
    words = [word.strip(".,").lower() for word in text.split()]
    counts = collections.Counter(words)
    table = [{"word": word, "count": count, "share": f"{count / len(words):.3%}"} for word, count in counts.items()]
    table.sort(key=lambda row: (-row["count"], row["word"]))
    out = io.StringIO()
    writer = csv.DictWriter(out, ["word", "count", "share"])
    writer.writerows(table)
    back = list(csv.reader(out.getvalue().splitlines()))
