#!/usr/bin/env bash
# Gets what the browser tests need besides Python, where that is allowed; what cannot be had, its tests are skipped:
# the Chromium that they drive, and for its network a TURN server, namespaces and a firewall.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

missing=()
[[ -x ${CHROMIUM:-/usr/bin/chromium} ]] || missing+=(chromium)
command -v turnserver >/dev/null || missing+=(coturn)
command -v ip >/dev/null || missing+=(iproute2)
command -v iptables >/dev/null || missing+=(iptables)

if [[ ${#missing[@]} == 0 ]]; then
    exit
elif ! command -v apt-get >/dev/null; then
    why="there is no apt-get here: install them, and name Chromium in CHROMIUM"
elif [[ $(id -u) != 0 ]]; then
    why="not root: run sudo apt-get install ${missing[*]}"
else
    echo "trunkline: installing ${missing[*]} for the browser tests" >&2
    # RUNLEVEL: coturn is not to be started as a service, where there is no systemd to decide that.
    if apt-get update -qq && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; then
        exit
    fi
    why="apt-get could not install them"
fi
echo "trunkline: browser tests will be skipped for lack of ${missing[*]} ($why)" >&2
