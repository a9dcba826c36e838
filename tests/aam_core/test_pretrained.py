from __future__ import annotations

import pytest
import torch

from aam_core.config import presets
from aam_core.errors import InputError
from aam_core.model import Model
from aam_core.models.network import Network, Parts
from aam_core.pretrained import load_encoder, sizes_in_words, with_sizes_of


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
    assert with_sizes_of(config, None) is config


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
    result = with_sizes_of(ours, pretrained)
    theirs = pretrained.config.model
    for name in ("width", "heads", "depth", "stride", "kernel", "kmer", "mlp_ratio"):
        assert getattr(result.model.encoder, name) == getattr(theirs.encoder, name), name
    for name in ("heads", "depth", "mlp_ratio", "pool_queries"):
        assert getattr(result.model.sample, name) == getattr(theirs.sample, name), name
    assert result.model.head.distance_width == theirs.head.distance_width
    assert (result.model.encoder.dropout, result.model.sample.dropout) == (0.3, 0.4)
    assert result.model.sample.asv_dropout == 0.5
    assert (result.model.head.target_hidden, result.model.head.target_dropout) == (24, 0.6)
    assert result.model.fusion.kind == "gmu"
    for section in ("data", "loss", "optim", "train"):
        assert getattr(result, section) == getattr(ours, section)


def test_what_was_replaced_is_named_in_one_line(pretrained):
    mine = {"sample.dropout": 0.4, "encoder.dropout": 0.2, "fusion.kind": "gmu", "members": 3}
    ours = presets.pretraining("tiny").replace({f"model.{k}": v for k, v in mine.items()})
    result = with_sizes_of(ours, pretrained)
    assert sizes_in_words(ours, result) == "sizes are the encoder's: encoder.depth 2 (not 1)"
    assert sizes_in_words(result, with_sizes_of(result, pretrained)) == ""
    assert (result.model.sample.dropout, result.model.encoder.dropout) == (0.4, 0.2)
    assert result.model.members == 3
    ours = ours.replace({"model.members": 10})
    most = "at most 3 members from an encoder (not 10)"
    result = with_sizes_of(ours, pretrained)
    assert result.model.members == 3
    assert (
        sizes_in_words(ours, result) == f"sizes are the encoder's: encoder.depth 2 (not 1); {most}"
    )
    assert sizes_in_words(result.replace({"model.members": 10}), result) == most
    ours = presets.pretraining("small").replace({"model.head.distance": "euclidean"})
    text = sizes_in_words(ours, with_sizes_of(ours, pretrained))
    for part in ("encoder.width 32 (not 64)", "sample.depth 1 (not 2)", "head.distance union (not"):
        assert part in text
    assert "dropout" not in text and "\n" not in text


# --- weights -------------------------------------------------------------------------------------


def theirs(name):
    """Name of the encoder's tensor that serves as this one: each member has those of its first."""
    pieces = name.split(".")
    return ".".join(["members", "0", *pieces[2:]]) if pieces[0] == "members" else name


@pytest.mark.parametrize("members", [1, 3])
def test_every_common_weight_is_copied_to_each_member(pretrained, members):
    config = with_sizes_of(presets.fitting("small").replace({"model.members": members}), pretrained)
    fresh = network(config, Parts(distance=True, outputs=1))
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    lines = load_encoder(fresh, pretrained)
    val = pretrained.network.state_dict()
    for name, tensor in fresh.state_dict().items():
        expected = before[name] if ".target." in name else val[theirs(name)]
        assert torch.equal(tensor, expected), name
    common = [name for name in before if ".target." not in name]
    assert len([name for name in common if name.startswith("members.")]) % members == 0
    numbers = sum(val[theirs(name)].numel() for name in common)
    assert lines[0] == f"loaded {len(common)} of {len(before)} tensors ({numbers:,} parameters)"
    new = sorted(set(before) - set(common))
    assert lines[1].startswith(f"{len(new)} tensors missing in the encoder, new: {new[0]}, ")
    assert new[0] == "members.0.target.hidden.bias"
    unused = [name for name in val if name.startswith("nucleotide.")]
    assert lines[2].startswith(f"{len(unused)} tensors unexpected, not used: nucleotide.")
    assert len(lines) == 3 and not any("\n" in line for line in lines)


def test_the_profile_goes_along_with_what_has_read_it(pretrained, small):
    """And its components, which do not learn, are no parameters."""
    sizes = {"model.encoder.features": "both", "model.encoder.components": 5}
    config = pretrained.config.replace(sizes)
    encoder = Model("encoder", config, network(config, Parts(distance=True)))
    encoder.network.profile.fit(torch.from_numpy(small.tokens(config.data)))
    result = with_sizes_of(presets.fitting("tiny").replace({"model.members": 2}), encoder)
    assert result.model.encoder.features == "both" and result.model.encoder.components == 5
    fresh = network(result, Parts(outputs=1))
    lines = load_encoder(fresh, encoder)
    assert encoder.network.profile.components.any()
    assert torch.equal(fresh.profile.components, encoder.network.profile.components)
    for member in fresh.members:
        assert torch.equal(member.project.weight, encoder.network.members[0].project.weight)
    taken = [p.numel() for name, p in fresh.named_parameters() if ".target." not in name]
    assert f"({sum(taken):,} parameters)" in lines[0]


def test_a_fitted_ensemble_gives_the_weights_of_its_first_member(pretrained):
    config = with_sizes_of(presets.fitting("tiny").replace({"model.members": 3}), pretrained)
    fitted = Model("regressor", config, network(config, Parts(outputs=1)))
    fresh = network(config, Parts(outputs=2), seed=5)
    lines = load_encoder(fresh, fitted)
    first = fitted.network.members[0].samples.state_dict()
    for member in fresh.members:
        for name, tensor in member.samples.state_dict().items():
            assert torch.equal(tensor, first[name]), name
    assert any("tensors unexpected, not used: members.0.target." in line for line in lines)


def test_going_on_from_an_encoder(pretrained):
    config = with_sizes_of(presets.pretraining("small"), pretrained)
    again = network(config, Parts(nucleotide=True, distance=True))
    (line,) = load_encoder(again, pretrained)
    total = len(again.state_dict())
    assert line.startswith(f"loaded {total} of {total} tensors (")
    assert all(
        torch.equal(tensor, pretrained.network.state_dict()[name])
        for name, tensor in again.state_dict().items()
    )


def test_an_encoder_is_left_alone(pretrained):
    fresh = network(with_sizes_of(presets.fitting(), pretrained), Parts(outputs=1))
    before = {name: tensor.clone() for name, tensor in pretrained.network.state_dict().items()}
    load_encoder(fresh, pretrained)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.add_(1)
    val = pretrained.network.state_dict()
    assert all(torch.equal(before[name], val[name]) for name in before)


def test_an_encoder_of_other_sizes(pretrained):
    """What fits is taken, and what does not is named."""
    deeper = pretrained.config.replace({"model.sample.mlp_ratio": 3.0, "model.sample.depth": 2})
    fresh = network(deeper, Parts(distance=True, outputs=1))
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    lines = load_encoder(fresh, pretrained)
    val, after = pretrained.network.state_dict(), fresh.state_dict()
    other = [n for n in before if n in val and val[n].shape != before[n].shape]
    layers = {name.split("blocks.0.")[1] for name in other}
    assert layers == {"up.weight", "up.bias", "down.weight"}
    assert all(torch.equal(before[name], after[name]) for name in other)
    fits = [n for n in before if n in val and n not in other]
    assert lines[0].startswith(f"loaded {len(fits)} of {len(before)} tensors (")
    assert all(torch.equal(val[name], after[name]) for name in fits)
    assert f"{len(other)} tensors of another shape, new: {', '.join(sorted(other))}" in lines
    missing = next(line for line in lines if "missing in the encoder" in line)
    assert "members.0.samples.blocks.1." in missing and "more" in missing  # five by name


def test_nothing_of_an_encoder_fits(pretrained):
    fresh = network(presets.fitting("base").replace({"model.sample.pool_queries": 3}), Parts())
    with pytest.raises(InputError, match="The encoder does not fit this model: of its ") as caught:
        load_encoder(fresh, pretrained)
    assert "\n" not in str(caught.value)


def test_members_with_fourier_features_start_from_one_with_them(pretrained):
    """Of a fitted ensemble of both kinds, whose weights of members go no further."""
    sizes = {"features": "profile", "components": 5, "codes": 3}
    config = pretrained.config.replace({f"model.encoder.{k}": v for k, v in sizes.items()})
    config = config.replace({"model.members": 4})
    fitted = Model("regressor", config, network(config, Parts(outputs=1)))
    fitted.network.set_fourier_weight(0.8)
    result = with_sizes_of(presets.fitting("small").replace({"model.members": 3}), fitted)
    assert result.model.encoder.codes == 3
    fresh = network(result, Parts(outputs=1), seed=5)
    lines = load_encoder(fresh, fitted)
    assert fresh.fourier_members.tolist() == [False, False, True]
    for member, source in zip(fresh.members, (0, 0, 2), strict=True):
        assert torch.equal(member.project.weight, fitted.network.members[source].project.weight)
    assert fresh.member_weight.tolist() == [1.0] * 3
    assert not any("another shape" in line or "member_weight" in line for line in lines)


def test_a_fitted_model_gives_no_target_head(small, brief, classifier, capsys):
    from aam_core.fitting import fit_regressor

    config = brief("fitting", {"train.max_steps": 1})
    model = fit_regressor(small, "gradient", encoder=classifier.model, config=config)
    assert model.network.parts.outputs == 1
    message = capsys.readouterr().err
    assert "tensors missing in the encoder, new: members.0.target." in message
    assert "tensors unexpected, not used: members." in message
