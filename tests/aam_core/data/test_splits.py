from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from aam_core.data.splits import Split, cross_fitting_split, make_folds, train_val_split
from aam_core.errors import InputError

SKLEARN = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
IDS = [f"s{i:03d}" for i in range(100)]
SUBJECT = pd.Series([f"S{i % 23}" for i in range(100)], index=IDS, name="subject")
DISEASE = pd.Series(["common" if i % 10 else "rare" for i in range(100)], index=IDS, name="ibd")


def parts(split):
    train, val_ids = split
    assert not set(train) & set(val_ids) and train and val_ids
    assert train == [i for i in IDS if i in set(train)]  # the order of the study
    assert val_ids == [i for i in IDS if i in set(val_ids)]
    return train, val_ids


def whole(split):
    train, val_ids = parts(split)
    assert sorted(train + val_ids) == IDS
    return train, val_ids


# --- hold out ------------------------------------------------------------------------------------


def test_random_split_has_the_fraction_and_follows_the_seed():
    split = train_val_split(IDS, fraction=0.2, seed=0)
    assert len(whole(split)[1]) == 20
    assert split == train_val_split(IDS, fraction=0.2, seed=0)
    assert split != train_val_split(IDS, fraction=0.2, seed=1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.6])
def test_a_group_stays_on_one_side(seed, fraction):
    train, val_ids = whole(train_val_split(IDS, fraction=fraction, seed=seed, groups=SUBJECT))
    assert not set(SUBJECT[train]) & set(SUBJECT[val_ids])
    assert len(val_ids) == pytest.approx(100 * fraction, abs=3)


def test_groups_are_drawn_at_random():
    times = Counter()
    for seed in range(60):
        _, val = train_val_split(IDS, fraction=0.2, seed=seed, groups=SUBJECT)
        times.update(set(SUBJECT[val]))
    assert len(times) == 23
    assert max(times.values()) < 30


def test_uneven_groups_are_all_held_out_at_times():
    sizes = [40, 20, 10, 10, 5, 5, 4, 3, 2, 1]
    groups = np.repeat([f"g{i}" for i in range(10)], sizes)
    seen = set()
    for seed in range(40):
        train, val_ids = whole(train_val_split(IDS, fraction=0.2, seed=seed, groups=groups))
        assert 15 <= len(val_ids) <= 25
        seen |= set(groups[[i in val_ids for i in IDS]])
    assert seen >= {f"g{i}" for i in range(1, 10)}


@pytest.mark.parametrize("seed", range(5))
def test_classes_have_like_shares_on_both_sides(seed):
    train, val_ids = whole(train_val_split(IDS, fraction=0.2, seed=seed, strata=DISEASE))
    assert Counter(DISEASE[val_ids]) == {"rare": 2, "common": 18}


def test_a_rare_class_is_on_both_sides_all_the_same():
    strata = ["rare"] * 2 + ["common"] * 98
    train, val_ids = whole(train_val_split(IDS, fraction=0.1, seed=0, strata=strata))
    assert len({"s000", "s001"} & set(val_ids)) == 1
    many = [f"c{i % 20}" for i in range(100)]
    assert len(whole(train_val_split(IDS, fraction=0.05, seed=0, strata=many))[1]) == 20


@pytest.mark.parametrize("seed", range(5))
def test_groups_and_classes_are_honoured_together(seed):
    by_subject = {f"S{i}": "sick" if i % 3 == 0 else "well" for i in range(23)}
    strata = SUBJECT.map(by_subject)
    train, val_ids = whole(
        train_val_split(IDS, fraction=0.25, seed=seed, groups=SUBJECT, strata=strata)
    )
    assert not set(SUBJECT[train]) & set(SUBJECT[val_ids])
    assert (strata[val_ids] == "sick").mean() == pytest.approx((strata == "sick").mean(), abs=0.1)
    assert len(val_ids) == pytest.approx(25, abs=4)


def test_the_only_possible_split_of_groups_is_found():
    groups = ["g1"] * 10 + ["g2"] * 10 + ["g3"] * 80
    strata = ["a"] * 5 + ["b"] * 5 + ["a"] * 5 + ["b"] * 5 + ["b"] * 80
    for seed in range(10):
        train, val_ids = whole(
            train_val_split(IDS, fraction=0.1, seed=seed, groups=groups, strata=strata)
        )
        assert len(val_ids) == 10


def test_groups_as_numbers_or_in_another_order():
    numbers = SUBJECT.str[1:].astype(float)
    shuffled = numbers.sample(frac=1, random_state=0)
    expected = train_val_split(IDS, fraction=0.2, seed=0, groups=numbers)
    assert train_val_split(IDS, fraction=0.2, seed=0, groups=shuffled) == expected
    assert train_val_split(IDS, fraction=0.2, seed=0, groups=list(numbers)) == expected


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.999, 1.0])
def test_an_empty_side_is_an_error(fraction):
    with pytest.raises(InputError, match="of 100 samples leaves one side empty"):
        train_val_split(IDS, fraction=fraction, seed=0)


def test_one_group_cannot_be_split():
    with pytest.raises(InputError, match="All 100 samples are of one group"):
        train_val_split(IDS, fraction=0.2, seed=0, groups=["g"] * 100)


def test_a_class_in_one_sample_or_group_cannot_be_split():
    strata = ["only"] + ["common"] * 99
    for split in (
        lambda **more: train_val_split(IDS, fraction=0.2, seed=0, **more),
        lambda **more: make_folds(IDS, folds=3, seed=0, **more),
    ):
        with pytest.raises(InputError, match="in one sample only.*: only"):
            split(strata=strata)
        with pytest.raises(InputError, match="in one group only.*: only"):
            split(strata=strata, groups=SUBJECT)


def test_classes_that_no_split_of_groups_can_share_out():
    groups, strata = ["g1", "g1", "g2", "g2", "g3", "g3"], ["a", "c", "a", "b", "b", "c"]
    with pytest.raises(InputError, match="No split of the groups has every class on both sides"):
        train_val_split(IDS[:6], fraction=0.3, seed=0, groups=groups, strata=strata)


@pytest.mark.parametrize(
    "split",
    [
        lambda **more: train_val_split(IDS, fraction=0.2, seed=0, **more),
        lambda **more: make_folds(IDS, folds=3, seed=0, **more),
    ],
)
def test_missing_groups_and_classes_are_named(split):
    blank = SUBJECT.where(~SUBJECT.index.isin(["s003", "s007"]), None)
    with pytest.raises(InputError, match=r"'subject'\) is blank for 2 of 100 .*s003, s007"):
        split(groups=blank)
    with pytest.raises(InputError, match="class .*is blank for 2 of 100"):
        split(strata=blank)
    with pytest.raises(InputError, match="1 samples have no group: s000"):
        split(groups=SUBJECT.drop("s000"))


# --- folds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [None, SUBJECT])
@pytest.mark.parametrize("strata", [None, DISEASE])
def test_every_sample_is_tested_once(groups, strata):
    folds = make_folds(IDS, folds=5, seed=0, groups=groups, strata=strata)
    assert len(folds) == 5
    assert sorted(i for _, test in folds for i in test) == IDS
    for train, test in map(whole, folds):
        if groups is not None:
            assert not set(groups[train]) & set(groups[test])
        if strata is not None and groups is None:
            assert Counter(strata[test]) == {"rare": 2, "common": 18}
    again = make_folds(IDS, folds=5, seed=0, groups=groups, strata=strata)
    assert again == folds
    other = make_folds(IDS, folds=5, seed=1, groups=groups, strata=strata)
    assert (other == folds) == (groups is not None and strata is None)


@pytest.mark.parametrize("groups", [SUBJECT, SUBJECT.str[1:].astype(float)])
def test_grouped_folds_are_those_of_scikit_learn(groups):
    expected = [
        [IDS[i] for i in test] for _, test in GroupKFold(5).split(IDS, groups=groups.to_numpy())
    ]
    assert [test for _, test in make_folds(IDS, folds=5, seed=9, groups=groups)] == expected


@pytest.mark.parametrize("seed", range(3))
def test_grouped_folds_share_the_classes_out(seed):
    ids = [f"s{i}" for i in range(120)]
    subject = [f"h{i // 5}" for i in range(120)]
    strata = pd.Series(np.where(np.arange(120) // 5 % 3 == 0, "case", "control"), index=ids)
    for _, test in make_folds(ids, folds=4, seed=seed, groups=subject, strata=strata):
        assert Counter(strata[test]) == {"case": 10, "control": 20}


@pytest.mark.skipif(SKLEARN < (1, 8), reason="loses the classes where it shuffles the groups")
@pytest.mark.parametrize("seed", range(3))
def test_grouped_folds_of_classes_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    ids = [f"s{i}" for i in range(200)]
    subject, strata = rng.integers(30, size=200), rng.integers(3, size=200).astype(str)
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    expected = [[ids[i] for i in test] for _, test in splitter.split(ids, strata, subject)]
    folds = make_folds(ids, folds=5, seed=seed, groups=subject, strata=strata)
    assert [test for _, test in folds] == expected


def test_too_few_samples_groups_or_members_for_the_folds():
    with pytest.raises(InputError, match="at least 2, not 1"):
        make_folds(IDS, folds=1, seed=0)
    with pytest.raises(InputError, match="There are 4 samples, fewer than the 5 folds"):
        make_folds(IDS[:4], folds=5, seed=0)
    with pytest.raises(InputError, match="There are 0 samples"):
        make_folds([], folds=5, seed=0)
    with pytest.raises(InputError, match=r"23 groups \(of 100 samples\), fewer than the 24 folds"):
        make_folds(IDS, folds=24, seed=0, groups=SUBJECT)
    with pytest.raises(InputError, match="No class has as many samples"):
        make_folds(IDS[:6], folds=5, seed=0, strata=["a", "a", "b", "b", "c", "c"])


def test_a_class_rarer_than_the_folds_is_no_error(recwarn):
    folds = make_folds(IDS, folds=5, seed=0, strata=["rare"] * 3 + ["common"] * 97)
    assert all({"s000", "s001", "s002"} & set(train) for train, _ in folds)
    assert not recwarn.list


# --- among several members -----------------------------------------------------------------------


def folds_of(split):
    """Samples of each fold, of a split in which every sample trains."""
    assert split.train == IDS and split.val == [i for i in IDS if i in set(split.val)]
    return [
        [name for name, fold in zip(split.val, split.folds, strict=True) if fold == number]
        for number in range(max(split.folds) + 1)
    ]


@pytest.mark.parametrize("groups", [None, SUBJECT])
@pytest.mark.parametrize("strata", [None, DISEASE])
def test_each_member_holds_out_another_fold(groups, strata):
    split = cross_fitting_split(IDS, 5, fraction=0.2, seed=0, groups=groups, strata=strata)
    folds = folds_of(split)
    assert len(folds) == 5 and sorted(sum(folds, [])) == IDS
    held_out = split.held_out(IDS, 5)
    assert held_out.sum(0).tolist() == [1] * 100
    for row, val_ids in zip(held_out, folds, strict=True):
        assert [IDS[i] for i in np.flatnonzero(row)] == val_ids
        if groups is None:
            assert len(val_ids) == 20
        else:
            others = [name for name in IDS if name not in set(val_ids)]
            assert not set(groups[val_ids]) & set(groups[others])
        if strata is not None and groups is None:
            assert Counter(strata[val_ids]) == {"rare": 2, "common": 18}
    settings = {"fraction": 0.2, "groups": groups, "strata": strata}
    assert cross_fitting_split(IDS, 5, seed=0, **settings) == split
    grouped_alone = groups is not None and strata is None  # whose folds have no seed
    assert (cross_fitting_split(IDS, 5, seed=1, **settings) == split) == grouped_alone


def test_with_fewer_members_than_folds_all_members_train_on_some_samples():
    split = cross_fitting_split(IDS, 3, fraction=0.1, seed=0)
    assert [len(fold) for fold in folds_of(split)] == [10, 10, 10]
    assert split.held_out(IDS, 3).sum(1).tolist() == [10, 10, 10]


def test_more_members_than_folds_take_turns():
    split = cross_fitting_split(IDS, 5, fraction=0.5, seed=0)
    assert len(folds_of(split)) == 2
    held_out = split.held_out(IDS, 5)
    assert (held_out[0] == held_out[2]).all() and (held_out[1] == held_out[3]).all()
    assert (held_out[0] == ~held_out[1]).all() and (held_out[0] == held_out[4]).all()


@pytest.mark.parametrize("count", [2, 3])
def test_fewer_groups_than_folds(count):
    groups = np.repeat([f"g{i}" for i in range(count)], [60, 40] if count == 2 else [50, 30, 20])
    split = cross_fitting_split(IDS, 10, fraction=0.1, seed=0, groups=groups)
    folds = folds_of(split)
    assert len(folds) == count and sorted(sum(folds, [])) == IDS
    assert all(len(set(groups[[IDS.index(i) for i in fold]])) == 1 for fold in folds)
    with pytest.raises(InputError, match="All 100 samples are of one group"):
        cross_fitting_split(IDS, 10, fraction=0.1, seed=0, groups=["g"] * 100)


def test_classes_too_rare_for_folds_are_not_stratified():
    strata = [f"c{i // 2}" for i in range(100)]  # two samples each
    folds = folds_of(cross_fitting_split(IDS, 10, fraction=0.1, seed=0, strata=strata))
    assert 2 <= len(folds) <= 10 and sorted(sum(folds, [])) == IDS
    alone = ["only"] + ["common"] * 99
    folds = folds_of(cross_fitting_split(IDS, 10, fraction=0.1, seed=0, strata=alone))
    assert len(folds) == 10 and sorted(sum(folds, [])) == IDS


def test_a_class_of_one_host_does_not_unbalance_the_others():
    """Twenty-five hosts, ten of them controls; two classes more are of one host each."""
    hosts = pd.Series([i // 4 for i in range(100)], index=IDS)
    strata = hosts.map(lambda host: "control" if host % 5 < 2 else "case")
    strata.iloc[[8, 9]], strata.iloc[[52, 53]] = "only here", "only there"
    settings = {"fraction": 0.2, "groups": hosts, "strata": strata}
    splits = [cross_fitting_split(IDS, 5, seed=seed, **settings) for seed in range(5)]
    for folds in map(folds_of, splits):
        assert len(folds) == 5 and sorted(sum(folds, [])) == IDS
        assert sum(hosts[fold].nunique() for fold in folds) == 25
        for fold in folds:
            assert Counter(strata[fold] == "control") == {True: 8, False: 12}
    assert splits[0] == cross_fitting_split(IDS, 5, seed=0, **settings)
    assert splits[0] != splits[1]


def test_a_class_of_one_sample_does_not_unbalance_the_others():
    strata = pd.Series(["rare" if i % 10 == 0 else "common" for i in range(100)], index=IDS)
    strata.iloc[1] = "only"
    for seed in range(5):
        folds = folds_of(cross_fitting_split(IDS, 5, fraction=0.2, seed=seed, strata=strata))
        assert [Counter(strata[fold])["rare"] for fold in folds] == [2] * 5


def test_a_single_member_has_the_split_of_before():
    settings = {"fraction": 0.2, "seed": 3, "groups": SUBJECT, "strata": DISEASE}
    train, val_ids = train_val_split(IDS, **settings)
    split = cross_fitting_split(IDS, 1, **settings)
    assert split == Split(train, val_ids, [0] * len(val_ids)) == Split.holdout(train, val_ids)
    assert split.held_out(IDS, 1).tolist() == [[name in set(val_ids) for name in IDS]]


@pytest.mark.parametrize("members", [1, 4])
def test_fraction_0_holds_out_nothing(members):
    split = cross_fitting_split(IDS, members, fraction=0, seed=0)
    assert split == Split(IDS, [], [])
    assert split.held_out(IDS, members).tolist() == [[False] * 100] * members


def test_in_a_holdout_all_members_hold_out_the_same():
    split = Split.holdout(["s002", "s000"], ["s001"])
    held_out = split.held_out(["s000", "s001", "s002", "s003"], 2)
    assert held_out.tolist() == [[False, True, False, False]] * 2


def test_some_samples_of_a_split_are_held_out_by_the_same_members():
    split = Split(list("abcdef"), list("abcdef"), [0, 1, 2, 0, 1, 2])
    whole = split.held_out(list("abcdef"), 4)
    part = split.of({"b", "d", "x"})  # the last fold has no sample left
    assert (part.train, part.val, part.folds) == (["b", "d"], ["b", "d"], [1, 0])
    assert (part.held_out(["b", "d"], 4) == whole[:, [1, 3]]).all()
    assert (part.of({"b"}).held_out(["b"], 4) == whole[:, [1]]).all()
