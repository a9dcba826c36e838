from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import random as sparse

from aam_core.data.fingerprint import Fingerprint, fingerprint
from aam_core.data.study import Study, load_study
from aam_core.errors import InputError


def digest(study, **more):
    options = {
        "distances": True,
        "target": study.metadata["gradient"].astype(float),
        "groups": study.metadata["host_subject_id"],
        "covariates": {"group": False},
        **more,
    }
    return fingerprint(study, **options)


@pytest.fixture(scope="module")
def before(small):
    return digest(small)


def shuffled(made, seed=0):
    """The same study with samples and features in another order."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        made.table.matrix_data.toarray().T, made.table.ids(), made.table.ids("observation")
    )
    rows, columns = (rng.permutation(list(axis)) for axis in (frame.index, frame.columns))
    parts = {"sequences": made.sequences, "tree": made.tree, "metadata": made.metadata}
    return load_study(frame.loc[rows, columns], **parts)


def test_order_changes_nothing(made, small, before):
    study = shuffled(made)
    assert study.sample_ids != small.sample_ids and study.feature_ids != small.feature_ids
    assert before.changes(digest(study)) == []


def test_numbers_come_back_as_they_were(before):
    again = Fingerprint.from_arrays(before.to_arrays())
    assert again.changes(before) == [] == before.changes(again)
    assert (again.samples, again.group_by) == (before.samples, "host_subject_id")


def with_cell(study, name, sample, value):
    metadata = study.metadata.copy()
    metadata.loc[sample, name] = value
    return replace(study, metadata=metadata)


def more_reads(study):
    counts = study.counts.copy()
    counts.data[counts.indptr[4]] += 1
    return replace(study, counts=counts)


def edited(study):
    letters = list(study.sequences)
    letters[7] = ("C" if letters[7][0] != "C" else "A") + letters[7][1:]
    return replace(study, sequences=letters)


def longer_branch(study):
    tree = study.phylogeny
    lengths = tree.lengths.copy()
    lengths[3] += 1e-9
    return replace(study, phylogeny=replace(tree, lengths=lengths))


S = "S001.01"
CHANGES = {
    "doubled": (lambda x: replace(x, counts=x.counts * 2), "reads of 60 of 60 samples changed (S"),
    "one read": (more_reads, "reads of 1 of 60 samples changed ("),
    "letter": (edited, "sequences of 1 of {F} features changed ("),
    "samples gone": (lambda x: x.select(x.sample_ids[2:]), "2 samples are gone (S001.01, S"),
    "branch": (longer_branch, "branches of the tree"),
    "no tree": (lambda x: replace(x, phylogeny=None), "the tree is gone"),
    "target": (
        lambda x: with_cell(x, "gradient", S, 1.5),
        f"values of the target of 1 of 60 samples changed ({S})",
    ),
    "groups": (
        lambda x: with_cell(x, "host_subject_id", S, "someone"),
        f"groups of 1 of 60 samples changed ({S})",
    ),
    "covariate": (
        lambda x: with_cell(x, "group", S, None),
        f"values of the column 'group' of 1 of 60 samples changed ({S})",
    ),
}


@pytest.mark.parametrize("change, words", CHANGES.values(), ids=CHANGES)
def test_what_changed_is_named_and_nothing_else(small, before, change, words):
    (clause,) = before.changes(digest(change(small)))
    assert clause.startswith(words.replace("{F}", str(len(small.feature_ids))))


def test_features_that_are_gone_and_samples_that_are_new(small, before):
    fewer = replace(
        small,
        feature_ids=small.feature_ids[1:],
        sequences=small.sequences[1:],
        counts=small.counts[:, 1:],
    )
    gone, *reads = before.changes(digest(fewer))
    assert gone == f"1 features are gone ({small.feature_ids[0]})"
    assert all(clause.startswith("reads of ") for clause in reads)
    some = digest(small.select(small.sample_ids[:57]))
    (new,) = some.changes(before)
    assert new == f"3 samples are new ({', '.join(small.sample_ids[57:])})"


def test_distances_of_the_study(small):
    rng = np.random.default_rng(0)
    matrix = rng.random((60, 60), np.float32)
    study = replace(small, distances=matrix + matrix.T)
    order = rng.permutation(60)
    assert digest(study).changes(digest(study.select(np.array(study.sample_ids)[order]))) == []
    other = study.distances.copy()
    other[2, 5] += 0.5
    other[5, 2] += 0.5
    (clause,) = digest(study).changes(digest(replace(study, distances=other)))
    assert clause.startswith("distances of 2 of 60 samples changed (")


def test_another_column_groups(small, before):
    now = digest(small, groups=small.metadata["sequencing_run"])
    words = "samples are grouped by 'sequencing_run' (was 'host_subject_id')"
    assert before.changes(now) == [words]
    silent = digest(small, groups=None)
    assert before.changes(silent) == []  # a run that goes on need not say it again
    assert silent.keeping(before).changes(now) == [words]
    assert silent.changes(before) == ["samples are grouped by 'host_subject_id' (were not)"]


def test_how_values_are_stored_does_not_count(small, before):
    text = small.metadata.astype(str)
    now = digest(small, target=text["gradient"].astype(float), groups=text["host_subject_id"])
    assert before.changes(now) == []


def test_an_encoder_by_its_weights(small):
    weights = {"a": np.ones((2, 3), np.float32), "b": np.zeros(2, np.float32)}
    before = digest(small, encoder=weights)
    assert before.changes(digest(small, encoder={**weights})) == []
    other = {**weights, "b": np.array([0, 1e-9], np.float32)}
    assert before.changes(digest(small, encoder=other)) == ["encoder's weights"]
    assert before.changes(digest(small)) == []


def test_damaged_numbers_are_refused(before):
    for spoil in (
        lambda arrays: arrays.pop("text"),
        lambda arrays: arrays.update(text=np.frombuffer(b"{", np.uint8)),
        lambda arrays: arrays.update({"part/counts": np.zeros(3, np.int64)}),
    ):
        arrays = before.to_arrays()
        spoil(arrays)
        with pytest.raises(InputError, match="record of its inputs is damaged"):
            Fingerprint.from_arrays(arrays)


def test_a_large_study_takes_moments():
    """A million reads of 20,000 features: digests are arrays, not loops over them."""
    counts = sparse(5000, 20000, 0.01, format="csr", random_state=0)
    counts.data = np.arange(1, len(counts.data) + 1)
    ids = [f"s{i}" for i in range(5000)], [f"f{i}" for i in range(20000)]
    actual = fingerprint(Study(*ids, counts))
    assert sum(part.nbytes for part in actual.to_arrays().values()) < 10 * (5000 + 20000) * 2
    assert len(np.unique(actual.parts["counts"])) == 5000
