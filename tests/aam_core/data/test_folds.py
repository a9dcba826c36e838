from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupKFold

from aam_core.data.folds import Division, fold_numbers, folds_table, quantile_strata, read_folds
from aam_core.data.splits import Split, make_folds
from aam_core.errors import InputError

IDS = [f"s{i:02d}" for i in range(40)]
SUBJECT = pd.Series([f"S{i // 2}" for i in range(40)], IDS, name="subject")
METADATA = pd.DataFrame({"study": ["a"] * 10 + ["b"] * 10 + ["c"] * 20}, index=IDS)


def make(division, groups=None, strata=None, samples=IDS, **more):
    return division.make(list(samples), METADATA, 3, groups, strata, **more)


def test_the_default_is_five_folds_of_the_seed():
    folds = make(Division(), SUBJECT)
    assert [(fold.repeat, fold.number) for fold in folds] == [(1, n) for n in range(1, 6)]
    expected = make_folds(IDS, folds=5, seed=3, groups=SUBJECT)
    assert [fold[2:] for fold in folds] == expected


def test_repeats_have_other_folds_of_whole_groups():
    folds = make(Division(folds=4, repeat=3), SUBJECT)
    table = folds_table(folds)
    assert len(table) == 120 and table["repeat"].value_counts().tolist() == [40] * 3
    of = {n: part["fold"].reindex(IDS) for n, part in table.groupby("repeat")}
    assert not of[1].equals(of[2]) and not of[2].equals(of[3])
    for each in of.values():
        assert (each.groupby(SUBJECT).nunique() == 1).all()
    again = make(Division(folds=4, repeat=2), SUBJECT)
    assert again == folds[:8]


def test_groups_are_dealt_as_by_scikit_learn():
    splitter = pytest.importorskip("sklearn.model_selection").GroupKFold
    try:
        theirs = splitter(4, shuffle=True, random_state=7)
    except TypeError:
        pytest.skip("scikit-learn before 1.6")
    assert isinstance(theirs, GroupKFold)
    codes = np.unique(SUBJECT, return_inverse=True)[1]
    expected = [np.array(IDS)[test].tolist() for _, test in theirs.split(IDS, groups=codes)]
    ours = make_folds(IDS, folds=4, seed=7, groups=SUBJECT, shuffle=True)
    assert [test for _, test in ours] == expected


def test_a_fold_for_each_value_of_a_column():
    folds = make(Division(fold_by=METADATA["study"]), SUBJECT)
    assert [len(fold.test) for fold in folds] == [10, 10, 20]
    assert folds[1].test == IDS[10:20] and folds[1].train == IDS[:10] + IDS[20:]
    with pytest.raises(InputError, match="All 10 samples have one value in column 'study'"):
        make(Division(fold_by=METADATA["study"]), samples=IDS[:10])


def test_one_fold_by_values_of_a_column():
    (fold,) = make(Division(test_where=["study=a", "study=c"]))
    assert fold.train == IDS[10:20] and fold.test == IDS[:10] + IDS[20:]
    with pytest.raises(InputError, match="No sample has 'd' in the metadata column 'study'"):
        make(Division(test_where=["study=d"]))
    with pytest.raises(InputError, match="has all 40 samples: none is left to train on"):
        make(Division(test_where=["study=a", "study=b", "study=c"]))


def test_groups_on_both_sides_are_refused():
    groups = SUBJECT.mask(SUBJECT == "S5", "S4").mask(SUBJECT == "S19", "S0")
    words = "2 groups of column 'subject' have samples on both sides .*: S0, S4"
    with pytest.raises(InputError, match=words):
        make(Division(test_where=["study=a"]), groups)
    make(Division(test_where=["study=a"]), SUBJECT)


def test_two_ways_at_once():
    with pytest.raises(InputError, match="folds and test_where divide the samples in two ways"):
        Division(folds=3, test_where=["study=a"]).check()
    with pytest.raises(InputError, match="repeat must be at least 1, not 0"):
        Division(repeat=0).check()


def test_folds_come_back_from_their_file(tmp_path):
    for number, division in enumerate((Division(folds=3, repeat=2), Division(fold_by=SUBJECT))):
        folds = make(division)
        path = tmp_path / f"{number}.tsv"
        folds_table(folds).to_csv(path, sep="\t")
        assert make(Division(folds_file=path)) == folds
    with pytest.raises(InputError, match="not in the study"):
        make(Division(folds_file=path), samples=IDS[:30])


def test_samples_without_a_fold_are_trained_on(tmp_path):
    path = tmp_path / "folds.tsv"
    path.write_text("sample-id\tnote\tfold\ns00\tx\t4\ns01\ty\t7\n")
    first, second = make(Division(folds_file=path))
    assert (first.number, first.test, len(first.train)) == (4, ["s00"], 39)
    assert (second.number, second.test) == (7, ["s01"])
    split = fold_numbers(path, IDS)
    assert split == Split(IDS, ["s00", "s01"], [0, 1])
    path.write_text("sample-id\tfold\ns00\t1\ns01\t1\n")
    assert fold_numbers(path, IDS) == Split(IDS[2:], ["s00", "s01"], [0, 0])


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "not a table of folds"),
        ("id\tfold\ns00\t1\n", "no column 'sample-id'"),
        ("sample-id\trepeat\ns00\t1\n", "no column 'fold'"),
        ("sample-id\tfold\n", "no samples"),
        ("sample-id\tfold\ns00\t0\n", "fold is no whole number from 1 for 1 samples: s00"),
        ("sample-id\tfold\ns00\tone\n", "fold is no whole number"),
        ("sample-id\tfold\nnew\t1\n", "1 samples that are not in the study .*: new"),
        ("sample-id\tfold\ns00\t1\ns00\t2\n", "several folds of one repeat for 1 samples: s00"),
        ("sample-id\trepeat\tfold\ns00\t1\t1\ns01\t2\t1\n", "tests 2 samples in some repeats"),
    ],
)
def test_what_is_no_table_of_folds(tmp_path, text, words):
    path = tmp_path / "folds.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_folds(path, IDS)


def test_a_fit_has_no_repeats(tmp_path):
    path = tmp_path / "folds.tsv"
    path.write_text("sample-id\trepeat\tfold\ns00\t1\t1\ns00\t2\t1\n")
    with pytest.raises(InputError, match="several repeats: a fit has one split"):
        fold_numbers(path, IDS)


def test_quantiles_as_strata():
    values = pd.Series(np.arange(40.0), IDS, name="age")
    strata = quantile_strata(values, 4)
    assert strata.value_counts().tolist() == [10] * 4
    assert strata.iloc[:10].nunique() == 1
    assert quantile_strata(values, 0) is None
    # two subjects in each quantile at least: ten samples are five subjects
    by_ten = pd.Series([f"S{i // 10}" for i in range(40)], IDS, name="subject")
    assert quantile_strata(values, 4, by_ten).nunique() == 3
    halves = pd.Series([f"S{i // 20}" for i in range(40)], IDS, name="subject")
    with pytest.raises(InputError, match="'age' has no two quantiles of two groups each"):
        quantile_strata(values, 4, halves)


def test_folds_by_quantiles_are_alike():
    """As the folds of a shuffled number seldom are."""
    values = pd.Series(np.random.default_rng(0).lognormal(size=40), IDS, name="age")
    folds = make(Division(folds=4), None, quantile_strata(values, 5), classes=False)
    for fold in folds:
        low = values[fold.test].sort_values().iloc[:2]
        assert (low <= values.quantile(0.2)).all()  # two of the lowest eight in each


@pytest.mark.parametrize("folds", [5, 8])
def test_quantiles_become_fewer_where_there_are_more_folds(folds):
    values = pd.Series(np.arange(40.0), IDS, name="age")
    division = Division(folds=folds)
    strata = quantile_strata(values, 10, folds=division.stratified)
    assert strata.value_counts().max() >= folds and 1 < strata.nunique() < 10
    assert len(make(division, None, strata, classes=False)) == folds
    with pytest.raises(InputError, match="a sample for each of the 21 folds"):
        quantile_strata(values, 10, folds=21)
