"""What predictions say of ASVs and samples that the model knows."""

from __future__ import annotations

import dataclasses
import logging

import pandas as pd
import pytest

from aam_core import log
from aam_core.data.known_asvs import KNOWN_COLUMNS
from aam_core.errors import InputError
from aam_core.fitting import fit_classifier, fit_regressor
from aam_core.model import Model
from aam_core.models.network import Network, Parts
from aam_core.prediction import predict
from aam_core.pretrained import log_known_asvs
from aam_core.pretraining import pretrain
from aam_core.simulate.study import simulate
from aam_core.tasks.prediction_columns import IN_TRAINING


def turned(study):
    turn = str.maketrans("ACGT", "TGCA")
    return dataclasses.replace(study, sequences=[s.translate(turn)[::-1] for s in study.sequences])


def renamed(study):
    """The study with samples that no model was trained on."""
    names = [f"new-{name}" for name in study.sample_ids]
    return dataclasses.replace(study, sample_ids=names, metadata=study.metadata.set_axis(names))


@pytest.fixture
def lines():
    """What is logged while a test runs, with the level of warnings before it."""

    class Lines(list):
        def emit(self, record):
            level = "warning: " if record.levelno >= logging.WARNING else ""
            self.append(level + record.getMessage())

    lines, handler = Lines(), logging.Handler()
    handler.emit = lines.emit
    log.logger.addHandler(handler)
    yield lines
    log.logger.removeHandler(handler)


@pytest.mark.parametrize("kind", ["regressor", "classifier"])
def test_predictions_tell_what_the_model_knows(request, kind, small, lines):
    model = request.getfixturevalue(kind).model
    lines.clear()  # those of the fit
    table = predict(model, renamed(small))
    assert (table[list(KNOWN_COLUMNS)] == 1).all(axis=None) and not table[IN_TRAINING].any()
    assert len(lines) == 1 and lines[0].startswith("100.00 % of the reads are of ASVs")
    lines.clear()
    model = dataclasses.replace(model, novelty=None)  # which may have a warning of its own
    other = predict(model, turned(renamed(small)))
    assert (other["known_reads"] == 0).all() and (other["known_kmers"] < 0.3).all()
    assert len(lines) == 2 and "reverse complements of 60 are: turn" in lines[1]


def test_samples_of_the_training_are_named(regressor, small, lines):
    some = small.sample_ids[:7]
    study = dataclasses.replace(small, sample_ids=[*some, *renamed(small).sample_ids[7:]])
    table = predict(regressor.model, study)
    assert table[IN_TRAINING].tolist() == [True] * 7 + [False] * 53
    assert lines[1].startswith("warning: 7 of these 60 samples (by id)")
    assert f"({', '.join(some[:5])} and 2 more)" in lines[1]


def test_what_was_learned_of_is_the_training_side(small, brief, lines):
    """ASVs of the samples that validate alone are new to the model."""
    counts = small.counts.tolil()
    train, val = small.sample_ids[:40], small.sample_ids[40:]
    counts[:40, 0] = 0
    counts[40:, 0] = 50
    study = dataclasses.replace(small, counts=counts.tocsr())
    config = brief("fitting", {"train.max_steps": 1})
    model = fit_regressor(study, "gradient", split=(train, val), config=config)
    lines.clear()
    table = predict(model, renamed(study))
    assert (table["known_reads"][:40] == 1).all() and (table["known_reads"][40:] < 1).all()
    assert "59 of 60 ASVs" in lines[0]


def test_validation_predictions_are_out_of_fold_and_say_nothing(regressor, classifier):
    for model in (regressor.model, classifier.model):
        assert not {*KNOWN_COLUMNS, IN_TRAINING} & set(model.val_predictions.columns)


# --- models of an earlier AAM --------------------------------------------------------------------


def test_an_earlier_model_knows_the_asvs_of_its_forest(regressor, small, lines):
    model = dataclasses.replace(regressor.model, known=None)
    table = predict(model, renamed(small))
    assert "an earlier AAM" in lines[0] and len(lines) == 2
    whole = len(model.forest.sequences)
    assert f"({whole} of 60 ASVs)" in lines[1]
    assert table["known_reads"].between(0.3, 1).all()


def test_an_earlier_model_without_a_forest_does_not_tell(regressor, small, lines):
    model = dataclasses.replace(regressor.model, known=None, forest=None, novelty=None)
    table = predict(model, renamed(small))
    assert list(table.columns) == ["prediction", "lower", "upper", IN_TRAINING]
    assert lines == ["an earlier AAM saved this model: which ASVs it was fitted on is not known"]


def test_classes_called_as_the_columns(classifier, small):
    """No fit makes them any more; an earlier one may have."""
    values = small.metadata["group"].replace({"case": "known_reads", "control": IN_TRAINING})
    with pytest.raises(InputError, match="classes that are columns of the pred.*: in_training, kn"):
        fit_classifier(small, values)
    target = dataclasses.replace(classifier.model.target, classes=(IN_TRAINING, "known_reads"))
    earlier = dataclasses.replace(classifier.model, target=target, novelty=None)
    table = predict(earlier, renamed(small))
    assert list(table.columns) == ["prediction", IN_TRAINING, "known_reads", "known_kmers"]
    chances = table[[IN_TRAINING, "known_reads"]]
    pd.testing.assert_series_equal(
        chances.sum(axis=1), pd.Series(1.0, chances.index), check_names=False
    )


# --- encoders ------------------------------------------------------------------------------------


def test_a_fit_says_what_its_encoder_knows(small, encoder, brief, lines):
    config = brief("fitting", {"train.max_steps": 1})
    fit_regressor(small, "gradient", encoder=encoder.folder, config=config)
    known = [line for line in lines if "the encoder was trained on" in line]
    assert len(known) == 1 and "100.00 % of the reads are of ASVs that" in known[0]
    assert not any(line.startswith("warning") for line in lines)
    fit_regressor(turned(small), "gradient", encoder=encoder.folder, config=config)
    (warning,) = (line for line in lines if line.startswith("warning"))
    assert "none of the 60 ASVs is one that the encoder was trained on; reverse compl" in warning
    lines.clear()
    model = pretrain(turned(small), encoder=encoder.folder, config=brief("pretraining"))
    assert any("reverse complements of 60 are" in line for line in lines)
    assert model.known.compare(turned(small)).known.all()


def test_other_asvs_of_the_region_are_no_reason_to_warn(small, encoder, as_study, lines):
    similar = dataclasses.replace(small, sequences=[dna[1:] for dna in small.sequences])
    log_known_asvs(encoder.model, similar, log.labelled("fit"))
    assert len(lines) == 1
    other = as_study(simulate(20, 60, 33, sequence_length=50))
    log_known_asvs(encoder.model, other, log.labelled("fit"))
    assert len(lines) == 3 and "another region or gene" in lines[2]


def test_an_earlier_encoder_does_not_tell(small, brief, lines):
    config = brief("pretraining")
    bare = Model("encoder", config, Network(config.model, Parts(nucleotide=True)))
    log_known_asvs(bare, small, log.labelled("fit"))
    assert lines == [
        "fit: an earlier AAM saved the encoder: which ASVs it was trained on is not known"
    ]


def test_levels_of_a_covariate_that_training_did_not_see(small, brief, lines):
    config = brief("fitting", {"train.max_steps": 1})
    model = fit_regressor(small, "gradient", covariates=["group"], config=config)
    lines.clear()
    other = small.metadata.assign(group=["somewhere else"] * 4 + ["case"] * 56)
    predict(model, renamed(dataclasses.replace(small, metadata=other)))
    assert len(lines) == 2 and lines[1].startswith("warning: covariate 'group': 4 of 60 samples")
