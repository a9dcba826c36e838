"""The methods, on the tiny study of the usage examples."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import biom
import numpy as np
import pandas as pd
import qiime2
import skbio
from qiime2.plugin.testing import TestPluginBase

from aam_core import prediction
from aam_core.artifact import Model
from aam_core.errors import InputError
from q2_aam import PredictionsFormat, ProbabilitiesFormat, _examples
from q2_aam._tables import read_predictions, read_probabilities

QUICK = _examples.QUICK


class MethodTest(TestPluginBase):
    package = "q2_aam"

    def setUp(self):
        super().setUp()
        self.table, self.sequences = _examples.table(), _examples.sequences()
        self.metadata = _examples.metadata()

    def run_method(self, name, **arguments):
        arguments = {"table": self.table, "sequences": self.sequences} | arguments
        return self.plugin.methods[name](**arguments)

    def column(self, name):
        return self.metadata.get_column(name)

    def saved(self, artifact, name):
        """Text of a file of the artifact's data."""
        folder = Path(self.temp_dir.name) / str(artifact.uuid)
        if not folder.exists():
            artifact.export_data(str(folder))
        return (folder / name).read_text()

    def assertInputError(self, pattern, name, **arguments):
        with self.assertRaisesRegex(InputError, pattern) as caught:
            self.run_method(name, **arguments)
        self.assertNotIn("\n", str(caught.exception))


class TestPretrain(MethodTest):
    def test_from_a_phylogeny(self):
        model = _examples.encoder().view(Model)
        self.assertEqual(model.kind, "encoder")
        self.assertEqual(model.config.train.max_steps, QUICK["max_steps"])

    def test_from_distances(self):
        ids = self.table.view(biom.Table).ids()
        points = np.random.default_rng(0).random((len(ids), 3))
        matrix = np.abs(points[:, None] - points[None]).mean(axis=2)
        distances = qiime2.Artifact.import_data("DistanceMatrix", skbio.DistanceMatrix(matrix, ids))
        (encoder,) = self.run_method("pretrain", distances=distances, **QUICK)
        self.assertEqual(str(encoder.type), "AAMEncoder")

    def test_goes_on_from_an_encoder(self):
        (encoder,) = self.run_method(
            "pretrain",
            phylogeny=_examples.phylogeny(),
            initial_encoder=_examples.encoder(),
            group_by=self.column("host_subject_id"),
            **QUICK,
        )
        self.assertEqual(str(encoder.type), "AAMEncoder")

    def test_without_phylogeny_or_distances(self):
        self.assertInputError("tree|phylogeny|distances", "pretrain", **QUICK)

    def test_settings_reach_the_model(self):
        (encoder,) = self.run_method(
            "pretrain", settings=["loss.metric=braycurtis", "model.sample.depth=0"], **QUICK
        )
        config = json.loads(self.saved(encoder, "config.json"))["config"]
        self.assertEqual(config["loss"]["metric"], "braycurtis")
        self.assertEqual(config["model"]["sample"]["depth"], 0)


class TestFit(MethodTest):
    def test_predictions_are_those_of_the_held_out_samples(self):
        regressor, predictions = _examples.regressor(), _examples.regressor_predictions()
        found = read_predictions(predictions.view(PredictionsFormat)).astype(float)
        held_out = self.saved(regressor, "val_samples.txt").split()
        self.assertEqual(sorted(found.index), sorted(held_out))
        self.assertFalse(set(held_out) & set(self.saved(regressor, "train_samples.txt").split()))
        np.testing.assert_allclose(
            found, regressor.view(Model).val_predictions["prediction"][found.index], rtol=1e-6
        )

    def test_group_by_keeps_subjects_whole(self):
        subjects = self.column("host_subject_id").to_series()
        for seed in (0, 1):
            regressor, _ = self.run_method(
                "fit_regressor",
                target=self.column("gradient"),
                group_by=self.column("host_subject_id"),
                **QUICK | {"max_steps": 1},
                seed=seed,
            )
            sides = [
                set(subjects[self.saved(regressor, f"{side}_samples.txt").split()])
                for side in ("train", "val")
            ]
            self.assertTrue(all(sides))
            self.assertFalse(sides[0] & sides[1])

    def test_a_frozen_encoder_is_kept(self):
        regressor, _ = self.run_method(
            "fit_regressor",
            target=self.column("gradient"),
            encoder=_examples.encoder(),
            freeze_encoder=True,
            **QUICK,
        )
        before = _examples.encoder().view(Model).network.state_dict()
        after = regressor.view(Model).network.state_dict()
        shared = [name for name in before if name in after and name.startswith("bases.")]
        self.assertTrue(shared)
        for name in shared:
            np.testing.assert_array_equal(before[name].numpy(), after[name].numpy(), name)

    def test_samples_without_a_value(self):
        values = self.column("gradient").to_series()
        blank, absent = values.copy(), values.iloc[1:]
        blank.iloc[0] = np.nan
        for series in (blank, absent):
            target = qiime2.NumericMetadataColumn(series)
            self.assertInputError(
                f"1 of 24 samples have no value .*'gradient': {values.index[0]}",
                "fit_regressor",
                target=target,
                **QUICK,
            )
            regressor, _ = self.run_method(
                "fit_regressor", target=target, missing_samples="ignore", **QUICK
            )
            used = self.saved(regressor, "train_samples.txt") + self.saved(
                regressor, "val_samples.txt"
            )
            self.assertNotIn(values.index[0], used.split())

    def test_group_by_may_be_named_as_the_target(self):
        group = self.column("host_subject_id").to_series().rename("gradient")
        regressor, _ = self.run_method(
            "fit_regressor",
            target=self.column("gradient"),
            group_by=qiime2.CategoricalMetadataColumn(group),
            **QUICK,
        )
        self.assertEqual(regressor.view(Model).target.name, "gradient")

    def test_bad_input(self):
        values = self.column("gradient").to_series()
        for pattern, arguments in (
            ("val_fraction", {"val_fraction": 0.0}),
            ("encoder", {"freeze_encoder": True}),
            ("not DNA", {"sequences": None}),
            ("one value|single value", {"target": qiime2.NumericMetadataColumn(values * 0)}),
            ("model.encoder.depth", {"settings": ["model.encoder.dpeth=3"]}),
        ):
            with self.subTest(pattern):
                self.assertInputError(
                    pattern,
                    "fit_regressor",
                    **{"target": self.column("gradient")} | QUICK | arguments,
                )

    def test_numeric_looking_ids_and_classes_stay_text(self):
        table = self.table.view(biom.Table)
        names = [f"{i:03d}" for i in range(len(table.ids()))]
        table = table.update_ids(dict(zip(table.ids(), names, strict=True)), inplace=False)
        classes = pd.Series(["01", "1.0"] * 12, pd.Index(names, name="id"), name="code")
        classifier, predictions, probabilities = self.run_method(
            "fit_classifier",
            table=qiime2.Artifact.import_data("FeatureTable[Frequency]", table),
            target=qiime2.CategoricalMetadataColumn(classes),
            **QUICK,
        )
        self.assertEqual(classifier.view(Model).target.classes, ("01", "1.0"))
        found = read_predictions(predictions.view(PredictionsFormat))
        self.assertLessEqual(set(found), {"01", "1.0"})
        self.assertLessEqual(set(found.index), set(names))
        chances = read_probabilities(probabilities.view(ProbabilitiesFormat))
        self.assertEqual(list(chances.columns), ["01", "1.0"])
        self.assertEqual(list(chances.idxmax(axis=1)), list(found))


class TestPredict(MethodTest):
    def test_regression_gives_the_cores_predictions(self):
        (predictions,) = self.run_method("predict_regression", regressor=_examples.regressor())
        found = read_predictions(predictions.view(PredictionsFormat)).astype(float)
        study = _examples._study()
        expected = prediction.predict(
            _examples.regressor().view(Model), study.table, sequences=study.sequences
        )["prediction"]
        self.assertEqual(sorted(found.index), sorted(study.table.ids()))
        np.testing.assert_allclose(found, expected[found.index], rtol=1e-5)

    def test_classification_gives_classes_and_probabilities(self):
        predictions, probabilities = self.run_method(
            "predict_classification", classifier=_examples.classifier()
        )
        classes = read_predictions(predictions.view(PredictionsFormat))
        chances = read_probabilities(probabilities.view(ProbabilitiesFormat))
        self.assertEqual(list(chances.columns), ["case", "control"])
        self.assertEqual(list(chances.index), list(classes.index))
        np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-5)
        self.assertEqual(list(chances.idxmax(axis=1)), list(classes))

    def test_predict_takes_either(self):
        for predictor, specific, kind in (
            (_examples.regressor(), "regressor", "RegressorPredictions"),
            (_examples.classifier(), "classifier", "ClassifierPredictions"),
        ):
            (either,) = self.run_method("predict", predictor=predictor)
            self.assertEqual(str(either.type), f"SampleData[{kind}]")
            method = {"regressor": "predict_regression", "classifier": "predict_classification"}
            named = self.run_method(method[specific], **{specific: predictor}).predictions
            texts = [
                Path(str(artifact.view(PredictionsFormat))).read_text()
                for artifact in (either, named)
            ]
            self.assertEqual(*texts)

    def test_an_encoder_is_no_predictor(self):
        with self.assertRaisesRegex(TypeError, "AAMEncoder"):
            self.run_method("predict", predictor=_examples.encoder())

    def test_unseen_features_in_another_order(self):
        """Other samples and other ASVs beside them change nothing for a sample."""
        table = self.table.view(biom.Table)
        dna = self.sequences.view(pd.Series).astype(str)
        some = table.filter(table.ids()[:3], inplace=False)
        matrix = np.vstack([some.matrix_data.toarray()[::-1], np.zeros((1, 3))])
        matrix = np.hstack([matrix, np.r_[np.zeros(len(matrix) - 1), 50.0][:, None]])
        names = [*some.ids(axis="observation")[::-1], "new"]
        other = biom.Table(matrix, names, [*some.ids(), "other"])
        dna["new"] = "ACGT" * 10
        reads = qiime2.Artifact.import_data("FeatureTable[Frequency]", other)
        fasta = qiime2.Artifact.import_data("FeatureData[Sequence]", dna.map(skbio.DNA))
        (all_of_them,) = self.run_method("predict", predictor=_examples.regressor())
        (few,) = self.run_method(
            "predict", predictor=_examples.regressor(), table=reads, sequences=fasta
        )
        before, after = (
            read_predictions(item.view(PredictionsFormat)).astype(float)
            for item in (all_of_them, few)
        )
        self.assertEqual(set(after.index), {*some.ids(), "other"})
        np.testing.assert_allclose(after[some.ids()], before[some.ids()], rtol=1e-5)


class TestProvenance(MethodTest):
    def test_parameters_seed_and_origin_are_recorded(self):
        regressor, _ = self.run_method(
            "fit_regressor",
            target=self.column("gradient"),
            encoder=_examples.encoder(),
            settings=["model.head.target_dropout=0.1"],
            **QUICK,
        )
        path = regressor.save(str(Path(self.temp_dir.name) / "regressor"))
        with zipfile.ZipFile(path) as archive:
            action = archive.read(f"{regressor.uuid}/provenance/action/action.yaml").decode()
        for line in (
            "seed: 0",
            "preset: tiny",
            "max_steps: 2",
            "device: auto",
            "model.head.target_dropout=0.1",
            f"encoder: {_examples.encoder().uuid}",
        ):
            self.assertIn(line, action)
        run = json.loads(self.saved(regressor, "run.json"))
        self.assertIn("torch", json.dumps(run))

    def test_the_seed_decides(self):
        def predict(seed):
            _, predictions = self.run_method(
                "fit_regressor", target=self.column("gradient"), seed=seed, **QUICK
            )
            return Path(str(predictions.view(PredictionsFormat))).read_text()

        self.assertEqual(predict(3), predict(3))
        self.assertNotEqual(predict(3), predict(4))
