"""Files -> an aligned study."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace

import biom
import numpy as np
import pandas as pd
import pytest
import skbio

from aam_core.data.columns import as_numbers
from aam_core.data.study import Study, load_study
from aam_core.errors import InputError

SAMPLES = ["007", "2538.10", "s3", "s4"]
FEATURES = ["h1", "h2", "h3", "h4", "h5"]
COUNTS = np.array([[5, 0, 3, 0, 2], [0, 7, 0, 1, 2], [4, 4, 0, 0, 2], [0, 0, 10, 0, 10]])
SEQUENCES = {"h1": "ACGTAC", "h2": "ACGTN", "h3": "ggtta", "h4": "TTTTTT", "h5": "CCCCA"}
TREE = "(((h1:1,h2:2):0.5,h3:1):0.5,(h4:1,h5:3):1);"
METADATA = pd.DataFrame(
    {"age": [1.0, 2, 3, 4], "sex": ["f", "m", "f", "m"]}, index=pd.Index(SAMPLES, dtype=object)
)


def make_table(counts=COUNTS, samples=SAMPLES, features=FEATURES):
    return biom.Table(np.asarray(counts, dtype=float).T, features, samples)


def make_distances(samples=SAMPLES):
    place = np.array([SAMPLES.index(name) for name in samples], dtype=float)
    return skbio.DistanceMatrix(np.abs(place[:, None] - place) / 10, samples)


def make_study(**changes):
    given = {
        "sequences": SEQUENCES,
        "tree": TREE,
        "metadata": METADATA,
        "distances": make_distances(),
    }
    return load_study(changes.pop("table", make_table()), **{**given, **changes})


def by_id(study: Study) -> dict:
    """All values by id, whatever the order."""
    counts = study.counts.toarray()
    lengths = study.phylogeny.incidence @ study.phylogeny.lengths
    return {
        "reads": {
            (sample, feature): counts[i, j]
            for i, sample in enumerate(study.sample_ids)
            for j, feature in enumerate(study.feature_ids)
        },
        "sequences": dict(zip(study.feature_ids, study.sequences, strict=True)),
        "root to tip": dict(zip(study.phylogeny.tip_ids, lengths.tolist(), strict=True)),
        "metadata": study.metadata.to_dict("index"),
        "distances": {
            (a, b): study.distances[i, j]
            for i, a in enumerate(study.sample_ids)
            for j, b in enumerate(study.sample_ids)
        },
    }


def test_everything_is_aligned():
    study = make_study()
    assert study.sample_ids == SAMPLES and study.feature_ids == FEATURES
    assert study.counts.dtype == np.int64 and study.counts.has_sorted_indices
    assert study.counts.toarray().tolist() == COUNTS.tolist()
    assert study.sequences == [SEQUENCES[name].upper() for name in FEATURES]
    assert study.phylogeny.tip_ids == FEATURES
    lengths = study.phylogeny.incidence @ study.phylogeny.lengths
    np.testing.assert_allclose(lengths, [2, 3, 1.5, 2, 4])
    assert study.metadata.index.tolist() == SAMPLES and study.metadata.index.name == "sample-id"
    assert study.distances.dtype == np.float32
    np.testing.assert_allclose(study.distances[0], [0, 0.1, 0.2, 0.3], rtol=1e-6)
    assert study.report == []


def test_order_never_matters():
    expected = by_id(make_study())
    rng = np.random.default_rng(3)
    samples, features = list(rng.permutation(SAMPLES)), list(rng.permutation(FEATURES))
    rows = [SAMPLES.index(name) for name in samples]
    columns = [FEATURES.index(name) for name in features]
    study = make_study(
        table=make_table(COUNTS[rows][:, columns], samples, features),
        sequences=dict(reversed(SEQUENCES.items())),
        tree="((h5:3,h4:1):1,(h3:1,(h2:2,h1:1):0.5):0.5);",
        metadata=METADATA.iloc[::-1],
        distances=make_distances(list(rng.permutation(SAMPLES))),
    )
    assert study.sample_ids == samples and study.feature_ids == features
    assert by_id(study) == expected


def test_from_files(write_biom, tmp_path):
    (tmp_path / "s.fasta").write_text("".join(f">{k}\n{v}\n" for k, v in SEQUENCES.items()))
    (tmp_path / "t.nwk").write_text(TREE)
    METADATA.to_csv(tmp_path / "m.tsv", sep="\t", index_label="sample-id")
    make_distances().write(str(tmp_path / "d.tsv"))
    study = load_study(
        write_biom(COUNTS, SAMPLES, FEATURES),
        sequences=tmp_path / "s.fasta",
        tree=str(tmp_path / "t.nwk"),
        metadata=tmp_path / "m.tsv",
        distances=tmp_path / "d.tsv",
    )
    assert set(study.files) == {"table", "sequences", "tree", "metadata", "distances"}
    ages = study.metadata["age"]
    assert ages.tolist() == ["1.0", "2.0", "3.0", "4.0"]  # the file's text
    study = replace(study, metadata=study.metadata.assign(age=as_numbers(ages)))
    assert by_id(study) == by_id(make_study())


def test_the_text_of_a_tree_is_no_file():
    study = make_study()
    assert study.phylogeny is not None and "tree" not in study.files


def test_select_keeps_the_order_of_the_ids():
    study = make_study().select(["s4", "007"])
    assert study.sample_ids == ["s4", "007"]
    assert study.counts.toarray().tolist() == COUNTS[[3, 0]].tolist()
    assert study.metadata["age"].tolist() == [4, 1]
    np.testing.assert_allclose(study.distances, [[0, 0.3], [0.3, 0]], rtol=1e-6)
    assert study.feature_ids == FEATURES and study.phylogeny.tip_ids == FEATURES


def test_select_of_unknown_or_repeated_samples():
    study = make_study()
    with pytest.raises(InputError, match=r"1 samples are not in the study \(s33\); did you mean"):
        study.select(["s3", "s33"])
    with pytest.raises(InputError, match=r"more than once \(s3\)"):
        study.select(["s3", "s3"])


def test_select_is_fast():
    n = 20_000
    ids = [f"s{i}" for i in range(n)]
    table = load_study(
        biom.Table(np.ones((3, n)), ["ACGT", "CCCC", "GGGG"], ids),
        metadata=pd.DataFrame({"x": np.arange(n)}, index=pd.Index(ids, dtype=object)),
    )
    start = time.process_time()
    chosen = table.select(ids[::-2])
    assert time.process_time() - start < 0.5
    assert chosen.metadata["x"].iloc[0] == n - 1


# Samples


def test_blanks_at_the_ends_of_ids_are_ignored():
    table = make_table(
        samples=[f" {name}" for name in SAMPLES], features=[f"{f} " for f in FEATURES]
    )
    study = make_study(table=table)
    assert study.sample_ids == SAMPLES and study.feature_ids == FEATURES


def test_samples_without_a_value_are_dropped_with_drop_missing():
    metadata = METADATA.assign(ph=[7.0, None, 6.0, None], site=["a", "b", " ", "c"])
    study = make_study(metadata=metadata, drop_missing="ph")
    assert study.sample_ids == ["007", "s3"]
    (line,) = (line for line in study.report if "no value" in line)
    assert "2 of 4 samples have no value in the metadata column 'ph'" in line
    assert "(2538.10, s4)" in line
    assert make_study(metadata=metadata, drop_missing=["ph", "site"]).sample_ids == ["007"]
    assert make_study(metadata=metadata).sample_ids == SAMPLES


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"drop_missing": "hp"}, "no metadata column 'hp'; there are: age"),
        ({"drop_missing": "none"}, "Column 'none' has no value for any of 4 samples"),
        ({"drop_missing": "ph", "metadata": None}, "'ph' needs metadata; none was given"),
    ],
)
def test_samples_without_a_value_that_cannot_be_dropped(given, words):
    metadata = METADATA.assign(ph=1.0, none=pd.Series([None] * 4, METADATA.index, dtype=object))
    with pytest.raises(InputError, match=words):
        make_study(**{"metadata": metadata, **given})


def test_samples_without_reads_are_dropped_and_reported():
    counts = COUNTS.copy()
    counts[1] = 0
    study = make_study(table=make_table(counts))
    assert study.sample_ids == ["007", "s3", "s4"]
    assert study.metadata.index.tolist() == study.sample_ids
    np.testing.assert_allclose(study.distances[0], [0, 0.2, 0.3], rtol=1e-6)
    assert study.report[0] == (
        "1 of 4 samples had no reads in the table and were dropped (2538.10)."
    )


def test_a_table_of_zeros():
    with pytest.raises(InputError, match="No sample is left: all 4 had no reads"):
        make_study(table=make_table(COUNTS * 0))


def test_samples_without_metadata_are_dropped_and_reported():
    extra = pd.concat([METADATA.drop(index=["007", "s4"]), METADATA.set_axis(list("abcd"))])
    study = make_study(metadata=extra)
    assert study.sample_ids == ["2538.10", "s3"]
    assert study.counts.toarray().tolist() == COUNTS[[1, 2]][:, [0, 1, 3, 4]].tolist()
    assert study.report[:2] == [
        "2 of 4 samples of the table are not in the metadata and were dropped (007, s4).",
        "4 of 6 samples of the metadata are not in the table.",
    ]


def test_no_sample_in_common_with_the_metadata():
    with pytest.raises(InputError) as caught:
        make_study(metadata=METADATA.set_axis(["7", "2538.1", "3", "4"]))
    message = str(caught.value)
    assert "the table: 007, 2538.10, s3, s4" in message
    assert "the metadata: 7, 2538.1, 3, 4" in message
    assert "rewritten ids as numbers" in message and "\n" not in message


def test_where_keeps_the_samples_and_only_their_features():
    study = make_study(where="sex=m")
    assert study.sample_ids == ["2538.10", "s4"]
    assert study.feature_ids == ["h2", "h3", "h4", "h5"]
    assert study.phylogeny.tip_ids == study.feature_ids
    assert study.report == [
        "2 of 4 samples have sex=m.",
        "1 of 5 features have no reads in these samples and were dropped.",
    ]
    assert make_study(where=["sex=m", "age=4"]).sample_ids == ["s4"]


def test_where_that_cannot_be():
    with pytest.raises(InputError, match="No sample has '4' in the metadata column 'age'; there"):
        make_study(where=["sex=f", "age=4"])
    with pytest.raises(InputError, match="'sx'; did you mean 'sex'"):
        make_study(where="sx=f")
    with pytest.raises(InputError, match="'sex=f' needs metadata"):
        make_study(metadata=None, where="sex=f")


# Sequences


def test_ids_that_are_sequences():
    features = ["ACGTAC", "acgtn", "GGTTA", "TTTTTT", "CCCCA"]
    study = load_study(make_table(features=features))
    assert study.feature_ids == features
    assert study.sequences == ["ACGTAC", "ACGTN", "GGTTA", "TTTTTT", "CCCCA"]


def test_hash_ids_need_sequences():
    hashes = [f"ac5402de1ddf427ab8d2b0a8a0a44f{i}a" for i in range(5)]
    with pytest.raises(InputError) as caught:
        load_study(make_table(features=hashes))
    message = str(caught.value)
    assert "5 of 5 feature ids are not DNA" in message and hashes[0] in message
    assert "their sequences are needed" in message
    assert load_study(make_table(features=hashes), require_sequences=False).sequences is None


def test_a_stray_id_among_sequences():
    features = ["ACGTAC", "ACGTN", "GGTTA", "Unassigned", "CCCCA"]
    with pytest.raises(InputError, match=r"1 of 5 feature ids are not DNA \(Unassigned\)"):
        load_study(make_table(features=features))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [("TTTUTT", "'U' at position 4 .*write T"), ("TT-TT", "'-' at position 3 .*aligned")],
)
def test_letters_that_are_not_dna(wrong, message):
    features = ["ACGTAC", "ACGTN", "GGTTA", wrong, "CCCCA"]
    with pytest.raises(InputError, match=f"feature {wrong} has {message}"):
        load_study(make_table(features=features))
    with pytest.raises(InputError, match=f"feature h4 has {message}"):
        make_study(sequences={**SEQUENCES, "h4": wrong})


def test_letters_of_features_that_are_not_in_the_table_do_not_matter():
    assert make_study(sequences={**SEQUENCES, "other": "A-U!"}).report == []


def test_features_without_sequence_are_dropped_with_their_reads():
    study = make_study(sequences={k: v for k, v in SEQUENCES.items() if k not in ("h1", "h4")})
    assert study.feature_ids == ["h2", "h3", "h5"]
    assert study.counts.toarray().tolist() == COUNTS[:, [1, 2, 4]].tolist()
    assert study.sequences == ["ACGTN", "GGTTA", "CCCCA"]
    assert study.report == [
        "2 of 5 features are not in the sequences and were dropped: 20.00 % of all reads, "
        "and 50.00 % of the worst sample's (007)."
    ]


def test_no_feature_in_common_with_the_sequences():
    with pytest.raises(InputError, match="No feature of the table is in the sequences. .*h1, .*x1"):
        make_study(sequences={"x1": "ACGT"})


# Tree


def test_features_that_are_not_in_the_tree_are_dropped_with_their_reads():
    study = make_study(tree="((h1:1,h2:2):0.5,(h4:1,h5:3):1,other:2);", keep_unplaced=False)
    assert study.feature_ids == ["h1", "h2", "h4", "h5"]
    assert study.phylogeny.tip_ids == study.feature_ids and len(study.sequences) == 4
    assert study.report == [
        "1 of 5 features are not in the tree and were dropped: 26.00 % of all reads, "
        "and 50.00 % of the worst sample's (s4)."
    ]


def test_losses_add_up_to_the_threshold():
    without = {"sequences": {k: v for k, v in SEQUENCES.items() if k != "h3"}}
    without |= {"tree": "((h1:1,h2:2):0.5,h4:1);", "keep_unplaced": False}
    with pytest.raises(InputError) as caught:
        make_study(**without)
    message = str(caught.value)
    assert "1 of 4 features are not in the tree (h5)" in message
    assert "58.00 % of all reads" in message
    assert "max_lost_reads = 0.5" in message and "raise max_lost_reads" in message
    study = make_study(**without, max_lost_reads=0.6)
    assert study.feature_ids == ["h1", "h2", "h4"]
    assert study.sample_ids == ["007", "2538.10", "s3"]
    assert study.report[-1].startswith("1 of 4 samples have no reads left and were dropped (s4)")


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_threshold_is_a_share(share):
    with pytest.raises(InputError, match="a share, from 0 to 1"):
        make_study(max_lost_reads=share)


def test_a_small_loss_is_not_rounded_to_nothing():
    counts = COUNTS * 100_000
    counts[:, 3] = [0, 1, 0, 0]
    study = make_study(table=make_table(counts), tree="((h1:1,h2:2):0.5,h3:1,h5:1);")
    assert "less than 0.01 % of all reads" in study.report[0]


def test_tree_without_these_tips():
    with pytest.raises(InputError, match="No feature of the table is in the tree. .*h1.*x1, x2"):
        make_study(tree="(x1:1,x2:1);")


# Distances


def test_distances_may_have_more_but_not_fewer_samples():
    names = [*SAMPLES, "x"]
    place = np.arange(5.0)
    more = skbio.DistanceMatrix(np.abs(place[:, None] - place) / 10, names)
    np.testing.assert_array_equal(make_study(distances=more).distances, make_study().distances)
    with pytest.raises(InputError, match=r"lacks 2 of 4 samples of the study \(007, s4\)"):
        make_study(distances=make_distances(["s3", "2538.10"]))
    with pytest.raises(InputError, match="No sample of the study is in the distance matrix"):
        make_study(distances=skbio.DistanceMatrix([[0, 1], [1, 0]], ["a", "b"]))


def test_distances_need_no_samples_that_are_dropped():
    study = make_study(distances=make_distances(["s4", "2538.10"]), where="sex=m")
    np.testing.assert_allclose(study.distances, [[0, 0.2], [0.2, 0]], rtol=1e-6)


# The whole


def test_wrong_kind_of_metadata():
    with pytest.raises(InputError, match="must be a path or a DataFrame, not list"):
        make_study(metadata=[1])


def test_arguments_are_not_changed():
    table, metadata, distances = make_table(), METADATA.copy(), make_distances()
    make_study(table=table, metadata=metadata, distances=distances, where="sex=m")
    assert table == make_table() and distances == make_distances()
    pd.testing.assert_frame_equal(metadata, METADATA)


def test_a_large_table_is_never_made_dense():
    """100,000 samples x 1,000,000 features would be 745 GiB."""
    code = """
import numpy as np, pathlib, resource, scipy.sparse as sp
from aam_core.data.alignment import Draft
n, f, reads = 100_000, 1_000_000, 2_000_000
rng = np.random.default_rng(0)
counts = sp.csr_matrix(
    (np.ones(reads, dtype=np.int64), (rng.integers(0, n, reads), rng.integers(0, f, reads))),
    shape=(n, f))
draft = Draft([str(i) for i in range(n)], [str(i) for i in range(f)], counts, 0.9)
draft.drop_empty_samples("had no reads")
draft.drop_empty_features()
draft.keep_features(rng.random(len(draft.features)) < 0.5, [], "the tree", "")
draft.keep_samples(rng.random(len(draft.samples)) < 0.5)
draft.drop_empty_features()
status = pathlib.Path("/proc/self/status")  # where there is one: getrusage counts the parent too
held = dict(line.split(":") for line in status.read_text().splitlines()) if status.exists() else {}
most = held.get("VmHWM", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss} kB")
print(most.split()[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1_500_000  # KiB


def test_reading_inputs_imports_no_torch():
    code = "import sys, aam_core.data.study; print({'torch', 'skbio', 'biom'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.real_data
def test_ecam(real_data):
    folder = real_data / "ecam"
    study = load_study(
        folder / "table.biom",
        sequences=folder / "rep-seqs.fasta",
        tree=folder / "tree.nwk",
        metadata=folder / "metadata.tsv",
        where="mom_child=C",
    )
    assert len(study.sample_ids) == 699
    assert study.counts.shape == (699, len(study.feature_ids))
    assert set(map(len, study.sequences)) == {150}
    assert study.phylogeny.tip_ids == study.feature_ids
    assert study.metadata["day_of_life"].notna().all()
    assert study.report[0] == "699 of 741 samples have mom_child=C."


@pytest.mark.real_data
def test_ibd(real_data):
    folder = real_data / "ibd"
    study = load_study(
        folder / "table.biom",
        tree=folder / "tree.nwk",
        metadata=folder / "metadata.tsv",
        keep_unplaced=False,
    )
    assert study.counts.shape == (470, 9970)
    assert study.sequences == study.feature_ids == study.phylogeny.tip_ids
    assert len(study.report) == 1
    assert study.report[0].startswith("129 of 10,099 features are not in the tree and were dropped")
    assert set(study.metadata["ibd"]) == {"Control", "Crohns"}


def test_unplaced_features_may_stay_for_the_model():
    import torch

    from aam_core.config import DataConfig
    from aam_core.data.batches import Batcher
    from aam_core.phylogeny.distances import distance_matrix

    sequences = ["ACGTACGTAA", "CCGTACGTAC", "GGGTACGTAC", "TTGTACGTAC"]
    counts = np.array([[5, 0, 2, 1], [0, 3, 1, 0], [1, 1, 0, 4]])
    table = pd.DataFrame(counts, index=["s1", "s2", "s3"], columns=sequences)
    tree = f"(({sequences[3]}:1,{sequences[0]}:2):1,{sequences[1]}:3);"
    study = load_study(table, tree=tree)
    assert study.feature_ids == sequences
    assert any("ignored by the distances alone" in line for line in study.report)
    batch = Batcher(study, DataConfig(rarefaction="none"), 0, distances=True).batch(np.arange(3))
    actual = distance_matrix(
        batch.table, batch.table_features, study.phylogeny, "weighted_normalized"
    )
    dropped = load_study(table, tree=tree, keep_unplaced=False)
    assert dropped.feature_ids == [sequences[0], sequences[1], sequences[3]]
    wanted = distance_matrix(
        torch.from_numpy(dropped.counts.toarray()),
        torch.arange(3),
        dropped.phylogeny,
        "weighted_normalized",
    )
    assert torch.allclose(actual, wanted, atol=1e-6)
    assert len(batch.feature_index) == 4


def test_rna_as_feature_ids_is_recognized():
    names = ["ACGUACGUAA", "CCGUACGUAC", "GGGUACGUAC"]
    table = pd.DataFrame(np.ones((2, 3), int), index=["s1", "s2"], columns=names)
    with pytest.raises(InputError, match="RNA: write T for U"):
        load_study(table)


# A study as a table of samples


def test_length_and_shape():
    study = make_study()
    assert len(study) == 4 and study.shape == (4, 5)


@pytest.mark.parametrize(
    "samples",
    [
        [2, 0],
        np.array([2, 0]),
        np.array([-2, -4], np.int32),
        ["s3", "007"],
        np.array(["s3", "007"], object),
        pd.Index(["s3", "007"]),
        slice(2, None, -2),
        (np.array([2, 0]), ...),
        (slice(2, None, -2), slice(None)),
    ],
    ids=str,
)
def test_slices_are_of_samples_in_the_order_asked_for(samples):
    whole, part = make_study(), make_study()[samples]
    assert part.sample_ids == ["s3", "007"] and part.feature_ids == whole.feature_ids
    assert part.counts.toarray().tolist() == whole.counts.toarray()[[2, 0]].tolist()
    assert part.metadata["age"].tolist() == [3, 1]
    assert part.distances.tolist() == whole.distances[np.ix_([2, 0], [2, 0])].tolist()


def test_a_mask_keeps_the_order_of_the_study():
    study = make_study()
    for mask in ([True, False, True, False], study.metadata["sex"] == "f"):
        assert study[mask].sample_ids == ["007", "s3"]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([0, 4, -5], r"2 positions are not in a study of 4 samples \(4, -5\)"),
        ([True], "1 bools for the 4 samples"),
        (["s9"], "1 samples are not in the study"),
        ([1, 1], "more than once"),
        ([], "A study of no samples"),
        (slice(4, None), "A study of no samples"),
        (0, "are a list, an array or a slice"),
        ("s3", "are a list, an array or a slice"),
        (([0], [1]), "sliced by samples alone"),
    ],
    ids=str,
)
def test_wrong_slices_are_refused(samples, message):
    with pytest.raises(InputError, match=message):
        make_study()[samples]


def test_a_study_is_no_sequence():
    with pytest.raises(TypeError, match="not iterable"):
        list(make_study())


def test_scikit_learn_takes_studies_apart():
    from sklearn.model_selection import train_test_split

    study = make_study()
    parts = train_test_split(study, study.metadata["age"], test_size=1, random_state=0)
    assert [len(part) for part in parts[:2]] == [3, 1]
    assert [part.metadata["age"].tolist() for part in parts[:2]] == [list(y) for y in parts[2:]]


# repr


def test_repr_of_a_study():
    assert repr(make_study()).splitlines() == [
        "Study: 4 samples x 5 features, 50 reads",
        "  sequences  5, of 5 to 6 bases each",
        "  phylogeny  5 tips, 9 branches",
        "  metadata   2 columns: age, sex",
        "  distances  4 x 4",
    ]
    bare = load_study(make_table(), require_sequences=False)
    assert repr(bare).splitlines()[1] == "  sequences  none"


def test_repr_is_short_and_escaped_in_notebooks():
    names = {f"<b>{i}" + "x" * 5000: 1 for i in range(300)}
    study = make_study(metadata=pd.DataFrame(names, index=METADATA.index))
    assert len(repr(study)) < 600
    page = study._repr_html_()
    assert "&lt;b&gt;0" in page and "<b>" not in page and len(page) < 1000
