"""Write the lock files of `make env` (``make lock``): exact versions with hashes, by uv.

``core.txt`` is the core on the newest of everything, ``apt.txt`` what is installed beside the
distribution's QIIME 2 (without what that brings itself), ``tools.txt`` the tools of ``make lint``
and ``make lock``. torch stands apart, in ``torch.txt``: the same version comes as a CPU build from
one place and as a CUDA build with gigabytes of libraries from another, so no hash fits both. What
torch needs of other packages is in the locks; what its CUDA build needs, torch names exactly.
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
HELD = LOCKS / "apt-held.txt"
APART = re.compile(r"torch|triton|nvidia-|cuda-")
"""Names of torch and of what its CUDA build alone needs."""

HEADER = "# Written by 'make lock' from {}. Do not edit.\n"
PROJECT = ["pyproject.toml", "--extra", "test", "--extra", "tune", "scripts/locks/build.in"]


BUILT = {
    *(
        "numpy",
        "pandas",
        "scipy",
        "scikit-bio",
        "scikit-learn",
        "biom-format",
        "matplotlib",
        "h5py",
    ),
    "iow",
}
"""What the distribution built for itself, so that its needs cannot be read from PyPI's files."""


def compile_lock(name: str, sources: list[str], python: str, *options: str, without=()) -> None:
    """Resolve ``sources`` for ``python`` and newer, on every platform, to ``locks/NAME.txt``."""
    command = [uv(), "pip", "compile", *sources, "--universal", "--python-version", python]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--upgrade", "--quiet"]
    command += ["--constraint", "scripts/locks/torch.txt", *options]
    text = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    entries = [entry for entry in re.split(r"(?m)^(?=\S)", text) if entry.strip()]
    names = [distribution.normalized(entry.partition("==")[0]) for entry in entries]
    both = zip(entries, names, strict=True)
    kept = [entry for entry, name in both if name not in without and not APART.match(name)]
    made_from = " ".join(source for source in sources if source.endswith((".toml", ".in")))
    (LOCKS / f"{name}.txt").write_text(HEADER.format(made_from) + "".join(kept), encoding="utf-8")
    print(f"{name}: {len(kept)} entries")


def uv() -> str:
    """The uv of the environment that runs this, else any other."""
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    return found or sys.exit("There is no uv; 'make lock' installs it into .venv-tools.")


def main(*debian_packages: str) -> None:
    if shutil.which("apt-cache") and distribution.is_installed(debian_packages):
        versions = distribution.held(distribution.files(debian_packages))
        lines = "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()))
        HELD.write_text(HEADER.format("the distribution's packages") + lines, encoding="utf-8")
    else:
        print(f"The distribution's QIIME 2 is not installed here: {HELD.name} stays as it is.")
    theirs = distribution.locked(HELD)
    with tempfile.TemporaryDirectory() as folder:
        excluded, constraints = Path(folder, "excluded.txt"), Path(folder, "constraints.txt")
        nameless = {name for name, version in theirs.items() if version.startswith("0.0.0")}
        built = (BUILT | nameless) - distribution.REPLACED
        excluded.write_text("\n".join(sorted(built)), encoding="utf-8")
        rest = theirs.keys() - built - distribution.REPLACED
        lines = "".join(f"{name}=={theirs[name]}\n" for name in sorted(rest))
        constraints.write_text(lines, encoding="utf-8")
        beside = ["--excludes", str(excluded), "--constraint", str(constraints)]
        compile_lock("core", PROJECT, "3.10")
        compile_lock("apt", PROJECT, "3.11", *beside, without=theirs.keys() - distribution.REPLACED)
        compile_lock("tools", ["scripts/locks/tools.in"], "3.10")


if __name__ == "__main__":
    main(*sys.argv[1:])
