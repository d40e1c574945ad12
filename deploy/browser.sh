#!/usr/bin/env bash
# Gets the Chromium that the browser tests drive, where that is allowed; without it they are skipped.
set -euo pipefail

if [[ -x ${CHROMIUM:-/usr/bin/chromium} ]]; then
    exit
elif ! command -v apt-get >/dev/null; then
    why="there is no apt-get here: install Chromium and name it in CHROMIUM"
elif [[ $(id -u) != 0 ]]; then
    why="not root: run sudo apt-get install chromium"
else
    echo "trunkline: installing Chromium for the browser tests" >&2
    if apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; then
        exit
    fi
    why="apt-get could not install chromium"
fi
echo "trunkline: the browser tests will be skipped ($why)" >&2
