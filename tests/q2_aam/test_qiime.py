"""The real ``qiime`` command on real ``.qza`` files."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile

import pytest
import qiime2

from q2_aam.examples import study as examples

LAUNCH = """
from importlib.metadata import entry_points
(command,) = entry_points(group="console_scripts", name="qiime")
command.load()(prog_name="qiime")
"""
QUICK = ["--p-preset", "tiny", "--p-epochs", "2", "--p-sampling-depth", "100",
         "--p-settings", "train.max_steps=4", "train.batch_size=8"]  # fmt: skip
READS = ["--i-table", "table.qza", "--i-sequences", "sequences.qza"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with the artifacts and the metadata of a study."""
    folder = tmp_path_factory.mktemp("study")
    examples.table().save(str(folder / "table.qza"))
    examples.sequences().save(str(folder / "sequences.qza"))
    examples.metadata().save(str(folder / "metadata.tsv"))
    return folder


@pytest.fixture(scope="module")
def qiime(study, tmp_path_factory):
    """Run the command in the study's folder, with a plugin cache of its own."""
    home = str(tmp_path_factory.mktemp("home"))
    environment = {name: value for name, value in os.environ.items() if name != "CONDA_PREFIX"}
    environment |= {"HOME": home, "XDG_CONFIG_HOME": home, "MPLCONFIGDIR": home,
                    "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"}  # fmt: skip

    def run(*words):
        return subprocess.run(
            [sys.executable, "-c", LAUNCH, *words],
            cwd=study,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
        )

    return run


@pytest.mark.slow
def test_the_job_from_artifacts_to_a_plot(qiime, study):
    fit = qiime(
        "aam", "fit-regressor", *READS, *QUICK, "--verbose",
        "--m-metadata-file", "metadata.tsv", "--m-metadata-column", "gradient",
        "--m-group-by-file", "metadata.tsv", "--m-group-by-column", "host_subject_id",
        "--o-regressor", "regressor.qza", "--o-predictions", "held-out.qza",
        "--o-details", "held-out-details.qza",
    )  # fmt: skip
    assert fit.returncode == 0, fit.stderr
    assert sum("epoch" in line.lower() for line in (fit.stdout + fit.stderr).splitlines()) >= 2
    predict = qiime(
        "aam", "predict", *READS, "--i-predictor", "regressor.qza",
        "--o-predictions", "predictions.qza", "--o-details", "details.qza",
    )  # fmt: skip
    assert predict.returncode == 0, predict.stderr
    plot = qiime(
        "aam", "scatterplot", "--i-predictions", "predictions.qza",
        "--m-truth-file", "metadata.tsv", "--m-truth-column", "gradient",
        "--o-visualization", "plot.qzv",
    )  # fmt: skip
    assert plot.returncode == 0, plot.stderr
    shown = qiime(
        "metadata", "tabulate", "--m-input-file", "details.qza", "--o-visualization", "table.qzv"
    )
    assert shown.returncode == 0, shown.stderr
    with zipfile.ZipFile(study / "table.qzv") as archive:
        page = next(name for name in archive.namelist() if name.endswith("data/metadata.tsv"))
        assert b"lower\tupper\t" in archive.read(page)
    predictions = qiime2.Artifact.load(str(study / "predictions.qza"))
    assert str(predictions.type) == "SampleData[RegressorPredictions]"
    with zipfile.ZipFile(study / "plot.qzv") as archive:
        page = next(name for name in archive.namelist() if name.endswith("data/index.html"))
        assert b"gradient" in archive.read(page)


def test_bad_input_is_the_cores_one_line_and_nothing_is_written(qiime, study):
    done = qiime(
        "aam", "fit-regressor", "--i-table", "table.qza", *QUICK,
        "--m-metadata-file", "metadata.tsv", "--m-metadata-column", "gradient",
        "--o-regressor", "bad.qza", "--o-predictions", "bad-predictions.qza",
        "--o-details", "bad-details.qza",
    )  # fmt: skip
    assert done.returncode == 1
    error = done.stderr.split("Plugin error from aam:")[1].split("Debug info")[0]
    assert "not DNA" in " ".join(error.split())
    assert not list(study.glob("bad*"))


def test_help_shows_choices_and_defaults(qiime):
    done = qiime("aam", "fit-regressor", "--help")
    assert done.returncode == 0, done.stderr
    page = " ".join(done.stdout.split())  # where lines break differs by version
    shown = ("--p-preset", "tiny", "--m-metadata-column", "--p-random-state", "(small: ")
    for text in (*shown, "--m-covariates-file", "--p-covariate-columns"):
        assert text in page, text
