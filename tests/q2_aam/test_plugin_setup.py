"""Registrations, and the cost of loading the plugin."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from qiime2.plugin.testing import TestPluginBase

import q2_aam
from aam_core import __version__

PACKAGE = Path(q2_aam.__file__).parent


class TestPlugin(TestPluginBase):
    package = "q2_aam"

    def test_name_version_and_citations(self):
        self.assertEqual((self.plugin.name, self.plugin.version), ("aam", __version__))
        self.assertIn("Attention", self.plugin.citations[0].fields["title"])
        self.assertIn("UniFrac", self.plugin.methods["pretrain"].citations[0].fields["title"])

    def test_everything_is_described(self):
        for name, action in self.plugin.actions.items():
            self.assertTrue(action.name and action.description, name)
            signature = action.signature
            for part in (signature.inputs, signature.parameters):
                for argument, spec in part.items():
                    self.assertTrue(spec.has_description(), f"{name}: {argument}")
            # Else q2cli takes one for the other.
            given = {*signature.inputs, *signature.parameters}
            self.assertFalse(given & set(signature.outputs), name)
        for name in self.plugin.methods:
            for output, spec in self.plugin.methods[name].signature.outputs.items():
                self.assertTrue(spec.has_description(), f"{name}: {output}")


def test_loading_the_plugin_does_not_import_torch():
    # qiime loads every plugin for every command
    code = "import sys, q2_aam.plugin_setup; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent).returncode == 0


def test_only_public_interfaces_are_imported():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                assert not name.startswith(("pkg_resources", "qiime2.core")), f"{path.name}: {name}"
                if not name.startswith(("q2_aam", "__future__")):
                    private = [part for part in name.split(".") if part.startswith("_")]
                    assert private in ([], ["__version__"]), f"{path.name}: {name}"
