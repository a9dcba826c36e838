from __future__ import annotations

import pytest
import torch

from aam_core.errors import InputError, Preempted
from aam_core.fitting import fit_regressor
from aam_core.prediction import predict

SETTINGS = {"train.val_fraction": 0.3, "model.sample.dropout": 0.2}


@pytest.mark.slow
def test_two_processes_fit_what_one_does(small, brief):
    one, two = (
        fit_regressor(
            small,
            "gradient",
            group_by="host_subject_id",
            config=brief("fitting", {**SETTINGS, "train.devices": devices}),
        )
        for devices in (1, 2)
    )
    assert two.run["processes"] == 2 and two.config.train.devices == 2
    assert two.val_samples == one.val_samples
    assert two.run["notes"] == one.run["notes"]
    assert two.metrics.keys() == one.metrics.keys()
    # approx takes no lists of dictionaries.
    fifths, expected = (run.metrics["interval"].pop("quintiles") for run in (two, one))
    for ours, theirs in zip(fifths, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    for name, values in one.metrics.items():
        assert two.metrics[name] == pytest.approx(values, rel=1e-3), name
    for name, weight in one.network.state_dict().items():
        torch.testing.assert_close(
            two.network.state_dict()[name], weight, rtol=1e-3, atol=1e-4, msg=name
        )


@pytest.mark.slow
def test_an_error_of_several_processes_is_one_line(small, brief, tmp_path, capfd):
    settings = brief("fitting", {"train.devices": 2})
    with pytest.raises(InputError) as alone:
        fit_regressor(small, "group", config=brief(), output=tmp_path / "one")
    with pytest.raises(InputError) as spread:
        fit_regressor(small, "group", config=settings, output=tmp_path / "two")
    assert str(spread.value) == str(alone.value)
    assert "Traceback" not in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_on_epoch_is_refused_with_several_processes(small, brief):
    with pytest.raises(InputError, match="on_epoch is called within this process"):
        fit_regressor(
            small,
            "gradient",
            config=brief("fitting", {"train.devices": 2}),
            on_epoch=lambda epoch, values: None,
        )


@pytest.mark.slow
def test_two_processes_draw_the_passes_of_one(small, brief):
    drawn = {"data.max_asvs": 10, "data.asv_selection": "random", "ensemble.passes": 3}
    settings = {**SETTINGS, **drawn, "train.max_steps": 2, "forest.trees": 0}
    one, two = (
        fit_regressor(small, "gradient", config=brief("fitting", {**settings, "train.devices": n}))
        for n in (1, 2)
    )
    assert two.run["processes"] == 2
    # Samples of at most 10 ASVs are drawn whole.
    assert (two.val_predictions["prediction_sd"] > 0).mean() > 0.5
    for ours, theirs in (
        (two.val_predictions, one.val_predictions),
        (predict(two, small), predict(one, small)),
    ):
        assert "prediction_sd" in ours
        numbers = theirs.select_dtypes("number").columns
        assert ours[numbers].to_numpy() == pytest.approx(theirs[numbers].to_numpy(), rel=1e-3)


def test_a_stop_without_an_output_folder_names_none(small, brief, monkeypatch, tmp_path):
    def stopped(*_, **__):
        raise Preempted("Stopped by a signal after step 3; continue with --resume /x/model", 15)

    monkeypatch.setattr("aam_core.training.launch.devices.run_in_processes", stopped)
    config = brief("fitting", {"train.devices": 2})
    with pytest.raises(Preempted) as stop:
        fit_regressor(small, "gradient", config=config)
    assert (str(stop.value), stop.value.signal) == ("Stopped by a signal after step 3", 15)
    with pytest.raises(Preempted, match="--resume /x/model"):
        fit_regressor(small, "gradient", config=config, output=tmp_path / "model")
