"""Packages that the distribution's QIIME 2 uses, and checks that nothing replaces them.

    distribution.py check LOCK DEBIAN-PACKAGE ...             exit 1 if LOCK would replace one
    distribution.py shadowed SITE-PACKAGES DEBIAN-PACKAGE ... exit 1 if a module there hides one

On Debian and Ubuntu, QIIME 2 is a set of system packages that were built for one another. A newer
click in a virtual environment that sees them breaks ``qiime``, whatever asked for it. So nothing
that they need, directly or not, may be replaced.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

REPLACED = {"sympy", "isympy", "mpmath", "setuptools", "_distutils_hack"}
"""torch needs newer ones. QIIME 2 runs neither: sympy and its mpmath come with what compiles scipy,
and of setuptools it uses pkg_resources, which is a package of its own here and stays (setuptools 82
and newer have none that would hide it)."""

SHIMS = {"py"}
"""pytest has a module of this name, with the rest of that library."""

_METADATA = re.compile(r".*/dist-packages/([^/]+)\.(?:egg|dist)-info")
_MODULE = re.compile(r".*/dist-packages/([A-Za-z_]\w*)(?:/__init__\.py|\.py|\.[\w-]+\.so|\.so)")


def normalized(name: str) -> str:
    """A package's name as PyPI compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_installed(debian_packages: Iterable[str]) -> bool:
    """Whether all of these Debian packages are here."""
    command = ["dpkg", "--status", *debian_packages]
    return not subprocess.run(command, capture_output=True).returncode


def files(debian_packages: Iterable[str]) -> list[str]:
    """Paths of all files of these installed packages and of all that they depend on."""
    only = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks")]
    only += ["--no-replaces", "--no-enhances", "--recurse", "--installed"]
    tree = _output("apt-cache", "depends", *only, *debian_packages)
    names = {line for line in tree.splitlines() if re.match(r"[a-z0-9]", line)}
    installed = _output("dpkg-query", "--show", "--showformat", "${binary:Package} ${Package}\n")
    present = [line.split()[0] for line in installed.splitlines() if line.split()[1] in names]
    return _output("dpkg", "--listfiles", *present).splitlines()


def distributed(paths: Iterable[str]) -> dict[str, str]:
    """Normalized name -> version of the Python packages among the files."""
    versions = {}
    for path in paths:
        match = _METADATA.fullmatch(path)
        if match:
            name, _, version = match[1].partition("-")
            versions[normalized(name)] = version.split("-py3")[0]
    return versions


def modules(paths: Iterable[str]) -> set[str]:
    """Names that can be imported from the files."""
    return {match[1] for path in paths if (match := _MODULE.fullmatch(path))}


def locked(lock: Path) -> dict[str, str]:
    """Normalized name -> version of each package that a lock file names."""
    entries = re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return {normalized(name): version for name, version in entries}


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _stop(problems: list[str]) -> None:
    if problems:
        sys.exit("\n".join(problems))


def main(action: str, *arguments: str) -> None:
    if action == "check":
        lock, paths = Path(arguments[0]), files(arguments[1:])
        ours = locked(lock)
        theirs = {k: v for k, v in distributed(paths).items() if k not in REPLACED and k in ours}
        _stop(
            [
                f"{lock.name} would replace {name} {version}, which the distribution's QIIME 2 "
                f"uses, by {ours[name]}: run 'make lock' here."
                for name, version in sorted(theirs.items())
            ]
        )
    elif action == "shadowed":
        site, paths = Path(arguments[0]), files(arguments[1:])
        inside = modules(f"/dist-packages/{path.relative_to(site)}" for path in site.rglob("*.*"))
        _stop(
            [
                f"{site / name} hides the distribution's {name}, which its QIIME 2 uses."
                for name in sorted((inside & modules(paths)) - REPLACED - SHIMS)
            ]
        )
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:] or [""])
