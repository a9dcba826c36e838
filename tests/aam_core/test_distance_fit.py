from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import spearmanr

from aam_core import distance_fit as module
from aam_core.distance_fit import distance_fit
from aam_core.errors import InputError
from aam_core.pretraining import held_out_distances


def test_the_metrics_are_those_of_the_pairs(encoder, small):
    state = np.random.get_state()[1].tolist()
    fit = distance_fit(encoder.model, small)
    assert np.random.get_state()[1].tolist() == state
    pairs = fit.pairs()
    own = held_out_distances(encoder.model, small)
    order = sorted(encoder.model.val_samples)
    assert sorted(fit.true.index) == order and len(pairs) == len(own)
    assert sorted(pairs["actual"]) == pytest.approx(sorted(own["actual"]))
    assert fit.metrics["mae"] == pytest.approx((own["prediction"] - own["actual"]).abs().mean())
    assert fit.metrics["spearman"] == pytest.approx(
        spearmanr(pairs["actual"], pairs["prediction"])[0]
    )
    assert 0 < fit.metrics["mantel_p"] <= 1 and 0 <= fit.metrics["procrustes_m2"] <= 1
    assert fit.where == {"trained": 0, "validation": len(order), "new": 0}
    row = fit.by_sample().iloc[0]
    mine = pairs[(pairs["sample"] == row.name) | (pairs["other"] == row.name)]
    assert row["error"] == pytest.approx((mine["prediction"] - mine["actual"]).abs().mean())


def test_distances_that_are_the_true_ones_fit(encoder, small, monkeypatch):
    def alike(model, study):
        true, _ = real(model, study)
        return true, true

    real = module.distances_of
    monkeypatch.setattr(module, "distances_of", alike)
    metrics = distance_fit(encoder.model, small, "all").metrics
    assert metrics["r2"] == metrics["spearman"] == pytest.approx(1)
    assert metrics["procrustes_m2"] == pytest.approx(0, abs=1e-9)
    assert metrics["mantel_p"] == metrics["procrustes_p"] == 0.001


def test_of_many_samples_some_are_drawn_by_the_seed(encoder, small, monkeypatch, caplog):
    monkeypatch.setattr(module, "_MOST", 10)
    with caplog.at_level("INFO", "aam_core"):
        fits = [distance_fit(encoder.model, small, "all", seed) for seed in (1, 1, 2)]
    assert "10 of 60 samples are compared, drawn by seed 1" in caplog.text
    one, again, other = (list(fit.true.index) for fit in fits)
    assert one == again != other and fits[0].metrics == fits[1].metrics
    assert sum(fits[0].where.values()) == 10 and fits[0].where["trained"] > 0


def test_what_cannot_be_compared_is_refused(encoder, regressor, small):
    with pytest.raises(InputError, match="regressor learned no distances"):
        distance_fit(regressor.model, small)
    trained = dataclasses.replace(encoder.model, train_samples=list(small.sample_ids))
    with pytest.raises(InputError, match="trained on 60 of the 60 samples .* compare all"):
        distance_fit(trained, small)
    with pytest.raises(InputError, match="needs 3 samples or more, and the study has 2[.]"):
        distance_fit(encoder.model, small.select(small.sample_ids[:2]), "all")
    with pytest.raises(InputError, match="choice of samples"):
        distance_fit(encoder.model, small, "most")
