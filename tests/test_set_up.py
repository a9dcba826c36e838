"""Set-up: an environment that is ready works, and no lock replaces a package that QIIME 2 uses."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "scripts" / "locks"

spec = importlib.util.spec_from_file_location("distribution", ROOT / "scripts" / "distribution.py")
distribution = importlib.util.module_from_spec(spec)
spec.loader.exec_module(distribution)


@pytest.fixture
def checkout(tmp_path):
    """A checkout whose ``.venv`` runs this Python, with a ``qiime`` to be written."""
    for name in ("scripts", "aam_core", "q2_aam"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    write_program(binaries / "python", f'exec "{sys.executable}" "$@"')
    write_program(binaries / "qiime", "exit 0")
    (tmp_path / ".venv" / "aam-env").write_text("conda 1\n")
    return tmp_path


def write_program(path, body):
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def check(checkout):
    """Status and output of ``env.sh check``."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "scripts/env.sh", "check"],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def test_an_environment_that_works_is_ready(checkout):
    status, output = check(checkout)
    assert status == 0 and output.splitlines()[-1] == "make env: ready: .venv (conda)", output


def test_not_ready_where_qiime_breaks(checkout):
    body = 'case "$*" in "aam --help") echo "issubclass() arg 1 must be a class"; exit 1;; esac'
    write_program(checkout / ".venv" / "bin" / "qiime", body)
    status, output = check(checkout)
    assert status == 1 and "make env: ready" not in output
    assert "issubclass() arg 1 must be a class" in output
    assert "failed to run 'qiime aam --help'" in output


def test_not_ready_where_the_core_cannot_be_imported(checkout):
    (checkout / "aam_core" / "model.py").write_text("import no_such_package\n")
    status, output = check(checkout)
    assert status == 1 and "make env: ready" not in output
    assert "No module named 'no_such_package'" in output and "failed to import the core" in output


def test_an_unfinished_environment_is_not_ready(checkout):
    (checkout / ".venv" / "aam-env").unlink()
    status, output = check(checkout)
    assert status == 1 and "there is no finished .venv here" in output


# --- locks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["apt", "core", "tools"])
def test_every_locked_package_has_a_hash(name):
    text = (LOCKS / f"{name}.txt").read_text(encoding="utf-8")
    entries = re.split(r"(?m)^(?=[A-Za-z])", text)[1:]
    assert len(entries) > 10
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)


def test_the_lock_replaces_nothing_of_the_distribution():
    theirs = distribution.locked(LOCKS / "apt-system.txt")
    assert {"click", "numpy", "pandas", "packaging", "q2cli", "qiime2"} <= set(theirs)
    ours = distribution.locked(LOCKS / "apt.txt")
    assert set(ours) & set(theirs) <= distribution.REPLACED


def test_tools_are_not_where_users_run():
    tools = {"ruff", "mypy", "import-linter", "pre-commit", "uv"}
    assert tools <= set(distribution.locked(LOCKS / "tools.txt"))
    for name in ("apt", "core"):
        assert not tools & set(distribution.locked(LOCKS / f"{name}.txt"))
    assert not re.search("ruff|mypy|import-linter", (ROOT / "environment.yml").read_text())


def test_the_requirements_of_the_package_are_locked():
    tomllib = pytest.importorskip("tomllib")  # of Python 3.11
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {requirement.partition(">=")[0] for requirement in project["dependencies"]} - {"torch"}
    normal = {distribution.normalized(name) for name in needed}
    assert len(normal) > 8 and normal <= set(distribution.locked(LOCKS / "core.txt"))
    beside = distribution.locked(LOCKS / "apt.txt") | distribution.locked(LOCKS / "apt-system.txt")
    assert normal <= set(beside)
    assert re.fullmatch(r"torch==[\d.]+\n", (LOCKS / "torch.txt").read_text())


def test_names_and_modules_are_read_from_the_files_of_packages():
    base = "/usr/lib/python3/dist-packages/"
    paths = [
        base + "click-8.1.3.egg-info",
        base + "click/__init__.py",
        base + "six.py",
        base + "scikit_bio-0.5.8.egg-info",
        base + "lz4/_version.cpython-311-x86_64-linux-gnu.so",
        base + "_brotli.cpython-311-x86_64-linux-gnu.so",
        "/usr/share/doc/click/README",
    ]
    assert distribution.distributed(paths) == {"click": "8.1.3", "scikit-bio": "0.5.8"}
    assert distribution.modules(paths) == {"click", "six", "_brotli"}


def run_distribution(*arguments):
    script = ROOT / "scripts" / "distribution.py"
    return subprocess.run(
        ["/usr/bin/python3", script, *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture
def click_of_the_distribution():
    if not shutil.which("apt-cache") or not distribution.is_installed(["python3-click"]):
        pytest.skip("not a Debian or Ubuntu with its own click")
    return "python3-click"


def test_a_lock_that_would_replace_click_is_named(click_of_the_distribution, tmp_path):
    lock = tmp_path / "apt.txt"
    lock.write_text("click==99.0 \\\n    --hash=sha256:0\nsafetensors==0.8.0\n")
    done = run_distribution("check", lock, click_of_the_distribution)
    assert done.returncode == 1
    assert re.search(r"would replace click [\d.]+, .* by 99.0", done.stderr), done.stderr
    lock.write_text("safetensors==0.8.0\n")
    assert run_distribution("check", lock, click_of_the_distribution).returncode == 0


def test_a_module_that_hides_click_is_named(click_of_the_distribution, tmp_path):
    (tmp_path / "safetensors").mkdir()
    (tmp_path / "safetensors" / "__init__.py").touch()
    assert run_distribution("shadowed", tmp_path, click_of_the_distribution).returncode == 0
    (tmp_path / "click").mkdir()
    (tmp_path / "click" / "__init__.py").touch()
    done = run_distribution("shadowed", tmp_path, click_of_the_distribution)
    assert done.returncode == 1 and "hides the distribution's click" in done.stderr
