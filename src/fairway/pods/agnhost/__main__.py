"""The commands of the stand-in for `agnhost`.

netexec [--http-port 8080] [--udp-port 8081] [--delay-shutdown SECONDS]    see agnhost/netexec.py
serve-hostname [--port 9376] [--http] [--tcp] [--udp]                      says its host name
test-webserver [--port 80]                                                 shows the container's files
porter [--json-response]          answers on each port N of SERVE_PORT_N and SERVE_TLS_PORT_N with the value
connect HOST:PORT [--timeout 1s] [--protocol tcp|udp|sctp]                 says TIMEOUT, REFUSED, DNS or OTHER
dns-suffix, dns-server-list, etc-hosts, pause
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    package_root = os.path.abspath(__file__).rsplit(os.sep, 4)[0]  # noqa: PTH100 - pathlib costs 10 ms
    sys.path.append(package_root)  # isolated mode left it off
    from fairway.pods.agnhost.commands import main

    sys.exit(main(sys.argv[1:]))
