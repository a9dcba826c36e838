"""The public names of aam_core: lazy for Python, plain for editors and type checkers."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import aam_core


def seen_by_type_checkers() -> set[tuple[str, str]]:
    """(module, name) of each import under ``if TYPE_CHECKING``."""
    tree = ast.parse(Path(aam_core.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {(line.module, alias.name) for line in block.body for alias in line.names}


def test_type_checkers_and_python_see_the_same_names():
    lazy = {(module, name) for name, module in aam_core._MODULES.items()}
    assert seen_by_type_checkers() == lazy | {("aam_core", "log")}
    assert {name for _, name in seen_by_type_checkers()} | {"__version__"} == set(aam_core.__all__)


@pytest.mark.parametrize("name", aam_core.__all__)
def test_every_public_name_is_there(name):
    assert getattr(aam_core, name) is not None and name in dir(aam_core)


def test_no_public_function_has_the_name_of_a_module():
    """Importing the module would put it in the function's place."""
    modules = {module.name for module in pkgutil.iter_modules(aam_core.__path__)}
    assert modules & set(aam_core.__all__) == {"log"}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'fit'"):
        _ = aam_core.fit  # type: ignore[attr-defined]


def test_the_import_is_light():
    code = (
        "import sys, aam_core; aam_core.presets.fitting('tiny'); aam_core.log.show()\n"
        "heavy = {'torch', 'pandas', 'numpy', 'scipy', 'sklearn', 'tqdm'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
