"""Lines of a log taken apart, and changed, by regular expressions."""

import re
import sys

ROUNDS = int(sys.argv[1])
LINE = re.compile(r"(?P<host>\S+) - \[(?P<when>[^]]+)\] \"(?P<verb>[A-Z]+) (?P<path>[^\" ]*)\" (?P<status>\d{3}) (\d+)")
NUMBER = re.compile(r"\d+")
log = [
    f'10.0.{i % 7}.{i % 251} - [{i % 24:02}:{i % 60:02}] "GET /page/{i}?q={i * 7}" {200 + i % 3} {i}'
    for i in range(1_000)
]
for _ in range(ROUNDS):
    seen: dict[str, int] = {}
    for line in log:
        match = LINE.match(line)
        fields = match.groupdict() if match else {}
        seen[fields["path"]] = seen.get(fields["path"], 0) + 1
        NUMBER.sub(lambda found: str(len(found.group())), line)
        re.split(r"[ /?=]", line)
