#!/usr/bin/env bash
# Sets up an environment, and does nothing when it stands already.
#
#   scripts/env.sh main   .venv: the package, its tests and, where it can be had, QIIME 2
#   scripts/env.sh core   .venv-core: the core alone, on the newest numpy, pandas, scikit-bio
#
# QIIME 2 is not on PyPI. It comes from its conda channel (environment.yml) where conda, mamba or
# micromamba is present, else from Debian's or Ubuntu's packages, else it is left out.
# AAM_ENV=conda, apt or plain forces one of the three.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

apt_packages=(
    qiime q2cli q2-types q2templates q2-feature-table q2-metadata q2-sample-classifier
    unifrac-tools python3-unifrac python3-iow python3-venv
)
# The distribution's own QIIME 2 plugins need these as they are.
kept='^(numpy|pandas|scipy|scikit-bio|scikit-learn|biom-format|matplotlib)=='
# Tested beside Debian 12's packages.
debian_torch='torch==2.13.0'

log=$(mktemp)
trap 'rm -f "$log"' EXIT

say() { printf 'make env: %s\n' "$*"; }
die() { say "$*" >&2; exit 1; }
quietly() { # quietly WHAT COMMAND...: silent, unless it fails
    local what=$1
    shift
    "$@" >"$log" 2>&1 </dev/null && return
    tail -n 20 "$log" >&2
    die "failed to $what; the command was: $*"
}
fingerprint() { cat "$@" | cksum | tr ' ' '-'; }

conda_command() { command -v mamba || command -v conda || command -v micromamba; }
can_be_root() {
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null || { [ -t 0 ] && command -v sudo >/dev/null; }
}
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
apt_installed() { dpkg -s "${apt_packages[@]}" >/dev/null 2>&1; }
apt_update() {
    [ -n "${apt_updated:-}" ] || quietly "read the package lists" as_root apt-get -qq update
    apt_updated=1
}
apt_has_qiime() {
    command -v apt-get >/dev/null || return 1
    apt_installed && return
    can_be_root || return 1
    apt_update
    apt-cache show qiime q2-sample-classifier >/dev/null 2>&1
}

choose() { # sets kind
    kind=${AAM_ENV:-${old_kind:-}}
    case $kind in
        conda) conda_command >/dev/null || die "AAM_ENV=conda, but there is no mamba or conda." ;;
        apt) command -v apt-get >/dev/null || die "AAM_ENV=apt, but there is no apt-get." ;;
        plain) ;;
        '')
            if conda_command >/dev/null; then kind=conda
            elif apt_has_qiime; then kind=apt
            else kind=plain; fi
            ;;
        *) die "AAM_ENV is '$kind'; it must be conda, apt or plain." ;;
    esac
}

make_venv() { # make_venv DIRECTORY PYTHON [OPTION]
    local seen='false'
    [ -z "${3:-}" ] || seen='true'
    if "$1/bin/python" -m pip --version >/dev/null 2>&1 &&
        grep -q "include-system-site-packages = $seen" "$1/pyvenv.cfg" 2>/dev/null; then
        return
    fi
    "$2" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
        die "AAM needs Python 3.10 or newer; $2 is $("$2" --version 2>&1 || true)."
    quietly "make a virtual environment (on Debian and Ubuntu it needs the package python3-venv)" \
        "$2" -m venv --clear ${3:+"$3"} "$1"
}
pip_install() { # pip_install DIRECTORY ARGUMENT...
    local python=$1/bin/python
    shift
    quietly "install the Python packages" \
        "$python" -m pip install --quiet --disable-pip-version-check "$@"
}

conda_env() {
    local conda
    conda=$(conda_command)
    if [ ! -d .venv/conda-meta ] || ! cmp -s environment.yml .venv/aam-environment.yml; then
        say "installing QIIME 2 and the rest with ${conda##*/} into .venv (some minutes) ..."
        rm -rf .venv
        local create=(env create)
        [ "${conda##*/}" != micromamba ] || create=(create --yes)
        CONDA_ALWAYS_YES=true MAMBA_ALWAYS_YES=true quietly \
            "solve environment.yml (AAM_ENV=plain sets up the core alone)" \
            "$conda" "${create[@]}" --quiet --prefix "$root/.venv" --file environment.yml
        cp environment.yml .venv/aam-environment.yml
    fi
    pip_install .venv --no-deps --no-build-isolation --editable .
}

apt_env() {
    if ! apt_installed; then
        can_be_root || die "installing the distribution's QIIME 2 needs root or sudo."
        say "installing the distribution's QIIME 2 with apt-get ..."
        apt_update
        quietly "install the distribution's QIIME 2" as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get -qq install --no-install-recommends "${apt_packages[@]}"
    fi
    say "installing torch and the rest into .venv ..."
    make_venv .venv /usr/bin/python3 --system-site-packages
    /usr/bin/python3 - >.venv/kept.txt <<'PYTHON'
from importlib.metadata import distributions
print(*(f"{d.metadata['Name']}=={d.version}" for d in distributions()), sep="\n")
PYTHON
    grep -E "$kept" .venv/kept.txt >.venv/constraints.txt
    pip_install .venv --constraint .venv/constraints.txt "$debian_torch" --editable '.[test,tune]'
    # The distribution's own script starts /usr/bin/python3, which does not see this environment.
    # q2cli keeps its cache under CONDA_PREFIX: here, so that no other installation's is disturbed.
    cat >.venv/bin/qiime <<LAUNCHER
#!/bin/sh
CONDA_PREFIX="$root/.venv" exec "$root/.venv/bin/python" /usr/bin/qiime "\$@"
LAUNCHER
    chmod +x .venv/bin/qiime
}

plain_env() {
    local why="neither was found"
    [ -z "${AAM_ENV:-}" ] || why="AAM_ENV asks for neither"
    say "the core alone, without the QIIME 2 plugin: it needs conda, or Debian's or Ubuntu's own" \
        "QIIME 2 and root; $why."
    make_venv .venv python3
    pip_install .venv --editable '.[test,tune]'
}

refresh_qiime() { # q2cli caches what plugins offer, and notices a new version only
    [ "$kind" != plain ] || return 0
    local now
    now=$(fingerprint q2_aam/*.py aam_core/config.py aam_core/presets.py)
    [ "$now" != "$(cat .venv/aam-plugin 2>/dev/null)" ] || return 0
    if CONDA_PREFIX=$root/.venv PATH=$root/.venv/bin:$PATH \
        .venv/bin/qiime dev refresh-cache >"$log" 2>&1 </dev/null; then
        printf '%s\n' "$now" >.venv/aam-plugin
    else
        tail -n 5 "$log" >&2
        say "QIIME 2 cannot load the plugin: see above." >&2
    fi
}

main_env() {
    local old_kind='' old_state='' state
    [ ! -f .venv/aam-env ] || read -r old_kind old_state <.venv/aam-env
    choose
    state=$(fingerprint setup.py environment.yml scripts/env.sh <(echo "$root"))
    if [ "$kind $state" != "$old_kind $old_state" ] || ! .venv/bin/python -c '' 2>/dev/null; then
        [ -z "$old_kind" ] || [ "$kind" = "$old_kind" ] || rm -rf .venv
        rm -f .venv/aam-env
        "${kind}_env"
        printf '%s %s\n' "$kind" "$state" >.venv/aam-env
        say "ready: .venv ($kind)"
    fi
    refresh_qiime
}

core_env() {
    local state torch=torch
    ! command -v apt-get >/dev/null || torch=$debian_torch
    state=$(fingerprint setup.py scripts/env.sh <(echo "$root"))
    [ "$state" != "$(cat .venv-core/aam-env 2>/dev/null)" ] || return 0
    say "installing the core on the newest numpy, pandas and scikit-bio into .venv-core ..."
    make_venv .venv-core python3
    pip_install .venv-core --upgrade "$torch" numpy pandas scikit-bio biom-format \
        --editable '.[test,tune]'
    printf '%s\n' "$state" >.venv-core/aam-env
    say "ready: .venv-core"
}

case ${1:-main} in
    main) main_env ;;
    core) core_env ;;
    *) die "usage: scripts/env.sh [main|core]" ;;
esac
