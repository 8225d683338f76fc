"""Small dictionaries made, written and read as JSON."""

import json
import sys

ROUNDS = int(sys.argv[1])
rows = [{"id": i, "tags": [str(i % k) for k in range(1, 12)]} for i in range(2_000)]
for _ in range(ROUNDS):
    rows = json.loads(json.dumps(rows))
