#!/usr/bin/env bash
# Tests the set-up (make fresh): the two commands of the README in a clean clone of the commit, without
# caches. As root on Debian, FRESH=debootstrap runs them in a minimal system, so that nothing on this
# machine can hide a missing step.
set -euo pipefail
cd "$(dirname "$0")/.."
place=$(mktemp -d)
trap 'mountpoint -q "$place/proc" && umount "$place/proc"; rm -rf "$place"' EXIT
say() { printf 'make fresh: %s\n' "$*"; }

clone() { # clone FOLDER: the commit, and next to it the public studies, if they are here
    git clone --quiet --no-local . "$1/aam"
    [ ! -d ../shared/data ] || cp -r ../shared "$1/shared"
}
step() { # step COMMAND...
    local started=$SECONDS
    "$@" && say "'${*: -2}' passed after $((SECONDS - started)) s" ||
        { say "'${*: -2}' failed after $((SECONDS - started)) s"; exit 1; }
}

say "commit $(git rev-parse --short HEAD)"
if [ "${FRESH:-}" = debootstrap ]; then
    command -v debootstrap >/dev/null || { say "FRESH=debootstrap needs the package debootstrap"; exit 1; }
    debootstrap --include=ca-certificates,git,make,python3,python3-venv,sudo \
        "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$place" >"$place.log" 2>&1 ||
        { tail "$place.log"; exit 1; }
    # How this machine reaches its package registries.
    cp -r /etc/apt/. "$place/etc/apt/"
    cp -r /etc/ssl/certs "$place/etc/ssl/"
    cp /etc/resolv.conf /etc/hosts "$place/etc/"
    for path in /etc/pip.conf /etc/xdg/pip ${FRESH_CARRY:-}; do
        [ ! -e "$path" ] || { mkdir -p "$place${path%/*}" && cp -r "$path" "$place$path"; }
    done
    mkdir -p "$place/src"
    clone "$place/src"
    mount -t proc proc "$place/proc"
    inside() { chroot "$place" env -u PYTHONPATH HOME=/root PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin "$@"; }
    folder=/src/aam
else
    clone "$place"
    inside() {
        env -u CONDA_PREFIX -u VIRTUAL_ENV -u PYTHONPATH -u PYTHONHOME XDG_CACHE_HOME="$place/cache" \
            PIP_NO_CACHE_DIR=1 "$@"
    }
    folder=$place/aam
fi
step inside make --no-print-directory -C "$folder" demo
step inside make --no-print-directory -C "$folder" test
say "both commands passed"
