from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from aam_core.data.study import load_study
from aam_core.ensemble import forward
from aam_core.errors import InputError
from aam_core.fitting import fit_classifier, fit_regressor
from aam_core.prediction import predict, predict_batches, predicted_distances
from aam_core.simulate.study import simulate

KNOWN = ["novelty", "known_reads", "known_kmers", "in_training"]
CLOSE = {"rtol": 1e-5, "atol": 1e-5, "check_exact": False}


@pytest.fixture(scope="module")
def unseen():
    """A study of other samples and other ASVs, of three lengths, as `simulate` makes it."""
    made = simulate(25, 40, 99, sequence_length=70, depth=900)
    cut = {name: dna[: 70 - 9 * (i % 3)] for i, (name, dna) in enumerate(made.sequences.items())}
    made.sequences.update(cut)
    return made


@pytest.fixture(scope="module")
def alone(regressor):
    """The regressor without its forest, which reads no ASV that it was not fitted on."""
    return dataclasses.replace(regressor.model, forest=None)


def test_a_regressor_predicts_every_sample_in_real_units(regressor, small):
    result = predict(regressor.model, small)
    assert result.index.tolist() == small.sample_ids and result.index.name == "sample-id"
    assert list(result.columns) == ["prediction", "lower", "upper", *KNOWN]
    assert (result["lower"] < result["prediction"]).all()
    assert (result["prediction"] < result["upper"]).all()
    truth = small.metadata["gradient"]
    assert truth.min() < result["prediction"].mean() < truth.max()


def test_a_classifier_gives_classes_and_probabilities(classifier, small):
    result = predict(classifier.model, small)
    assert list(result.columns) == ["prediction", "case", "control", *KNOWN]
    chances = result[["case", "control"]]
    assert chances.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-9)
    assert (result["prediction"] == chances.idxmax(axis=1)).all()


def test_classes_that_are_not_words(small, brief):
    names = ["1.0", "07", "NA", "-"]
    values = pd.Series([names[i % 4] for i in range(60)], small.sample_ids)
    config = brief("fitting", {"train.max_steps": 1})
    result = predict(fit_classifier(small, values, config=config), small)
    assert list(result.columns) == ["prediction", *sorted(names), *KNOWN]
    assert set(result["prediction"]) <= set(names)


# --- the numbers do not depend on --------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_batch_size(regressor, classifier, encoder, small, size):
    for model in (regressor.model, classifier.model):
        expected, result = predict(model, small), predict(model, small, batch_size=size)
        pd.testing.assert_frame_equal(result, expected, **CLOSE)
    distances = predicted_distances(encoder.model, small, batch_size=size)
    pd.testing.assert_frame_equal(distances, predicted_distances(encoder.model, small), **CLOSE)


@pytest.mark.parametrize("chunk", [1, 7, 60, 1000])
def test_the_samples_held_at_a_time(regressor, classifier, small, chunk):
    for model in (regressor.model, classifier.folder):
        parts = list(predict_batches(model, small, chunk=chunk, batch_size=4))
        assert [len(part) for part in parts[:-1]] == [chunk] * (len(parts) - 1)
        pd.testing.assert_frame_equal(pd.concat(parts), predict(model, small), **CLOSE)


def test_the_other_samples_of_the_table_and_their_order(regressor, small):
    whole = predict(regressor.model, small)
    some = small.sample_ids[40:3:-4]
    result = predict(regressor.model, small.select(some))
    assert result.index.tolist() == some
    pd.testing.assert_frame_equal(result, whole.loc[some], **CLOSE)


def test_the_order_of_the_features(regressor, small, made):
    table = made.table
    order = np.random.default_rng(0).permutation(table.ids("observation"))
    turned = table.sort_order(order, axis="observation")
    result = predict(regressor.model, turned, sequences=made.sequences)
    pd.testing.assert_frame_equal(result, predict(regressor.model, small), **CLOSE)


def test_the_names_of_the_features(regressor, small, made):
    names = {old: f"ASV {i}" for i, old in enumerate(made.table.ids("observation"))}
    table = made.table.update_ids(names, axis="observation", inplace=False)
    sequences = {names[old]: dna for old, dna in made.sequences.items()}
    result = predict(regressor.model, table, sequences=sequences)
    pd.testing.assert_frame_equal(result, predict(regressor.model, small), **CLOSE)


def test_heads_nobody_asked_for_are_not_run(small, brief, monkeypatch):
    config = brief("pretraining", {"train.max_steps": 1})
    model = fit_regressor(small, "gradient", config=config)
    expected = predict(model, small)
    ran = []
    embed = model.network.distance.embed
    monkeypatch.setattr(
        model.network.distance, "embed", lambda *given: ran.append(1) or embed(*given)
    )
    pd.testing.assert_frame_equal(predict(model, small), expected)
    assert not ran
    predicted_distances(model, small)
    assert ran


def test_how_many_asvs_are_encoded_at_a_time(alone, unseen, monkeypatch):
    expected = predict(alone, unseen.table, sequences=unseen.sequences)
    monkeypatch.setitem(forward._ASVS_AT_A_TIME, "cpu", 3)
    result = predict(alone, unseen.table, sequences=unseen.sequences)
    pd.testing.assert_frame_equal(result, expected, **CLOSE)


def test_too_many_asvs_and_ties(small, made, brief):
    """Which of the rare ASVs are read must not follow the table."""
    changes = {"train.max_steps": 1, "data.max_asvs": 8, "data.rarefaction": "none"}
    model = fit_regressor(small, "gradient", config=brief("fitting", changes))
    order = np.random.default_rng(1).permutation(made.table.ids("observation"))
    turned = made.table.sort_order(order, axis="observation")
    result = predict(model, turned, sequences=made.sequences)
    pd.testing.assert_frame_equal(result, predict(model, small), **CLOSE)


# --- network and forest --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["regressor", "classifier"])
def test_network_and_forest_are_blended_by_the_weight(request, small, name):
    model = request.getfixturevalue(name).model
    columns = ["prediction"] if name == "regressor" else list(model.target.classes)
    network = predict(dataclasses.replace(model, forest=None), small)[columns].to_numpy()
    forest = model.forest.predict(small)
    assert not np.allclose(network, forest, rtol=1e-2)
    for weight in (0.0, 0.3, 1.0):
        blended = predict(dataclasses.replace(model, network_weight=weight), small)
        expected = weight * network + (1 - weight) * forest
        np.testing.assert_allclose(blended[columns].to_numpy(), expected, rtol=1e-6)
        if name == "regressor":
            # The lower bound may end at 0, as the target does.
            assert (blended["upper"] > blended["prediction"]).all()
        else:
            assert (blended["prediction"] == blended[columns].idxmax(axis=1)).all()


@pytest.mark.parametrize("name", ["regressor", "classifier"])
def test_the_numbers_of_a_blend_depend_on_nothing_else(request, small, made, name):
    """Whatever of the blend the forest is."""
    model = request.getfixturevalue(name).model
    for weight in (0.5, 0.0):
        one = dataclasses.replace(model, network_weight=weight)
        expected = predict(one, small)
        parts = pd.concat(predict_batches(one, small, chunk=7, batch_size=4))
        pd.testing.assert_frame_equal(parts, expected, **CLOSE)
        order = np.random.default_rng(0).permutation(made.table.ids("observation"))
        turned = made.table.sort_order(order, axis="observation")
        result = predict(one, turned, sequences=made.sequences)
        pd.testing.assert_frame_equal(result, expected, **CLOSE)


# --- as they come --------------------------------------------------------------------------------


def test_samples_are_read_when_their_part_is_asked_for(regressor, small):
    network, seen = regressor.model.network, []
    first = network.members[0].samples
    hook = first.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    parts = predict_batches(regressor.model, small, chunk=8, batch_size=5)
    assert seen == []
    next(parts)
    assert seen == [5, 3] and torch.is_grad_enabled()
    next(parts)
    assert seen == [5, 3, 5, 3]
    hook.remove()


def test_what_is_wrong_is_said_at_the_call(regressor, encoder, small):
    for words, options in {
        "batch size is 0; it must": {"batch_size": 0},
        "chunk is 0; it must": {"chunk": 0},
        "'toaster' is not there": {"device": "toaster"},
    }.items():
        with pytest.raises(InputError, match=words):
            predict_batches(regressor.model, small, **options)
    with pytest.raises(InputError, match="is an encoder"):
        predict_batches(encoder.model, small)


def test_a_batch_size_that_was_left_to_the_machine(regressor, small):
    config = regressor.model.config.replace({"train.batch_size": "auto"})
    result = predict(dataclasses.replace(regressor.model, config=config), small)
    pd.testing.assert_frame_equal(result, predict(regressor.model, small), **CLOSE)


# --- inputs --------------------------------------------------------------------------------------


def test_asvs_never_seen_and_of_other_lengths(alone, unseen, tmp_path):
    unseen.write(tmp_path)
    model = alone.save(tmp_path / "model")
    files = tmp_path / "table.biom", tmp_path / "rep-seqs.fasta"
    result = predict(str(model), str(files[0]), sequences=str(files[1]))
    assert len(result) == 25 and np.isfinite(result.to_numpy(float)).all()
    assert result["prediction"].nunique() > 20
    same = predict(alone, unseen.table, sequences=unseen.sequences)
    pd.testing.assert_frame_equal(result, same.loc[result.index])


def test_covariates_are_read_from_the_metadata(small, made, brief):
    config = brief("fitting", {"train.max_steps": 2})
    model = fit_regressor(small, "gradient", covariates=["group"], config=config)
    result = predict(model, small)
    files = {"sequences": made.sequences, "metadata": made.metadata}
    again = predict(model, made.table, **files, batch_size=5)
    pd.testing.assert_frame_equal(again.loc[result.index], result, **CLOSE)
    swapped = made.metadata.assign(
        group=made.metadata["group"].map({"case": "control", "control": "case"})
    )
    other = predict(model, made.table, **{**files, "metadata": swapped})
    assert (other["prediction"] - again["prediction"]).abs().min() > 0
    with pytest.raises(InputError, match="reads 1 metadata column .group.: give the metadata"):
        predict(model, made.table, sequences=made.sequences)


def test_an_encoder_predicts_no_metadata(encoder, regressor, small, brief):
    with pytest.raises(InputError, match="is an encoder, which predicts no metadata: fit it"):
        predict(encoder.folder, small)
    bare = fit_regressor(
        small, "gradient", config=brief("fitting", {"train.max_steps": 1, "loss.distance": 0.0})
    )
    with pytest.raises(InputError, match="no distance head"):
        predicted_distances(bare, small)


def test_sequences_longer_than_the_model_accepts(alone, unseen):
    long = {name: dna * 10 for name, dna in unseen.sequences.items()}
    cut = {name: dna[:600] for name, dna in long.items()}
    words = "27 of 40 sequences are longer than data.max_bp = 600.*--long-sequences truncate"
    with pytest.raises(InputError, match=words):
        predict(alone, unseen.table, sequences=long)
    result = predict(alone, unseen.table, sequences=long, long_sequences="truncate")
    expected = predict(alone, unseen.table, sequences=cut)
    pd.testing.assert_frame_equal(result, expected, **CLOSE)
    assert not result.equals(predict(alone, unseen.table, sequences=unseen.sequences))
    with pytest.raises(InputError, match="long_sequences must be"):
        predict(alone, unseen.table, sequences=long, long_sequences="cut")


def test_a_batch_of_nothing(regressor, small):
    with pytest.raises(InputError, match="batch size is 0; it must be at least 1"):
        predict(regressor.model, small, batch_size=0)


def test_a_device_that_is_not_there(regressor, small):
    with pytest.raises(InputError, match="device 'toaster' is not there"):
        predict(regressor.model, small, device="toaster")


def test_bf16_is_near(alone, small):
    exact = predict(alone, small)["prediction"]
    coarse = predict(alone, small, precision="bf16")["prediction"]
    assert coarse.to_numpy() == pytest.approx(exact.to_numpy(), abs=0.2 * exact.std() + 1)
    assert not coarse.equals(exact)


# --- distances -----------------------------------------------------------------------------------


def test_predicted_distances(encoder, small):
    result = predicted_distances(encoder.folder, small)
    values = result.to_numpy()
    assert result.index.tolist() == result.columns.tolist() == small.sample_ids
    assert (values.diagonal() == 0).all()
    assert values == pytest.approx(values.T, abs=1e-6)
    assert values.min() >= 0 and values.max() <= 1 and values.std() > 0


# --- passes, novelty, sets -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawing(small, brief):
    """A regressor that draws ten ASVs of each sample at random, three times."""
    changes = {"data.max_asvs": 10, "data.asv_selection": "random", "ensemble.passes": 3}
    config = brief("fitting", changes | {"forest.trees": 0})
    return fit_regressor(small, "gradient", config=config, group_by="host_subject_id")


def test_passes_give_a_mean_and_a_spread(drawing, small):
    # Of a sample with ten ASVs all are read.
    more = small.counts.getnnz(axis=1) > 10
    assert (drawing.val_predictions["prediction_sd"].to_numpy()[more] > 0).all()
    three, again = predict(drawing, small), predict(drawing, small, batch_size=7)
    assert ((three["prediction_sd"] > 0).to_numpy() == more).all() and more.mean() > 0.5
    pd.testing.assert_frame_equal(three, again, **CLOSE)
    once = predict(drawing, small, passes=1)
    assert "prediction_sd" not in once
    many = [predict(drawing, small, passes=n)["prediction"] for n in (20, 21)]
    # Means of more draws differ less.
    assert (many[0] - many[1]).abs().mean() < 0.5 * (many[0] - once["prediction"]).abs().mean()


def test_passes_of_which_none_differs_are_refused(regressor, small, brief):
    words = "3 passes would all predict the same: no sample has more than"
    with pytest.raises(InputError, match=words):
        predict(regressor.model, small, passes=3)
    with pytest.raises(InputError, match=words):
        fit_regressor(small, "gradient", config=brief("fitting", {"ensemble.passes": 3}))


def test_passes_are_refused_where_no_target_has_networks(drawing, regressor, small):
    trees = dataclasses.replace(
        drawing, forest=regressor.model.forest, network_weight=0.0, intervals=()
    )
    with pytest.raises(InputError, match="the blend weight of the networks is 0"):
        predict(trees, small, passes=2)
    task = dataclasses.replace(drawing.task, column="other")
    two = dataclasses.replace(trees, more=[dataclasses.replace(drawing, target=task)])
    assert "other_prediction_sd" in predict(two, small, passes=2)


def test_sets_of_classes_where_a_confidence_is_asked_for(classifier, small):
    table = predict(classifier.model, small, confidence=0.9)
    sets = table["prediction_set"].str.split("|")
    assert all(set(names) <= {"case", "control"} for names in sets)
    assert all(one in names for one, names in zip(table["prediction"], sets, strict=True))
    narrow = predict(classifier.model, small, confidence=0.1)["prediction_set"].str.split("|")
    assert narrow.str.len().sum() <= sets.str.len().sum()


def test_another_community_is_far_and_held_out_samples_are_not(caplog):
    # Of few subjects a new one is often farther than all of them.
    made, other = simulate(240, 60, 3, sequence_length=50), simulate(40, 60, 77, sequence_length=50)
    here, there = (
        load_study(it.table, sequences=it.sequences, metadata=it.metadata) for it in (made, other)
    )
    settings = {"train.max_steps": 10, "forest.trees": 0, "train.threads": 1}
    options = {"config": settings, "preset": "tiny", "group_by": "host_subject_id"}
    model = fit_regressor(here.select(here.sample_ids[:160]), "gradient", **options)
    with caplog.at_level("WARNING", "aam_core"):
        held_out = predict(model, here.select(here.sample_ids[160:]))["novelty"]
        assert "farther from the training samples" not in caplog.text
        elsewhere = predict(model, there)["novelty"]
    assert caplog.text.count("farther from the training samples") == 1
    assert held_out.mean() < 0.7 and (held_out > 0.99).mean() < 0.1
    assert (elsewhere > 0.99).mean() > 0.5
