"""The flags agree with the configuration's fields."""

from __future__ import annotations

import click
import pytest

from aam_core.cli import cli
from aam_core.cli.options import read_ids
from aam_core.config import EVERYDAY, find, presets

CONFIGURED = {
    "pretrain": "pretraining",
    "fit-regressor": "fitting",
    "fit-classifier": "fitting",
    "cross-validate": "fitting",
}


def parameters(name):
    return {option.name: option for option in cli.get_command(None, name).params}


@pytest.mark.parametrize("command, kind", CONFIGURED.items())
@pytest.mark.parametrize("name, path", EVERYDAY.items())
def test_flag_of_a_field(command, kind, name, path):
    option = parameters(command)[name]
    field = find(path)
    assert option.opts == [f"--{name.replace('_', '-')}"]
    assert option.default is None  # not given: the preset decides
    assert field.metadata["help"] in option.help
    if (kind, name) == ("fitting", "sampling_depth"):
        assert "Where not given, all reads are read.  [at least 1]" in option.help
    elif (kind, name) == ("fitting", "epochs"):
        assert "Where not given, 10, or as many as make 500 steps (train.min_steps)" in option.help
        assert "[default: 10" not in option.help
    else:
        shown = presets.find_preset(kind).at(path)
        assert f"[default: {shown}" in option.help
    convert = option.type.convert
    assert convert(str(field.default), None, None) == field.default
    assert type(convert(str(field.default), None, None)) is type(field.default)
    for bound, beyond in (("minimum", -1), ("maximum", 1)):
        limit = field.metadata[bound]
        if limit is not None:
            assert f"{limit:.10g}" in option.help
            assert convert(str(limit), None, None) == limit
            with pytest.raises(click.BadParameter, match=f"{limit}"):
                convert(str(limit + beyond), None, None)
    if field.metadata["choices"]:
        assert all(choice in option.metavar for choice in field.metadata["choices"])
        with pytest.raises(click.BadParameter, match="must be one of"):
            convert("something else", None, None)


def test_defaults_and_bounds_can_be_read():
    options = parameters("fit-regressor")
    assert options["units"].help.endswith("[default: none]")
    assert options["seed"].help.endswith("[default: 0; 0 to 4294967295]")


def test_help_has_the_defaults_of_many_studies():
    text = parameters("pretrain")["study"].help
    assert "--epochs 20" in text and "--val-fraction 0.1" in text and "--seed" not in text


@pytest.mark.parametrize("command", CONFIGURED)
def test_preset_choices(command):
    option = parameters(command)["preset"]
    assert list(option.type.choices) == list(presets.NAMES)
    assert option.default == presets.DEFAULT


@pytest.mark.parametrize("command", CONFIGURED)
def test_help_says_that_an_encoder_brings_its_sizes(command):
    options = parameters(command)
    assert "model.encoder, model.sample" in options["encoder"].help
    assert "--encoder" in options["preset"].help


def test_help_of_cross_validation_warns_of_what_the_encoder_saw():
    assert "without their labels" in parameters("cross-validate")["encoder"].help


SCRIPTED = {
    "simulate": "OUT_DIR --samples --features --seed",
    "pretrain": "--table --tree --sequences --distances --output --preset --epochs --max-steps "
    "--seed --device --set --config --group-by",
    "fit-regressor": "--table --metadata --target --sequences --tree --encoder --freeze-encoder "
    "--group-by --val-fraction --output --preset --epochs --set --config --where "
    "--train-samples --val-samples",
    "predict": "--table --sequences --model --output",
    "evaluate": "--predictions --metadata --target --output",
    "cross-validate": "--table --metadata --target --group-by --where --folds --task --baseline "
    "--no-baseline --output --preset --sequences --tree --encoder --freeze-encoder",
    "unifrac": "--table --tree --metric --alpha --output",
}
SCRIPTED["fit-classifier"] = SCRIPTED["fit-regressor"]


@pytest.mark.parametrize("command, names", SCRIPTED.items())
def test_names_that_others_script(aam, command, names):
    words = aam(command, "--help").out.replace(",", " ").split()
    assert set(names.split()) <= set(words)


@pytest.mark.parametrize("command", CONFIGURED)
def test_illegal_value_is_one_line(refuses, command):
    assert "epochs must be at least 1, not 0" in refuses(command, "--epochs", "0")
    assert "epochs must be a whole number, not 'x'" in refuses(command, "--epochs", "x")
    assert "tiny" in refuses(command, "--preset", "huge")


def test_ids_one_a_line(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_bytes(b"\xef\xbb\xbf007\r\n 2538.10 \n\nS 3\n")
    assert read_ids(path) == ["007", "2538.10", "S 3"]
