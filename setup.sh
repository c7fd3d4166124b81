#!/usr/bin/env bash
# Installs what is missing: Debian packages by name, Python packages by locked hash into .venv.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-python3}

missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }
need iptables-restore iptables
need kubectl kubernetes-client
need curl curl
need nslookup dnsutils
need ip iproute2
command -v "$python" >/dev/null 2>&1 || missing+=(python3)
"$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || missing+=(python3-venv)

if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "setup: please install: ${missing[*]} (as root on Debian this is done for you)" >&2
        exit 1
    fi
    echo "setup: installing from Debian: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# Bridged pods meet the node's rules only with br_netfilter, which some kernels have as a module.
if [ ! -e /proc/sys/net/bridge ] && [ "$(id -u)" -eq 0 ] && command -v modprobe >/dev/null 2>&1; then
    modprobe br_netfilter || echo "setup: the module br_netfilter could not be loaded; the lab needs it" >&2
fi

echo "setup: Python packages into .venv (hash-locked)"
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
touch .venv/.ready
