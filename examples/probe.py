"""Ask one URL again and again and say how long it ever went without an answer.

    python3 probe.py URL SECONDS [PAUSE]

One new connection per request, a request every PAUSE seconds (default 0.02), a time limit of one second each. Prints
one line of JSON: requests, failures, the longest time in seconds from one answer to the next, and who answered how
often. Plain Python, so that it runs in any pod.
"""

import collections
import http.client
import json
import sys
import time
from urllib.parse import urlsplit


def ask(host: str, port: int, path: str) -> str:
    connection = http.client.HTTPConnection(host, port, timeout=1.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode().strip()
    finally:
        connection.close()


def main(url: str, seconds: float, pause: float) -> None:
    where = urlsplit(url)
    answered: collections.Counter[str] = collections.Counter()
    failures, longest = 0, 0.0
    begun = last = time.monotonic()
    while time.monotonic() - begun < seconds:
        try:
            answered[ask(where.hostname or "", where.port or 80, where.path or "/")] += 1
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        except (OSError, http.client.HTTPException):
            failures += 1
        time.sleep(pause)
    longest = max(longest, time.monotonic() - last)
    total = sum(answered.values()) + failures
    print(json.dumps({"requests": total, "failures": failures, "longest_gap": round(longest, 3), "answered": answered}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 0.02)
