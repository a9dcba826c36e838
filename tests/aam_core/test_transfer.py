from __future__ import annotations

import pytest
import torch

from aam_core import presets
from aam_core.artifact import Model
from aam_core.errors import InputError
from aam_core.models.model import Network, Parts
from aam_core.transfer import adopt, load_encoder, replaced


@pytest.fixture
def pretrained():
    torch.manual_seed(1)
    config = presets.pretraining("tiny").replace({"model.encoder.depth": 2})
    return Model("encoder", config, Network(config.model, Parts(nucleotide=True, distance=True)))


def network(config, parts, seed=2):
    torch.manual_seed(seed)
    return Network(config.model, parts)


# --- sizes ---------------------------------------------------------------------------------------


def test_no_encoder_changes_nothing():
    config = presets.fitting()
    assert adopt(config, None) is config


def test_sizes_are_the_encoders_and_the_rest_is_ours(pretrained):
    ours = presets.fitting("base").replace(
        {
            "model.encoder.dropout": 0.3,
            "model.sample.dropout": 0.4,
            "model.sample.asv_dropout": 0.5,
            "model.head.target_hidden": 24,
            "model.head.target_dropout": 0.6,
            "model.fusion.kind": "gmu",
        }
    )
    found = adopt(ours, pretrained)
    theirs = pretrained.config.model
    for name in ("width", "heads", "depth", "stride", "kernel", "kmer", "mlp_ratio"):
        assert getattr(found.model.encoder, name) == getattr(theirs.encoder, name), name
    for name in ("heads", "depth", "mlp_ratio", "pool_queries"):
        assert getattr(found.model.sample, name) == getattr(theirs.sample, name), name
    assert found.model.head.distance_width == theirs.head.distance_width
    assert (found.model.encoder.dropout, found.model.sample.dropout) == (0.3, 0.4)
    assert found.model.sample.asv_dropout == 0.5
    assert (found.model.head.target_hidden, found.model.head.target_dropout) == (24, 0.6)
    assert found.model.fusion.kind == "gmu"
    for section in ("data", "loss", "optim", "train"):
        assert getattr(found, section) == getattr(ours, section)


def test_what_was_replaced_is_named_in_one_line(pretrained):
    ours = presets.fitting("tiny").replace(
        {"model.sample.dropout": 0.4, "model.encoder.dropout": 0.2, "model.fusion.kind": "gmu"}
    )
    found = adopt(ours, pretrained)
    assert replaced(ours, found) == "sizes are the encoder's: encoder.depth 2 (not 1)"
    assert replaced(found, adopt(found, pretrained)) == ""
    assert (found.model.sample.dropout, found.model.encoder.dropout) == (0.4, 0.2)
    ours = presets.fitting("small").replace({"model.head.distance": "euclidean"})
    text = replaced(ours, adopt(ours, pretrained))
    for part in ("encoder.width 32 (not 64)", "sample.depth 1 (not 2)", "head.distance union (not"):
        assert part in text
    assert "dropout" not in text and "\n" not in text


# --- weights -------------------------------------------------------------------------------------


def test_every_common_weight_is_copied(pretrained):
    config = adopt(presets.fitting("small"), pretrained)
    fresh = network(config, Parts(distance=True, outputs=1))
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    text = load_encoder(fresh, pretrained)
    held = pretrained.network.state_dict()
    for name, tensor in fresh.state_dict().items():
        expected = before[name] if name.startswith("target.") else held[name]
        assert torch.equal(tensor, expected), name
    common = [name for name in before if not name.startswith("target.")]
    assert text.startswith(f"loaded {len(common)} of {len(before)} tensors (")
    assert text.endswith("new: target.")


def test_going_on_from_an_encoder(pretrained):
    config = adopt(presets.pretraining("small"), pretrained)
    again = network(config, Parts(nucleotide=True, distance=True))
    assert "new:" not in load_encoder(again, pretrained)
    assert all(
        torch.equal(tensor, pretrained.network.state_dict()[name])
        for name, tensor in again.state_dict().items()
    )


def test_an_encoder_is_left_alone(pretrained):
    fresh = network(adopt(presets.fitting(), pretrained), Parts(outputs=1))
    before = {name: tensor.clone() for name, tensor in pretrained.network.state_dict().items()}
    load_encoder(fresh, pretrained)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.add_(1)
    held = pretrained.network.state_dict()
    assert all(torch.equal(before[name], held[name]) for name in before)


def test_an_encoder_of_other_sizes(pretrained):
    fresh = network(presets.fitting("base"), Parts(outputs=1))
    with pytest.raises(InputError, match="does not fit .* tensors have another shape .bases") as e:
        load_encoder(fresh, pretrained)
    assert "\n" not in str(e.value)


def test_a_fitted_model_gives_no_target_head(small, brief, classifier, capsys):
    from aam_core.workflows import fit_regressor

    config = brief("fitting", {"train.max_steps": 1})
    model = fit_regressor(small, "gradient", encoder=classifier.model, config=config)
    assert model.network.parts.outputs == 1
    assert "new: target." in capsys.readouterr().err
