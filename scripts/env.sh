#!/usr/bin/env bash
# Sets up an environment, or does nothing if it is up to date.
#
#   scripts/env.sh main     .venv: the package, its tests and, where it can be had, QIIME 2
#   scripts/env.sh core     .venv-core: the core alone, on the newest numpy, pandas, scikit-bio
#   scripts/env.sh newest   .venv-newest: the same with the newest versions of today, not locked
#   scripts/env.sh tools    .venv-tools: the tools of make lint and make lock, apart from what users run
#   scripts/env.sh check    check that .venv works
#   scripts/env.sh distribution    the system packages of the Debian path, one a line
#
# QIIME 2 is not on PyPI. It comes from its conda channel (environment.yml) where conda, mamba or
# micromamba is present, else from Debian's or Ubuntu's packages; else there is no plugin.
# AAM_ENV=conda, apt or plain forces one of the three. What pip installs is locked with hashes
# (scripts/locks, written by 'make lock'); conda's packages are not.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
locks=scripts/locks

apt_packages=(
    qiime q2cli q2-types q2templates q2-feature-table q2-metadata q2-sample-classifier
    unifrac-tools python3-unifrac python3-iow python3-venv
    chromium chromium-driver python3-selenium
)

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
packaging() { sed '/^\[tool\.pytest/,$d' pyproject.toml; } # the settings of pytest and of the linters follow

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
install_locked() { # install_locked DIRECTORY LOCK: these versions, by their hashes, and no others
    pip_install "$1" --no-deps --require-hashes --requirement "$2"
}
install_torch() { # install_torch DIRECTORY: see scripts/lock.py for why it is apart
    local libraries
    pip_install "$1" --no-deps --requirement $locks/torch.txt
    # What a CUDA build needs, named exactly by torch; a CPU build names nothing.
    libraries=$("$1/bin/python" - <<'PYTHON'
from importlib.metadata import requires
from packaging.requirements import Requirement
found = [Requirement(line) for line in requires("torch") or ()]
apart = [r for r in found if r.name.startswith(("nvidia-", "cuda-", "triton"))]
print(*(f"{r.name}[{','.join(r.extras)}]{r.specifier}" for r in apart if not r.marker or r.marker.evaluate({"extra": ""})))
PYTHON
    )
    # shellcheck disable=SC2086  # one word a library
    [ -z "$libraries" ] || pip_install "$1" ${libraries//\[\]/}
}
install_package() { # install_package DIRECTORY: from this folder, and nothing else
    pip_install "$1" --no-deps --no-build-isolation --editable .
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
    install_package .venv
}

distribution() { # distribution ACTION ARGUMENT...: see scripts/distribution.py
    /usr/bin/python3 scripts/distribution.py "$@" "${apt_packages[@]}" >&2 ||
        die "nothing of the distribution's QIIME 2 may be replaced: see above" \
            "(AAM_ENV=plain sets up the core alone)."
}

apt_env() {
    if ! apt_installed; then
        can_be_root || die "installing the distribution's QIIME 2 needs root or sudo."
        say "installing the distribution's QIIME 2 with apt-get ..."
        apt_update
        quietly "install the distribution's QIIME 2" as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get -qq install --no-install-recommends "${apt_packages[@]}"
    fi
    distribution check $locks/apt.txt
    say "installing torch and the rest into .venv ..."
    make_venv .venv /usr/bin/python3 --system-site-packages
    name_h5py .venv/lib/python3*/site-packages
    install_locked .venv $locks/apt.txt
    install_torch .venv
    install_package .venv
    # The distribution's own script starts /usr/bin/python3, which does not see this environment.
    # q2cli keeps its cache under CONDA_PREFIX: here, so that no other installation's is disturbed.
    cat >.venv/bin/qiime <<LAUNCHER
#!/bin/sh
CONDA_PREFIX="$root/.venv" exec "$root/.venv/bin/python" /usr/bin/qiime "\$@"
LAUNCHER
    chmod +x .venv/bin/qiime
}

name_h5py() { # name_h5py SITE-PACKAGES: metadata by which pip finds the distribution's h5py
    local version
    version=$(/usr/bin/python3 -c 'import h5py; print(h5py.__version__)')
    mkdir -p "$1/h5py-$version.dist-info"
    printf 'Metadata-Version: 2.1\nName: h5py\nVersion: %s\n' "$version" \
        >"$1/h5py-$version.dist-info/METADATA"
}

plain_env() {
    local why="neither was found"
    [ -z "${AAM_ENV:-}" ] || why="AAM_ENV asks for neither"
    say "the core alone, without the QIIME 2 plugin: it needs conda, or Debian's or Ubuntu's own" \
        "QIIME 2 and root; $why."
    locked_env .venv
}

locked_env() { # locked_env DIRECTORY: the core, its tests and their packages, as locked
    make_venv "$1" python3
    install_locked "$1" $locks/core.txt
    install_torch "$1"
    install_package "$1"
}

import_core() { # import_core DIRECTORY: with the packages that it imports only where it needs them
    quietly "import the core" "$1/bin/python" -c \
        'from aam_core import *; import aam_core.cli, biom, matplotlib, skbio, sklearn, tensorboard'
}

check_env() { # an environment is ready if what it is for works
    say "checking it ..."
    import_core .venv
    [ "$kind" != plain ] || return 0
    [ "$kind" != apt ] || distribution shadowed .venv/lib/python3*/site-packages
    quietly "load the plugin in QIIME 2" in_env qiime dev refresh-cache
    quietly "run 'qiime aam --help'" in_env qiime aam --help
    plugin_fingerprint >.venv/aam-plugin
}
in_env() { CONDA_PREFIX=$root/.venv PATH=$root/.venv/bin:$PATH "$@"; }
plugin_fingerprint() { fingerprint q2_aam/*.py aam_core/__init__.py aam_core/config/*.py; }

refresh_qiime() { # q2cli caches the actions of plugins until their version changes
    [ "$kind" != plain ] || return 0
    [ "$(plugin_fingerprint)" != "$(cat .venv/aam-plugin 2>/dev/null)" ] || return 0
    if in_env qiime dev refresh-cache >"$log" 2>&1 </dev/null; then
        plugin_fingerprint >.venv/aam-plugin
    else
        tail -n 5 "$log" >&2
        die "QIIME 2 cannot load the plugin: see above."
    fi
}

system_state() { # what the environment depends on besides our own files
    echo "$root"
    [ "$kind" != apt ] || dpkg-query --show "${apt_packages[@]}" python3 python3-click python3-numpy
}

main_env() {
    local old_kind='' old_state='' state
    [ ! -f .venv/aam-env ] || read -r old_kind old_state <.venv/aam-env
    choose
    state=$(fingerprint <(packaging) environment.yml scripts/env.sh $locks/*.txt <(system_state 2>&1))
    if [ "$kind $state" != "$old_kind $old_state" ] || ! .venv/bin/python -c '' 2>/dev/null; then
        # From scratch: packages of another lock, or installed by hand, would stay and hide mistakes.
        [ "$kind" = conda ] && [ "$old_kind" = conda ] || rm -rf .venv
        rm -f .venv/aam-env
        "${kind}_env"
        check_env
        # Again: installing the distribution's packages has changed the state.
        state=$(fingerprint <(packaging) environment.yml scripts/env.sh $locks/*.txt <(system_state 2>&1))
        printf '%s %s\n' "$kind" "$state" >.venv/aam-env
        say "ready: .venv ($kind)"
    fi
    refresh_qiime
}

other_env() { # other_env NAME COMMAND...: .venv-NAME, set up by the command if it is out of date
    local name=$1 state
    shift
    state=$(fingerprint <(packaging) scripts/env.sh $locks/*.txt <(echo "$root"))
    if [ "$state" != "$(cat ".venv-$name/aam-env" 2>/dev/null)" ]; then
        say "installing into .venv-$name ..."
        rm -rf ".venv-$name"
        "$@"
        printf '%s\n' "$state" >".venv-$name/aam-env"
        say "ready: .venv-$name"
    fi
}
core_env() {
    locked_env .venv-core
    import_core .venv-core
}
tools_env() {
    make_venv .venv-tools python3
    install_locked .venv-tools $locks/tools.txt
    quietly "run ruff" .venv-tools/bin/ruff --version
    quietly "run mypy" .venv-tools/bin/mypy --version
    quietly "run import-linter" .venv-tools/bin/lint-imports --help
}
newest_env() { # not locked, and so set up each time
    rm -rf .venv-newest
    make_venv .venv-newest python3
    pip_install .venv-newest --upgrade "${AAM_TORCH:-torch}" --editable '.[test,tune]'
    say "ready: .venv-newest"
}

case ${1:-main} in
    main) main_env ;;
    core) other_env core core_env ;;
    tools) other_env tools tools_env ;;
    newest) newest_env ;;
    check)
        [ -f .venv/aam-env ] || die "there is no finished .venv here: run 'make env'."
        read -r kind _ <.venv/aam-env
        check_env
        say "ready: .venv ($kind)"
        ;;
    distribution) printf '%s\n' "${apt_packages[@]}" ;;
    *) die "usage: scripts/env.sh [main|core|newest|tools|check|distribution]" ;;
esac
