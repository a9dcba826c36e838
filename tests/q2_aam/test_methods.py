"""Training methods, on the tiny study of the usage examples."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import biom
import numpy as np
import pandas as pd
import pytest
import qiime2
import skbio

from aam_core.model import Model
from q2_aam import Details, PredictionsFormat, ProbabilitiesFormat
from q2_aam._predictions import read_predictions, read_probabilities
from q2_aam.examples import study as examples

QUICK = examples.QUICK


class TestPretrain:
    def test_from_a_phylogeny(
        self,
    ):
        model = examples.encoder().view(Model)
        assert model.kind == "encoder"
        assert model.config.train.max_steps == 2

    def test_from_distances(self, methods):
        ids = methods.table.view(biom.Table).ids()
        points = np.random.default_rng(0).random((len(ids), 3))
        matrix = np.abs(points[:, None] - points[None]).mean(axis=2)
        distances = qiime2.Artifact.import_data("DistanceMatrix", skbio.DistanceMatrix(matrix, ids))
        (encoder,) = methods.run("pretrain", distances=distances, **QUICK)
        assert str(encoder.type) == "AAMEncoder"

    def test_goes_on_from_an_encoder(self, methods):
        (encoder,) = methods.run(
            "pretrain",
            phylogeny=examples.phylogeny(),
            initial_encoder=examples.encoder(),
            group_by=methods.column("host_subject_id"),
            **QUICK,
        )
        assert str(encoder.type) == "AAMEncoder"

    def test_on_two_processes(self, methods):
        options = {"phylogeny": examples.phylogeny(), **QUICK}
        one, two = (methods.run("pretrain", devices=n, **options)[0].view(Model) for n in (1, 2))
        assert (one.run["processes"], two.run["processes"]) == (1, 2)
        assert two.metrics["losses"] == pytest.approx(one.metrics["losses"], 1e-4)

    def test_a_taxonomy_is_learned(self, methods):
        ids = methods.table.view(biom.Table).ids(axis="observation")
        taxa = [f"k__Any; p__{i % 2}" for i in range(len(ids))]
        frame = pd.DataFrame({"Taxon": taxa}, index=pd.Index(ids, name="Feature ID"))
        taxonomy = qiime2.Artifact.import_data("FeatureData[Taxonomy]", frame)
        (encoder,) = methods.run(
            "pretrain",
            taxonomy=taxonomy,
            **examples.quick("loss.distance=0", "loss.taxonomy_min_asvs=1"),
        )
        run = json.loads(methods.saved(encoder, "run.json"))
        assert run["taxonomy"]["ranks"] == ["phylum"]

    def test_without_phylogeny_or_distances(self, methods):
        methods.refuses("tree|phylogeny|distances", "pretrain", **QUICK)

    def test_settings_reach_the_model(self, methods):
        (encoder,) = methods.run(
            "pretrain", **examples.quick("loss.metric=braycurtis", "model.sample.depth=0")
        )
        config = json.loads(methods.saved(encoder, "config.json"))["config"]
        assert config["loss"]["metric"] == "braycurtis"
        assert config["model"]["sample"]["depth"] == 0


class TestFit:
    def test_predictions_are_those_of_the_held_out_samples(self, methods):
        regressor, predictions = examples.regressor(), examples.regressor_predictions()
        actual = read_predictions(predictions.view(PredictionsFormat)).astype(float)
        held_out = methods.saved(regressor, "val_samples.txt").split()
        assert sorted(actual.index) == sorted(held_out) == sorted(methods.metadata.ids)
        np.testing.assert_allclose(
            actual, regressor.view(Model).val_predictions["prediction"][actual.index], rtol=1e-6
        )

    def test_group_by_keeps_subjects_whole(self, methods):
        subjects = methods.column("host_subject_id").to_series()
        for seed in (0, 1):
            regressor, *_ = methods.run(
                "fit_regressor",
                metadata=methods.column("gradient"),
                group_by=methods.column("host_subject_id"),
                **examples.quick("model.members=1", "forest.trees=0", random_state=seed),
            )
            sides = [
                set(subjects[methods.saved(regressor, f"{side}_samples.txt").split()])
                for side in ("train", "val")
            ]
            assert all(sides)
            assert not (sides[0] & sides[1])

    def test_a_frozen_encoder_is_kept(self, methods):
        regressor, *_ = methods.run(
            "fit_regressor",
            metadata=methods.column("gradient"),
            encoder=examples.encoder(),
            freeze_encoder=True,
            **QUICK,
        )
        before = examples.encoder().view(Model).network.state_dict()
        after = regressor.view(Model).network.state_dict()
        shared = [name for name in before if name in after and name.startswith("bases.")]
        assert shared
        for name in shared:
            np.testing.assert_array_equal(before[name].numpy(), after[name].numpy(), name)

    def test_a_fitted_model_goes_on(self, methods):
        still = examples.quick("optim.lr=0.0")
        before = examples.regressor().view(Model)
        regressor, *_ = methods.run(
            "fit_regressor",
            metadata=methods.column("gradient"),
            init_from=examples.regressor(),
            **still,
        )
        model = regressor.view(Model)
        assert model.run["encoder"]["created"] == before.run["created"]
        for name, value in before.network.members[0].target.state_dict().items():
            after = model.network.members[0].target.state_dict()[name]
            np.testing.assert_array_equal(value.numpy(), after.numpy(), name)

    def test_samples_without_a_value(self, methods):
        values = methods.column("gradient").to_series()
        blank, absent = values.copy(), values.iloc[1:]
        blank.iloc[0] = np.nan
        for series in (blank, absent):
            target = qiime2.NumericMetadataColumn(series)
            methods.refuses(
                f"1 of 24 samples have no value .*'gradient': {values.index[0]}",
                "fit_regressor",
                metadata=target,
                **QUICK,
            )
            regressor, *_ = methods.run(
                "fit_regressor", metadata=target, missing_samples="ignore", **QUICK
            )
            used = methods.saved(regressor, "train_samples.txt") + methods.saved(
                regressor, "val_samples.txt"
            )
            assert values.index[0] not in used.split()

    def test_metadata_of_another_study_shows_ids_of_both_sides(self, methods):
        index = pd.Index(["x", "y"], name="id")
        target = qiime2.NumericMetadataColumn(pd.Series([1.0, 2.0], index, name="gradient"))
        first = methods.metadata.ids[0]
        for missing in ("error", "ignore"):
            methods.refuses(
                f"Ids in the table: {first}, .*; in the metadata: x, y",
                "fit_regressor",
                metadata=target,
                missing_samples=missing,
                **QUICK,
            )

    def test_group_by_may_be_named_as_the_target(self, methods):
        group = methods.column("host_subject_id").to_series().rename("gradient")
        regressor, *_ = methods.run(
            "fit_regressor",
            metadata=methods.column("gradient"),
            group_by=qiime2.CategoricalMetadataColumn(group),
            **QUICK,
        )
        assert regressor.view(Model).target.column == "gradient"

    def test_a_group_that_is_a_covariate_too_keeps_its_name(self, methods):
        made = methods.run(
            "fit_regressor",
            metadata=methods.column("gradient"),
            group_by=methods.column("host_subject_id"),
            covariates=methods.metadata,
            covariate_columns=["host_subject_id"],
            **QUICK | {"n_estimators": 3},
        )
        assert made.details.view(Details).about["group_by"] == "host_subject_id"
        assert made.regressor.view(Model).config.forest.trees == 3

    def test_bad_input(self, methods):
        values = methods.column("gradient").to_series()
        blank = qiime2.NumericMetadataColumn(values * np.nan)
        hosts = pd.Series(["a", "b"], pd.Index(["x", "y"], name="id"), name="host", dtype=object)
        ids = methods.table.view(biom.Table).ids(axis="observation")
        empty = biom.Table(np.zeros((len(ids), 0)), ids, [])
        empty = qiime2.Artifact.import_data("FeatureTable[Frequency]", empty)
        for pattern, arguments in (
            ("no samples in the table", {"table": empty}),
            ("24 of 24 .* name another column", {"metadata": blank}),
            ("metadata of group_by: x, y", {"group_by": qiime2.CategoricalMetadataColumn(hosts)}),
            ("val_fraction is 0", {"settings": ["train.val_fraction=0"]}),
            ("encoder", {"freeze_encoder": True}),
            ("not DNA", {"sequences": None}),
            ("one value|single value", {"metadata": qiime2.NumericMetadataColumn(values * 0)}),
            ("model.encoder.depth", {"settings": ["model.encoder.dpeth=3"]}),
        ):
            methods.refuses(
                pattern,
                "fit_regressor",
                **{"metadata": methods.column("gradient")} | QUICK | arguments,
            )

    def test_numeric_looking_ids_and_classes_stay_text(self, methods):
        table = methods.table.view(biom.Table)
        names = [f"{i:03d}" for i in range(len(table.ids()))]
        table = table.update_ids(dict(zip(table.ids(), names, strict=True)), inplace=False)
        classes = pd.Series(["01", "1.0"] * 12, pd.Index(names, name="id"), name="code")
        classifier, predictions, probabilities, _ = methods.run(
            "fit_classifier",
            table=qiime2.Artifact.import_data("FeatureTable[Frequency]", table),
            metadata=qiime2.CategoricalMetadataColumn(classes),
            **QUICK,
        )
        assert classifier.view(Model).target.classes == ("01", "1.0")
        actual = read_predictions(predictions.view(PredictionsFormat))
        assert set(actual) <= {"01", "1.0"}
        assert set(actual.index) <= set(names)
        by_class = read_probabilities(probabilities.view(ProbabilitiesFormat))
        assert list(by_class.columns) == ["01", "1.0"]
        assert list(by_class.idxmax(axis=1)) == list(actual)


class TestProvenance:
    def test_parameters_seed_and_origin_are_recorded(self, methods, tmp_path):
        regressor, *_ = methods.run(
            "fit_regressor",
            metadata=methods.column("gradient"),
            encoder=examples.encoder(),
            **examples.quick("model.head.target_dropout=0.1"),
        )
        path = regressor.save(str(tmp_path / "regressor"))
        with zipfile.ZipFile(path) as archive:
            action = archive.read(f"{regressor.uuid}/provenance/action/action.yaml").decode()
        for line in (
            "random_state: 0",
            "preset: tiny",
            "train.max_steps=2",
            "device: auto",
            "model.head.target_dropout=0.1",
            f"encoder: {examples.encoder().uuid}",
        ):
            assert line in action
        run = json.loads(methods.saved(regressor, "run.json"))
        assert "torch" in json.dumps(run)

    def test_the_seed_decides(self, methods):
        def predict(seed):
            _, predictions, _ = methods.run(
                "fit_regressor", metadata=methods.column("gradient"), random_state=seed, **QUICK
            )
            return Path(str(predictions.view(PredictionsFormat))).read_text()

        assert predict(3) == predict(3)
        assert predict(3) != predict(4)
