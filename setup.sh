#!/bin/bash
# Called by the Makefile: `environment` makes .venv, `sandbox` gets bubblewrap. Safe to repeat.
set -euo pipefail
cd "$(dirname "$0")"
PYTHON=${PYTHON:-python3}

fail() {
    echo "$1" >&2
    exit 2
}

# Install Debian packages where this user may; otherwise say the one command to type.
install() {
    local command="apt-get install -y --no-install-recommends $*"
    if ! command -v apt-get >/dev/null; then
        fail "Please install with your package manager: $*"
    elif [ "$(id -u)" = 0 ]; then
        (apt-get update -qq && DEBIAN_FRONTEND=noninteractive $command) >/dev/null ||
            fail "This failed, try it by hand: $command"
    elif sudo -n true 2>/dev/null; then
        (sudo apt-get update -qq && sudo DEBIAN_FRONTEND=noninteractive $command) >/dev/null ||
            fail "This failed, try it by hand: sudo $command"
    else
        fail "Please type this once, then the same command again: sudo $command"
    fi
}

environment() {
    local started=$SECONDS
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "Python 3.11 or newer is needed; '$PYTHON' is $("$PYTHON" --version 2>&1 || echo missing). Say PYTHON=python3.12, for instance."
    local missing=()
    "$PYTHON" -c 'import ensurepip' 2>/dev/null ||
        missing+=("$(basename "$(readlink -f "$(command -v "$PYTHON")")")-venv")
    command -v bwrap >/dev/null || missing+=(bubblewrap)
    [ ${#missing[@]} -eq 0 ] || install "${missing[@]}"
    echo "Installing the pinned packages into .venv, a few minutes once ..."
    "$PYTHON" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
    touch .venv/.ready
    echo "Set-up took $((SECONDS - started)) s."
}

sandbox() {
    command -v bwrap >/dev/null && return
    echo "Installing bubblewrap, the wall around what models write ..."
    install bubblewrap
}

case "${1:-}" in
    environment) environment ;;
    sandbox) sandbox ;;
    *) fail "usage: setup.sh environment|sandbox" ;;
esac
