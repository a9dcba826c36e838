"""The command line and Python give the same configuration for the same words."""

from __future__ import annotations

import click
import pytest

from aam_core.cli.settings import config_options
from aam_core.config.resolve import configured

WORDS = [
    ([], {}),
    (["--preset", "tiny"], {"preset": "tiny"}),
    (["--preset", "tiny", "--epochs", "3"], {"config": "tiny", "epochs": 3}),
    (["--config", "run.yaml", "--lr", "0.5"], {"config": "run.yaml", "lr": 0.5}),
    (["--config", "run.yaml", "--epochs", "2"], {"config": "run.yaml", "epochs": 2}),
    (["--batch-size", "auto", "--max-memory-gb", "2"], {"batch_size": "auto", "max_memory_gb": 2}),
    (["--sampling-depth", "700"], {"sampling_depth": 700}),
    (["--set", "loss.target=mse", "--seed", "4"], {"config": {"loss.target": "mse"}, "seed": 4}),
    (["--set", "train.epochs=2"], {"config": {"train": {"epochs": 2}}}),
]


@pytest.mark.parametrize("kind", ["pretraining", "fitting"])
@pytest.mark.parametrize("flags, keywords", WORDS)
def test_same_words_same_configuration(kind, flags, keywords, tmp_path, monkeypatch):
    (tmp_path / "run.yaml").write_text("train: {epochs: 7}\nmodel: {encoder: {depth: 3}}\n")
    monkeypatch.chdir(tmp_path)

    @click.command()
    @config_options(kind)
    def command(config):
        return config

    @configured(kind)
    def function(*, config=None, preset=None, **settings):
        return config

    from_command = command.main(flags, standalone_mode=False)
    from_python = function(**keywords)
    assert from_command == from_python
    assert from_command.explicit == from_python.explicit
