from __future__ import annotations

import hashlib
import io
import subprocess
import sys

import biom
import numpy as np
import pandas as pd
import pytest
from skbio import TreeNode

from aam_core.errors import InputError
from aam_core.simulate.study import simulate

FILES = ["metadata.tsv", "rep-seqs.fasta", "table.biom", "tree.nwk"]


@pytest.fixture(scope="module")
def study():
    return simulate(60, 80, seed=5)


def test_everything_has_the_same_ids(study):
    names = list(study.table.ids("observation"))
    assert study.table.shape == (80, 60)
    assert names == list(study.sequences) == list(study.responses.index)
    tips = {tip.name for tip in TreeNode.read(io.StringIO(study.tree)).tips()}
    assert tips == set(names)
    assert list(study.table.ids()) == list(study.metadata.index)
    for name, dna in study.sequences.items():
        assert name == hashlib.md5(dna.encode()).hexdigest()


def test_sequences_can_be_the_ids():
    study = simulate(10, 12, feature_ids="sequence", sequence_length=100)
    assert all(name == dna and len(dna) == 100 for name, dna in study.sequences.items())
    assert sorted(study.sequences) == list(study.table.ids("observation"))


def test_reads_are_whole_and_nothing_is_empty(study):
    counts = study.table.matrix_data.toarray()
    assert (counts == counts.astype(int)).all() and (counts >= 0).all()
    assert counts.sum(axis=0).min() > 0 and counts.sum(axis=1).min() > 0
    assert np.median(counts.sum(axis=0)) == pytest.approx(5000, rel=0.3)
    assert (counts > 0).mean() < 0.6


def test_metadata(study):
    table = study.metadata
    assert table.index.name == "sample-id" and table.index.is_unique
    subjects = table["host_subject_id"]
    assert subjects.nunique() == 15 and subjects.iloc[0] == "S001"
    assert (subjects.value_counts() == 4).all()
    assert (table.groupby("host_subject_id")["group"].nunique() == 1).all()
    assert set(table["group"]) == {"case", "control"}
    assert table["gradient"].mean() == pytest.approx(50, abs=0.1)
    assert table["gradient"].std(ddof=0) == pytest.approx(15, abs=0.1)
    assert table["sequencing_run"].nunique() > 1


def test_seed_decides(study):
    again, other = simulate(60, 80, seed=5), simulate(60, 80, seed=6)
    assert again.table == study.table and again.tree == study.tree
    assert again.sequences == study.sequences
    pd.testing.assert_frame_equal(again.metadata, study.metadata)
    assert other.tree != study.tree


def test_effect_is_the_deviation_of_the_responses(study):
    assert study.responses.std(ddof=0).to_numpy() == pytest.approx([1, 1])
    weak = simulate(60, 80, seed=5, effect=0.25)
    assert weak.responses.std(ddof=0).to_numpy() == pytest.approx([0.25, 0.25])


@pytest.mark.parametrize("effect, low, high", [(1.0, 0.6, 1.0), (0.0, -0.3, 0.3)])
def test_log_abundance_answers_to_the_gradient_as_the_responses_say(effect, low, high):
    study = simulate(300, 60, seed=2, effect=effect, subjects=100)
    truth = simulate(300, 60, seed=2, effect=1.0, subjects=100).responses["gradient"]
    counts = study.table.matrix_data.toarray()
    logs = np.log(np.where(counts > 0, counts, np.nan))
    logs = logs - np.nanmean(logs, axis=0)
    z = study.metadata["gradient"].to_numpy()
    slopes = [np.polyfit(z[~np.isnan(y)], y[~np.isnan(y)], 1)[0] for y in logs]
    assert low < np.corrcoef(slopes, truth)[0, 1] < high


def test_few_samples_and_uneven_subjects():
    study = simulate(7, 4, subjects=3, depth=1)
    assert study.metadata["host_subject_id"].value_counts().tolist() == [3, 2, 2]
    assert study.table.shape == (4, 7)
    assert study.table.sum("sample").min() > 0


def test_write(study, tmp_path):
    study.write(tmp_path / "sim")
    assert sorted(item.name for item in (tmp_path / "sim").iterdir()) == FILES
    assert biom.load_table(str(tmp_path / "sim" / "table.biom")) == study.table
    fasta = (tmp_path / "sim" / "rep-seqs.fasta").read_text().split()
    assert dict(zip(fasta[::2], fasta[1::2], strict=True)) == {
        f">{name}": dna for name, dna in study.sequences.items()
    }
    assert (tmp_path / "sim" / "tree.nwk").read_text().strip() == study.tree
    table = pd.read_csv(tmp_path / "sim" / "metadata.tsv", sep="\t", index_col="sample-id")
    pd.testing.assert_frame_equal(table, study.metadata)


def test_write_replaces_its_files_together(study, tmp_path, monkeypatch):
    out = tmp_path / "sim"
    study.write(out)
    simulate(10, 12).write(out)
    assert biom.load_table(str(out / "table.biom")).shape == (12, 10)
    before = {item.name: item.read_bytes() for item in out.iterdir()}

    def full_disk(*_args, **_settings):
        raise OSError("No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full_disk)
    with pytest.raises(InputError, match="sim cannot be written .No space .*make room"):
        study.write(out)
    assert {item.name: item.read_bytes() for item in out.iterdir()} == before
    assert [item.name for item in tmp_path.iterdir()] == ["sim"]


@pytest.mark.parametrize("room", [0, 1000, 20_000])
def test_a_disk_that_fills_up_is_one_line(tmp_path, room):
    """With a limit for files, which writing meets as it meets the end of a disk."""
    limit = f"ulimit -f {room // 1000}; exec {sys.executable} -m aam_core"
    done = subprocess.run(
        ["bash", "-c", f"{limit} simulate {tmp_path / 'out'} --samples 40 --features 400"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "out cannot be written (File too large): make room" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"samples": 1}, "samples is 1; it must be at least 2"),
        ({"features": 3}, "features is 3; it must be at least 4"),
        ({"seed": -1}, "seed is -1"),
        ({"sequence_length": 5}, "sequence length is 5; it must be at least 20"),
        ({"depth": 0}, "depth is 0"),
        ({"subjects": 1}, "subjects is 1"),
        ({"samples": 5, "subjects": 9}, "5 samples of 9 subjects"),
        ({"effect": -1}, "effect is -1"),
        ({"effect": float("nan")}, "effect is nan"),
        ({"feature_ids": "uuid"}, "'md5' or 'sequence'"),
    ],
)
def test_what_cannot_be_simulated(settings, words):
    with pytest.raises(InputError, match=words):
        simulate(**settings)


def test_a_random_forest_learns_it_but_not_all():
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.metrics import r2_score
    from sklearn.model_selection import GroupKFold, cross_val_predict

    for effect, low, high in ((1.0, 0.5, 0.8), (0.0, -0.2, 0.1)):
        study = simulate(effect=effect)
        counts = study.table.matrix_data.T.toarray()
        y = study.metadata["gradient"]
        predicted = cross_val_predict(
            RandomForestRegressor(50, random_state=0, max_features=0.3),
            counts / counts.sum(axis=1, keepdims=True),
            y,
            groups=study.metadata["host_subject_id"],
            cv=GroupKFold(5),
        )
        assert low < r2_score(y, predicted) < high, effect


def test_repr_is_a_few_lines(study):
    title, *lines = repr(study).splitlines()
    assert title.startswith("SimulatedStudy: ") and len(lines) == 2
    assert lines[1].endswith("host_subject_id, gradient, group, sequencing_run")
