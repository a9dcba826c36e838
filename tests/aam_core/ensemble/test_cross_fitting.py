"""Tests of aam_core.ensemble.cross_fitting."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from aam_core.data.splits import Split
from aam_core.ensemble.cross_fitting import predict_held_out
from aam_core.models.network import Network
from aam_core.prediction import predict


def alone(model, member):
    """The model with one of its members, and nothing else."""
    fourier = bool(model.network.fourier_members[member])
    config = model.config.replace({"model.members": 2 if fourier else 1})
    network = Network(config.model, model.network.parts)
    if fourier:  # which one alone would not have
        del network.members[0]
        network.fourier_members, network.member_weight = (
            network.fourier_members[1:],
            network.member_weight[1:],
        )
    weights = model.network.state_dict()
    mine = {
        name: weights[name.replace("members.0.", f"members.{member}.")]
        for name in network.state_dict()
        if name != "member_weight"
    }
    network.load_state_dict(mine, strict=False)
    parts = {"forest": None, "novelty": None, "calibrator": None}
    return dataclasses.replace(model, config=config, network=network, **parts)


def out_of_fold(model, study, split):
    held_out = predict_held_out(
        model.network, study, split, model.config, model.target, model.covariates
    )
    return held_out.out_of_fold(model.network)


@pytest.mark.parametrize("name", ["regressor", "classifier"])
def test_members_that_held_a_sample_out_predict_it(request, small, name):
    """In any order, and where no member held out some of the samples."""
    model = request.getfixturevalue(name).model
    members = model.config.model.members
    val = small.sample_ids[50:3:-3]
    folds = [place % members for place in range(len(val))]
    predictions = out_of_fold(model, small, Split(small.sample_ids, val, folds))
    each = [predict(alone(model, k), small).loc[val] for k in range(members)]
    columns = ["prediction"] if name == "regressor" else list(model.target.classes)
    each = np.stack([frame[columns].to_numpy() for frame in each])
    np.testing.assert_allclose(predictions, each[folds, range(len(val))], rtol=1e-5)
    assert members > 1 and not np.allclose(each[0], each[1], rtol=1e-3)
    together = out_of_fold(model, small, Split.holdout(small.sample_ids, val))
    if name == "classifier":
        np.testing.assert_allclose(together, each.mean(0), rtol=1e-4)
    else:  # the mean is of values as the network learns them
        learned = [model.target.encode(pd.Series(one[:, 0])) for one in each]
        expected = model.target.decode(np.mean(learned, axis=0))
        np.testing.assert_allclose(together[:, 0], expected, rtol=1e-4)


def test_some_members_alone(regressor, small):
    """Of a sample that none of them held out nothing is predicted."""
    model, val = regressor.model, small.sample_ids[:10]
    split = Split(small.sample_ids, val, [0, 1] * 5)
    held_out = predict_held_out(model.network, small, split, model.config, model.target)
    first = held_out.out_of_fold(model.network, np.array([True, False]))
    assert np.isnan(first[1::2]).all()
    assert (first[::2] == held_out.out_of_fold(model.network)[::2]).all()
