#!/usr/bin/env bash
# Makes .venv hold exactly what requirements/<set>.txt locks, and Trunkline itself. Needs Python 3.11+ and nothing else.
#
#   deploy/bootstrap.sh run    what the gateway needs
#   deploy/bootstrap.sh dev    that, and what the gate needs
#
# Runs in an instant when there is nothing to do. Interrupted, it starts over next time.
# PYTHON names the Python to use, where it should not be the newest that fits.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly SET=${1:?usage: deploy/bootstrap.sh run|dev}
readonly VENV=.venv
readonly LOCK=requirements/$SET.txt
readonly STAMP=$VENV/trunkline-stamp # where the environment is, and what was installed in it; absent while installing

say() { printf 'trunkline: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

stamp_of() { # a set, from everything that decides what is in the environment
    local sum=sha256sum
    command -v $sum >/dev/null || sum="shasum -a 256"
    echo "$PWD"
    echo "$1 $(cat "requirements/$1.txt" pyproject.toml deploy/bootstrap.sh | $sum)"
}

works() { [[ -f $STAMP ]] && "$VENV/bin/python" -I -c 'import pip, trunkline' 2>/dev/null; }

is_ready() { # dev holds all of run
    works && { [[ $(<"$STAMP") == "$(stamp_of "$SET")" ]] || [[ $(<"$STAMP") == "$(stamp_of dev)" ]]; }
}

can_be_added_to() { # an environment that was moved or half made cannot
    works && [[ $(head -n 1 "$STAMP") == "$PWD" ]]
}

fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11) or sys.implementation.name != "cpython")' >/dev/null 2>&1; }

find_python() { # 3.14 after the others: there is no local speech recogniser for it yet
    local python
    for python in ${PYTHON:-python3.13 python3.12 python3.11 python3.14 python3}; do
        if fits "$python"; then
            command -v "$python"
            return
        fi
    done
    die "needs Python 3.11 or newer; tried ${PYTHON:-python3.11 to python3.14 and python3 ($(python3 --version 2>&1 || true))}." \
        "Install one (Debian 12+, Ubuntu 24.04+: apt-get install python3), or name one in PYTHON."
}

need_venv() { # Debian's Python comes without ensurepip
    local python=$1 version package
    "$python" -c 'import ensurepip, venv' 2>/dev/null && return
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    package=python$version-venv
    command -v apt-get >/dev/null || die "$python lacks the venv module: install it, then run this again."
    [[ $(id -u) == 0 ]] || die "$python lacks the venv module. Run: sudo apt-get install $package"
    say "installing $package"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
    "$python" -c 'import ensurepip, venv' || die "$package did not give $python its venv module."
}

create() {
    local python
    python=$(find_python)
    need_venv "$python"
    say "creating $VENV with $("$python" --version) ($python)"
    "$python" -m venv --clear "$VENV"
}

show_progress() { # pip's own account is three lines a package; whatever is unusual in it stays
    awk -v total="$(grep -c '==' "$LOCK")" '
        /^(Collecting|Processing) / { sub(/.*\//, "", $2); printf "  [%d/%d] %s\n", ++n, total, $2; fflush(); next }
        /^Installing collected /    { print "  installing them"; fflush(); next }
        /^Looking in |^ +Using cached |^ +Downloading |^Requirement already |^Ignoring |^Successfully |is ignored: it is neither/ { next }
        /[^ ]/                      { print; fflush() }'
}

install() {
    local pip=("$VENV/bin/python" -m pip install --disable-pip-version-check --no-deps)
    say "installing what $LOCK locks (the first time takes a minute)"
    # --no-deps: the lock is complete, and silero-vad must not bring the torch it asks for.
    "${pip[@]}" --require-hashes --progress-bar off -r "$LOCK" 2>&1 | show_progress
    "${pip[@]}" --no-build-isolation --quiet --editable .
}

main() {
    [[ -f $LOCK ]] || die "there is no $LOCK: say run or dev."
    is_ready && return
    if command -v flock >/dev/null; then # two at once would step on each other
        exec 9>.venv.lock
        flock --nonblock 9 || { say "waiting for another bootstrap to finish"; flock 9; }
        is_ready && return
    fi
    can_be_added_to || create
    rm -f "$STAMP"
    install
    stamp_of "$SET" >"$STAMP"
    say "ready"
}

main
