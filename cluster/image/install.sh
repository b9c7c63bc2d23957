#!/bin/bash
# All that the container image is made of, on a bare Debian 12: packages, a user, the program and its .venv.
# cluster/image/Dockerfile runs it; so does a test, in a root of its own. Usage: install.sh SOURCE TARGET
set -euo pipefail
source=$1
target=$2
user=codeladder

apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    bash bubblewrap ca-certificates iproute2 make procps python3 python3-venv wget
rm -rf /var/lib/apt/lists/*

id "$user" >/dev/null 2>&1 || useradd --uid 1000 --create-home --shell /bin/bash "$user"
mkdir -p "$target"
tar -C "$source" --exclude=./.git --exclude='./.venv*' --exclude=./runs --exclude=./tests -cf - . | tar -C "$target" -xf -
cd "$target"
python3 -m venv .venv
if [ "${PACKAGES:-all}" != none ]; then # a test brings its own
    .venv/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check -r requirements.lock
fi
touch .venv/.ready
mkdir -p experiments/submitted runs
chown -R "$user:$user" "$target"
