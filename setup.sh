#!/usr/bin/env bash
# Installs what is missing: Debian packages by name, Python packages by locked hash into .venv. Says what it does, does
# nothing the second time, and may be run as often as you like.
set -euo pipefail
cd "$(dirname "$0")"
export PATH="$PATH:/usr/sbin:/sbin" # where Debian keeps iptables, and where a plain user or `su` does not look
python=${PYTHON:-python3}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'echo "setup: interrupted; the next run goes on from here" >&2; exit 130' INT

fail() {
    echo "setup: $*" >&2
    exit 1
}

# Run a command whose output matters only when it fails.
quietly() {
    "$@" </dev/null >"$log" 2>&1 || {
        cat "$log" >&2
        fail "this failed: $*"
    }
}

missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }
need iptables-restore iptables
need nft nftables
need kubectl kubernetes-client
need curl curl
need nslookup bind9-dnsutils
need ip iproute2
need sysctl procps
need conntrack conntrack
need etcd etcd-server
# For `make test` alone: what the page's tests look through, routers, and resolvers of other makers (two of them are
# built of C). Without root they are left out.
if [ "${1:-}" = tests ] && [ "$(id -u)" -eq 0 ]; then
    need chromium chromium
    need vtysh frr
    need ipset ipset
    need kdig knot-dnsutils
    need gcc gcc
    need musl-gcc musl-tools
    [ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
    [ -e /usr/include/ares.h ] || missing+=(libc-ares-dev)
fi
command -v "$python" >/dev/null 2>&1 || missing+=(python3)
"$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || missing+=(python3-venv)

if [ "${#missing[@]}" -gt 0 ]; then
    command -v apt-get >/dev/null 2>&1 || fail "please install what Debian calls ${missing[*]}"
    [ "$(id -u)" -eq 0 ] || fail "this needs root, once: apt-get install ${missing[*]}"
    echo "setup: installing from Debian: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    quietly apt-get update
    quietly apt-get install -y --no-install-recommends "${missing[@]}"
    # Debian starts these as services at once; Fairway wants the programs alone, which tests start themselves.
    for pair in etcd-server:etcd frr:frr; do
        if [[ " ${missing[*]} " == *" ${pair%%:*} "* ]] && [ -d /run/systemd/system ]; then
            quietly systemctl disable --now "${pair##*:}.service"
        fi
    done
fi

# Bridged pods meet the node's rules only with br_netfilter, which some kernels have as a module.
if [ ! -e /proc/sys/net/bridge ] && [ "$(id -u)" -eq 0 ] && command -v modprobe >/dev/null 2>&1; then
    modprobe br_netfilter || echo "setup: the module br_netfilter could not be loaded; the lab needs it" >&2
fi

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Fairway needs Python 3.11 or later, and $python is $version; choose another with PYTHON=..."

# An environment holds its own path and its Python's version: when one has changed, it is made anew.
place="$PWD python $version"
contents=$(cat setup.sh requirements.lock pyproject.toml | sha256sum)
[ "$(cat .venv/.ready 2>/dev/null)" = "$place $contents" ] && exit 0
echo "setup: installing Python packages into .venv, each with the hash in requirements.lock"
if [ "$(cat .venv/.place 2>/dev/null)" != "$place" ]; then
    quietly "$python" -m venv --clear .venv
    echo "$place" >.venv/.place
fi
pip() { quietly .venv/bin/python -m pip install --disable-pip-version-check --no-input "$@"; }
pip --require-hashes -r requirements.lock
pip --no-deps --no-build-isolation --editable .

# Debian's kubectl for the tests, beside the one on PATH and out of its way: Debian 12 has 1.20, the oldest served.
fetch_kubectl() {
    mkdir -p .venv/debian &&
        (cd .venv/debian && apt-get -o APT::Sandbox::User= download kubernetes-client && dpkg -x kubernetes-client_*.deb .)
}
if [ ! -x .venv/debian/usr/bin/kubectl ]; then
    fetch_kubectl >"$log" 2>&1 || echo "setup: no second kubectl from Debian; the tests with it will not run" >&2
    rm -f .venv/debian/kubernetes-client_*.deb
fi
echo "$place $contents" >.venv/.ready
