"""Many studies on disk -> one study with targets."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import biom
import h5py
import numpy as np
import pytest

from aam_core.data.studies import Studies, load_studies, split_studies
from aam_core.errors import InputError

SEQUENCES = ["".join(np.random.default_rng(i).choice(list("ACGT"), 40)) for i in range(12)]


def write_study(folder: Path, name: str, features, seed=0, samples=24, reads=100, age=True):
    """``NAME.biom`` with ids that are DNA, and ``NAME.tsv``."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    # Samples of two studies that have one id are not alike.
    shares = rng.dirichlet(np.full(len(features), 0.2), samples)
    counts = np.stack([rng.multinomial(reads, it) for it in shares])
    ids = [f"s{i}" for i in range(samples)]
    with h5py.File(folder / f"{name}.biom", "w") as file:
        biom.Table(counts.T.astype(float), features, ids).to_hdf5(file, "test")
    if age:
        ages = np.random.default_rng(seed).permutation(samples) * 1.5
        lines = [f"{it}\t{years}" for it, years in zip(ids, ages, strict=True)]
        (folder / f"{name}.tsv").write_text("sample-id\tage\n" + "\n".join(lines) + "\n")
    return counts


@pytest.fixture
def folder(tmp_path):
    """Three studies: b has the ASVs of a in a shorter form, c others and no metadata."""
    write_study(tmp_path / "many", "a", SEQUENCES[:6], 1)
    write_study(tmp_path / "many", "b", [it[:30] for it in SEQUENCES[3:9]], 2)
    write_study(tmp_path / "many", "c", SEQUENCES[6:], 3, age=False)
    return tmp_path / "many"


def load(paths, **options) -> Studies:
    return load_studies(paths, **{"least_reads": 1, **options})


def test_asvs_are_merged_by_sequence(folder):
    studies = load(folder, trim_length=30)
    assert studies.names == ["a", "b", "c"]
    assert studies.study.shape == (72, 12)
    assert studies.study.sequences == studies.study.feature_ids
    assert {len(it) for it in studies.study.feature_ids} == {30}
    assert studies.study.sample_ids[24] == "b:s0"
    assert studies.source.tolist() == [0] * 24 + [1] * 24 + [2] * 24
    assert studies.trim_length == 30
    place = studies.study.feature_ids.index(SEQUENCES[4][:30])
    alone = load([folder / "a.biom", folder / "b.biom"])
    for study, dna in ((0, SEQUENCES[4]), (1, SEQUENCES[4][:30])):
        column = alone.study.feature_ids.index(dna)
        before = alone.study.counts[alone.rows(study)][:, column].toarray()
        after = studies.study.counts[studies.rows(study)][:, place].toarray()
        assert before.sum() > 0
        assert np.array_equal(before, after)
    assert studies.study.counts.has_sorted_indices
    assert studies.study.metadata["study"].tolist() == ["a"] * 24 + ["b"] * 24 + ["c"] * 24


def test_asvs_of_a_study_that_are_one_when_trimmed_add_up(tmp_path):
    twins = [SEQUENCES[0], SEQUENCES[0][:35] + "A", SEQUENCES[1]]
    counts = write_study(tmp_path, "a", twins)
    studies = load(tmp_path, trim_length=30)
    assert np.array_equal(
        studies.study.counts.toarray(), np.stack([counts[:, :2].sum(1), counts[:, 2]], axis=1)
    )


def test_lines_say_how_lengths_differ(folder):
    untrimmed, trimmed = load(folder), load(folder, trim_length=35)
    assert "Sequences have 30 to 40 bases: 0 of 18 ASVs" in "\n".join(untrimmed.study.report)
    assert "3 of 3 studies have no ASV that another one has" in "\n".join(untrimmed.study.report)
    assert "6 ASVs of 1 studies (b) have fewer than 35 bases" in "\n".join(trimmed.study.report)


def test_columns_are_targets_of_their_study(folder):
    studies = load(folder)
    assert [(it.study, it.name, it.kind) for it in studies.columns] == [
        (0, "age", "number"),
        (1, "age", "number"),
    ]
    assert all(len(it.values) == 24 for it in studies.columns)
    assert studies.columns_of(2) == []
    assert load(folder, exclude_columns=["age"]).columns == []


def test_studies_are_dropped_whole(folder):
    studies = load(folder, trim_length=30)
    left = studies.without(["a"])
    assert left.names == ["b", "c"]
    assert left.source.tolist() == [0] * 24 + [1] * 24
    assert left.study.shape == (48, 9)  # the ASVs of a alone are gone
    assert left.study.sequences is left.study.feature_ids
    assert [it.study for it in left.columns] == [0]
    assert left.columns[0].values is studies.columns[1].values
    assert [it["name"] for it in left.to_dict()] == ["b", "c"]
    assert left.study.counts.sum() == studies.study.counts[24:].sum()
    assert studies.only(["c", "a"]).names == ["a", "c"]
    assert studies.without([]) is studies


def test_unknown_names_are_refused(folder):
    studies = load(folder)
    with pytest.raises(InputError, match="There is no study of the name d; there are: a, b, c"):
        studies.without(["d"])
    with pytest.raises(InputError, match="No study is left"):
        studies.without(["a", "b", "c"])
    with pytest.raises(InputError, match="No study is asked for"):
        studies.only([])


def test_siblings_are_dropped_together(folder):
    manifest = folder / "list.tsv"
    manifest.write_text("name\tcohort\tsource\tcolour\na\tx\tr\tred\nb\t\tr\tblue\nc\tx\tr\tred\n")
    studies = load(manifest)
    assert studies.cohorts == ["x", "b", "x"]
    assert studies.without(["c"]).names == ["b"]
    assert studies.facts[0] == {"file": "a.biom", "source": "r"}
    assert "columns that are not read: colour" in studies.study.report[0]
    assert split_studies(studies, 0.3) == ["b"]


def test_copies_of_samples_make_a_cohort(folder):
    write_study(folder, "d", SEQUENCES[:6], 1)  # the samples of a again
    studies = load(folder)
    assert studies.cohorts == ["a", "b", "c", "a"]
    assert "1 pairs of studies have samples in common: a and d (24)." in studies.study.report


def test_cohorts_that_a_third_study_joins_are_named(folder):
    write_study(folder, "b", SEQUENCES[:6], 1)  # the samples of a
    write_study(folder, "d", SEQUENCES[:6], 1)
    (folder / "manifest.tsv").write_text("name\tcohort\na\tx\nd\ty\nc\tz\n")
    studies = load(folder)
    assert studies.cohorts == ["y", "y", "z", "y"]
    (line,) = (it for it in studies.study.report if "held out as one" in it)
    assert line.startswith("2 cohorts of the manifest are held out as one (x, y): studies without")
    assert "join them, by samples or a source (b)" in line
    (folder / "manifest.tsv").write_text("name\tcohort\na\tx\nd\ty\nb\ty\n")
    studies = load(folder)
    assert studies.cohorts == ["x", "y", "c", "y"]
    assert not any("held out as one" in line for line in studies.study.report)
    assert any("of two cohorts in the manifest" in line for line in studies.study.report)


def test_a_manifest_in_a_folder_says_more_of_its_studies(folder):
    (folder / "manifest.tsv").write_text("name\tsource\na\tx/y\nb\tx/y\nz\tq\n")
    studies = load(folder)
    assert studies.names == ["a", "b", "c"]
    assert studies.cohorts == ["a", "a", "c"]
    assert "manifest.tsv has 1 studies that are not read (z)." in studies.study.report[0]


def test_files_that_a_manifest_in_a_folder_names_are_read_or_reported(folder):
    (folder / "ages.txt").write_text((folder / "a.tsv").read_text().replace("age", "weight"))
    (folder / "manifest.tsv").write_text("name\ttable\tmetadata\na\ta.biom\tages.txt\nb\t\tb.tsv\n")
    report = "\n".join(load(folder).study.report)
    assert "manifest.tsv: ages.txt not read" in report
    assert "give the manifest itself" in report
    named = load(folder / "manifest.tsv")
    assert "not read" not in "\n".join(named.study.report)
    assert {column.name for column in named.columns_of(0)} == {"weight"}


def test_a_column_to_learn_and_not_to_learn_is_refused(folder):
    with pytest.raises(InputError, match="both to learn and not to learn: age"):
        load(folder, columns=["age"], exclude_columns=["age"])


def test_a_study_that_cannot_be_used_is_skipped_if_nobody_named_it(folder):
    write_study(folder, "d", [f"otu{i}" for i in range(6)])
    write_study(folder, "e", SEQUENCES[:6], reads=3, age=False)
    studies = load(folder, least_reads=50)
    assert studies.names == ["a", "b", "c"]
    skipped = [line for line in studies.study.report if "is skipped" in line]
    assert "Study d is skipped: 6 of 6 feature ids are not DNA" in skipped[0]
    assert "Study e is skipped: No sample has 50 reads; the most are 3." in skipped[1]
    with pytest.raises(InputError, match="Study d: 6 of 6 feature ids"):
        load(folder / "d.biom")
    with pytest.raises(InputError, match="None of 1 studies can be used"):
        load(_alone(folder, "e"), least_reads=50)


def _alone(folder, name):
    inner = folder / "inner"
    inner.mkdir()
    (folder / f"{name}.biom").rename(inner / f"{name}.biom")
    return inner


def test_sequences_beside_a_table(tmp_path):
    write_study(tmp_path, "d", [f"otu{i}" for i in range(6)])
    (tmp_path / "d.fasta").write_text("".join(f">otu{i}\n{SEQUENCES[i]}\n" for i in range(6)))
    assert set(load(tmp_path).study.feature_ids) == set(SEQUENCES[:6])


def test_a_folder_of_one_study_and_its_tree(tmp_path):
    write_study(tmp_path / "one", "table", [f"otu{i}" for i in range(4)], age=False)
    one = tmp_path / "one"
    (one / "rep-seqs.fasta").write_text("".join(f">otu{i}\n{SEQUENCES[i]}\n" for i in range(4)))
    (one / "tree.nwk").write_text("((otu0:1,otu1:2):1,(otu2:1,otu3:1):2);")
    studies = load(one)
    assert studies.names == ["one"]
    phylogeny = studies.study.phylogeny
    assert set(phylogeny.tip_ids) == set(SEQUENCES[:4])
    assert sorted(phylogeny.lengths[phylogeny.lengths > 0]) == [1, 1, 1, 1, 2, 2]
    write_study(tmp_path / "two", "b", SEQUENCES[:6])
    both = load([one, tmp_path / "two"])
    assert both.study.phylogeny is None
    assert "Trees of 1 of 2 studies are not read (one)" in both.study.report[0]
    # Folders in a folder, too.
    assert load(tmp_path).names == ["one"]


def test_one_tree_of_all(folder):
    tips = [SEQUENCES[0], hashlib.md5(SEQUENCES[1].encode()).hexdigest(), SEQUENCES[7], "other"]
    tree = f"(({tips[0]}:1,{tips[1]}:1):1,({tips[2]}:1,{tips[3]}:1):1);"
    studies = load(folder, trim_length=30, tree=tree)
    placed = {SEQUENCES[i][:30] for i in (0, 1, 7)}
    assert set(studies.study.phylogeny.tip_ids) == placed
    assert any("3 of 12 ASVs (25.00 %) are in the tree" in it for it in studies.study.report)
    assert set(studies.only(["a"]).study.phylogeny.tip_ids) == {SEQUENCES[i][:30] for i in (0, 1)}
    with pytest.raises(InputError, match="No feature of the studies is in"):
        load(folder, tree="((x:1,y:1):1,z:1);")


def test_samples_with_few_reads_are_dropped_with_their_values(tmp_path):
    write_study(tmp_path, "a", SEQUENCES[:6])
    path = tmp_path / "a.biom"
    table = biom.load_table(str(path))
    data = table.matrix_data.toarray()
    data[:, :3] = np.eye(6)[:, :3]
    with h5py.File(path, "w") as file:
        biom.Table(data, table.ids("observation"), table.ids()).to_hdf5(file, "test")
    studies = load(tmp_path, least_reads=2)
    assert studies.study.sample_ids[0] == "a:s3"
    assert len(studies.columns[0].values) == 21
    assert studies.study.report[0] == (
        "a: 3 of 24 samples have fewer than 2 reads and were dropped (s0, s1, s2)."
    )


def test_samples_without_metadata_stay(folder):
    lines = (folder / "a.tsv").read_text().splitlines()
    (folder / "a.tsv").write_text("\n".join(lines[:-2]) + "\n")
    studies = load(folder / "a.biom")
    assert len(studies.study) == 24
    assert np.isnan(studies.columns[0].values[-2:]).all()
    (folder / "a.tsv").write_text("sample-id\tage\nx\t1\n")
    with pytest.raises(InputError, match="Study a: No sample of the table is in the metadata"):
        load(folder / "a.biom")


def test_studies_are_drawn_by_a_power_of_their_size(tmp_path):
    write_study(tmp_path, "a", SEQUENCES, samples=20)
    write_study(tmp_path, "b", SEQUENCES, samples=80)
    studies = load(tmp_path)
    assert studies.tempered().tolist() == pytest.approx([1 / 3, 2 / 3])
    assert studies.tempered(0).tolist() == [0.5, 0.5]
    assert studies.tempered(1).tolist() == pytest.approx([0.2, 0.8])


def test_shuffled_targets_stay_in_their_study(folder):
    studies = load(folder)
    shuffled = studies.shuffled(seed=1)
    for before, after in zip(studies.columns, shuffled.columns, strict=True):
        assert not np.array_equal(before.values, after.values)
        assert np.array_equal(np.sort(before.values), np.sort(after.values))
    assert shuffled.study is studies.study
    again = studies.shuffled(seed=1).columns[0].values
    assert np.array_equal(shuffled.columns[0].values, again)


def test_whole_studies_are_held_out(folder):
    studies = load(folder)
    assert len(split_studies(studies, 0.4, seed=1)) == 1
    assert split_studies(studies, 0.4, seed=1) == split_studies(studies, 0.4, seed=1)
    assert len(split_studies(studies, 0.99)) == 2  # one cohort stays
    assert split_studies(studies, 0) == []
    with pytest.raises(InputError, match="fraction of held-out studies is 1"):
        split_studies(studies, 1)
    with pytest.raises(InputError, match="All 1 studies are of one cohort"):
        split_studies(studies.only(["a"]), 0.5)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("table\ncc.biom\n", "row 1: there is no file .*cc.biom"),
        ("name\nz\n", "row 1: there is no table .*z.biom"),
        ("sample\tvalue\n1\t2\n", "no manifest of studies"),
        ("table\n", "no studies"),
        ("table\ttable\na.biom\tb.biom\n", "columns occur twice"),
        ("name\na\nb\na\n", "Studies are given more than once: a"),
        ("name\na\tx\n", "row 1 has 2 cells, the header 1"),
        ("name\tcohort\na\t\n\tx\n", "row 2 has neither a table nor a name"),
    ],
)
def test_manifests_that_are_refused(folder, text, problem):
    (folder / "list.tsv").write_text(text)
    with pytest.raises(InputError, match=problem):
        load(folder / "list.tsv")


def test_paths_that_are_refused(tmp_path, folder):
    with pytest.raises(InputError, match="There is no file or folder"):
        load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no study"):
        load(tmp_path / "empty")
    with pytest.raises(InputError, match="No study is given"):
        load([])
    with pytest.raises(InputError, match="Studies are given more than once: a, b, c"):
        load([folder, folder])
    (folder.parent / "other").mkdir()
    shutil.copy(folder / "a.biom", folder.parent / "other")
    with pytest.raises(InputError, match="1 names are of more than one study"):
        load([folder, folder.parent / "other"])
    with pytest.raises(InputError, match="trim_length is 0"):
        load(folder, trim_length=0)
    (folder / "a.txt").write_text("sample-id\tage\n")
    with pytest.raises(InputError, match=r"more than one metadata file .*a.tsv, a.txt"):
        load(folder / "a.biom")


def test_a_study_of_which_a_file_is_there_twice_is_skipped_and_the_others_are_read(folder):
    (folder / "a.txt").write_text("sample-id\tage\n")
    shutil.copy(folder / "b.biom", folder / "b.qza")
    inner = folder / "inner"
    inner.mkdir()
    for name in ("table.biom", "table.qza"):
        shutil.copy(folder / "c.biom", inner / name)
    studies = load(folder)
    assert studies.names == ["c"]
    skipped = [line for line in studies.study.report if "is skipped" in line]
    assert skipped == [
        f"A study is skipped: {where} has more than one {kind} file of a study: {files}. Keep one."
        for where, kind, files in [
            (folder, "metadata", "a.tsv, a.txt"),
            (folder, "table", "b.biom, b.qza"),
            (inner, "table", "table.biom, table.qza"),
        ]
    ]
    (folder / "c.biom").unlink()
    with pytest.raises(InputError, match=r"more than one metadata file .*a.tsv, a.txt"):
        load(folder)


def test_the_summary_tells_what_there_is(folder):
    text = repr(load(folder, trim_length=30))
    assert text.startswith("Studies: 3 of 3 cohorts, 72 samples x 12 ASVs, 7,200 reads")
    assert "6 in more than one study; of 30 bases" in text
    assert "2 of 2 studies: 2 of numbers, 0 of classes" in text


def test_loading_needs_no_torch():
    code = "import sys, aam_core.data.studies; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
