"""Write the lock files of `make env` (``make lock``): exact versions with hashes, by uv.

``core.txt`` is the core with the newest version of everything; ``apt.txt`` is what is installed
with the distribution's QIIME 2 (without the packages of the distribution, ``apt-system.txt``);
``tools.txt`` is the tools of ``make lint`` and ``make lock``. torch is locked in ``torch.txt``, by
its version alone: its CPU and CUDA builds are different files, so that no hash fits both. The other
packages that torch needs are in the locks; those that only its CUDA build needs, torch pins itself.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import distribution

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "scripts" / "locks"
SYSTEM = LOCKS / "apt-system.txt"
OF_TORCH = re.compile(r"torch|triton|nvidia-|cuda-")
"""Names of torch and of the packages that only its CUDA build needs."""

HEADER = "# Written by 'make lock' from {}. Do not edit.\n"
PROJECT = ["pyproject.toml", "--extra", "test", "--extra", "tune", "scripts/locks/build.in"]

BUILT = {
    "numpy",
    "pandas",
    "scipy",
    "scikit-bio",
    "scikit-learn",
    "biom-format",
    "matplotlib",
    "h5py",
    "iow",
}
"""Packages that the distribution built itself: their requirements are not those on PyPI."""


def compile_lock(name: str, sources: list[str], python: str, *options: str, without=()) -> None:
    """Resolve ``sources`` for ``python`` and newer, on every platform, to ``locks/NAME.txt``."""
    command = [uv(), "pip", "compile", *sources, "--universal", "--python-version", python]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--upgrade", "--quiet"]
    command += ["--constraint", "scripts/locks/torch.txt", *options]
    text = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    entries = [entry for entry in re.split(r"(?m)^(?=\S)", text) if entry.strip()]
    names = [distribution.normalized(entry.partition("==")[0]) for entry in entries]
    pairs = zip(entries, names, strict=True)
    kept = [entry for entry, name in pairs if name not in without and not OF_TORCH.match(name)]
    made_from = " ".join(source for source in sources if source.endswith((".toml", ".in")))
    (LOCKS / f"{name}.txt").write_text(HEADER.format(made_from) + "".join(kept), encoding="utf-8")
    print(f"{name}: {len(kept)} entries")


def uv() -> str:
    """Path of the uv of this environment, else of any other."""
    local = Path(sys.executable).with_name("uv")
    path = str(local) if local.exists() else shutil.which("uv")
    return path or sys.exit("There is no uv; 'make lock' installs it into .venv-tools.")


def main(*debian_packages: str) -> None:
    if shutil.which("apt-cache") and distribution.is_installed(debian_packages):
        versions = distribution.distributed(distribution.files(debian_packages))
        lines = "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()))
        SYSTEM.write_text(HEADER.format("the distribution's packages") + lines, encoding="utf-8")
    else:
        print(f"The distribution's QIIME 2 is not installed here: {SYSTEM.name} stays as it is.")
    theirs = distribution.locked(SYSTEM)
    with tempfile.TemporaryDirectory() as folder:
        excluded, constraints = Path(folder, "excluded.txt"), Path(folder, "constraints.txt")
        nameless = {name for name, version in theirs.items() if version.startswith("0.0.0")}
        built = (BUILT | nameless) - distribution.REPLACED
        excluded.write_text("\n".join(sorted(built)), encoding="utf-8")
        rest = theirs.keys() - built - distribution.REPLACED
        lines = "".join(f"{name}=={theirs[name]}\n" for name in sorted(rest))
        constraints.write_text(lines, encoding="utf-8")
        suited = ["--excludes", str(excluded), "--constraint", str(constraints)]
        compile_lock("core", PROJECT, "3.10")
        compile_lock("apt", PROJECT, "3.11", *suited, without=theirs.keys() - distribution.REPLACED)
        compile_lock("tools", ["scripts/locks/tools.in"], "3.10")


if __name__ == "__main__":
    main(*sys.argv[1:])
