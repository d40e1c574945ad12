#!/usr/bin/env bash
# Locks the newest versions that fit pyproject.toml, with hashes, for every Python and platform that we say we run on,
# and makes sure that each has a wheel there: nobody should need a compiler.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VENV=.venv-lock # uv has an environment of its own: nothing else needs it
readonly UV=$VENV/bin/uv
readonly PYTHONS="3.11 3.12 3.13 3.14"
readonly PLATFORMS="x86_64-manylinux_2_34 aarch64-manylinux_2_34 aarch64-apple-darwin"
export MACOSX_DEPLOYMENT_TARGET=14.0

compile() {
    # No address of an index, no path, no date: the same versions give the same files anywhere.
    "$UV" pip compile pyproject.toml --quiet --upgrade --universal --python-version "${PYTHONS%% *}" \
        --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" --extra local "$@"
}

check_wheels() {
    local python platform
    for python in $PYTHONS; do
        for platform in $PLATFORMS; do
            echo "wheels for Python $python on $platform"
            "$UV" pip install --quiet --dry-run --no-deps --only-binary :all: --target "$VENV/none" \
                --python-version "$python" --python-platform "$platform" -r requirements/dev.txt
        done
    done
}

.venv/bin/python -m venv "$VENV"
"$VENV/bin/pip" install --quiet --upgrade --disable-pip-version-check uv
compile --group build --output-file requirements/run.txt
compile --group dev --constraints requirements/run.txt --output-file requirements/dev.txt
check_wheels
