"""The methods on the tiny study of the usage examples."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest
from qiime2.sdk import PluginManager

from aam_core.errors import InputError
from q2_aam.examples import study as examples


class Methods:
    """The plugin's methods, called on the examples' table and sequences unless others are given."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.table, self.sequences = examples.table(), examples.sequences()
        self.metadata = examples.metadata()
        self.registered = PluginManager().get_plugin(id="aam").methods

    def run(self, name, **arguments):
        arguments = {"table": self.table, "sequences": self.sequences} | arguments
        return self.registered[name](**arguments)

    def column(self, name):
        return self.metadata.get_column(name)

    def saved(self, artifact, name):
        """Text of a file of the artifact's data."""
        folder = self.folder / str(artifact.uuid)
        if not folder.exists():
            artifact.export_data(str(folder))
        return (folder / name).read_text()

    def refuses(self, pattern, name, **arguments):
        """Check that the method refuses, in one line that has ``pattern``."""
        with pytest.raises(InputError, match=pattern) as caught:
            self.run(name, **arguments)
        assert "\n" not in str(caught.value)


@pytest.fixture
def methods(tmp_path):
    return Methods(tmp_path)


@pytest.fixture
def without_sample_classifier(tmp_path):
    """``PYTHONPATH`` of a ``python -S`` that has all packages but q2-sample-classifier."""
    mirrors = [_mirror(path, tmp_path) for path in sys.path if path.endswith("-packages")]
    return os.pathsep.join([str(Path(__file__).resolve().parents[2]), *mirrors])


def _mirror(packages, tmp_path) -> str:
    """A folder of links to all that is in ``packages`` but q2-sample-classifier."""
    folder = Path(tempfile.mkdtemp(dir=tmp_path, suffix="-packages"))
    for item in Path(packages).iterdir():
        if "sample_classifier" not in item.name:
            (folder / item.name).symlink_to(item)
    return str(folder)
