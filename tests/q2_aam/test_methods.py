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


class TestCovariates(MethodTest):
    def setUp(self):
        super().setUp()
        frame = self.metadata.to_dataframe()
        frame["code"] = ["007", "7"] * 12
        frame["weight"] = np.arange(24.0)
        frame.loc[frame.index[:2], ["code", "weight"]] = None
        self.described = qiime2.Metadata(frame)

    def fit(self, name="fit_regressor", target="gradient", columns=("code", "weight"), **arguments):
        arguments = {"covariates": self.described, "covariate_columns": list(columns)} | arguments
        return self.run_method(name, target=self.column(target), **QUICK | arguments)

    def with_values(self, **columns):
        return qiime2.Metadata(self.described.to_dataframe().assign(**columns))

    def test_only_the_columns_named_are_read(self):
        regressor, predictions = self.fit()
        covariates = regressor.view(Model).covariates
        self.assertEqual(covariates.categorical, (("code", ("007", "7")),))
        self.assertEqual([name for name, _, _ in covariates.numeric], ["weight"])
        self.assertEqual(covariates.names, ["code", "weight"])

    def test_numbers_are_the_cores(self):
        regressor, held_out = self.fit()
        (predictions,) = self.run_method(
            "predict_regression", regressor=regressor, metadata=self.described
        )
        found = read_predictions(predictions.view(PredictionsFormat)).astype(float)
        study = _examples._study()
        expected = prediction.predict(
            regressor.view(Model),
            study.table,
            sequences=study.sequences,
            metadata=self.described.to_dataframe(),
        )["prediction"]
        np.testing.assert_allclose(found, expected[found.index], rtol=1e-5)
        before = read_predictions(held_out.view(PredictionsFormat)).astype(float)
        np.testing.assert_allclose(found[before.index], before, rtol=1e-4)

    def test_the_values_count_and_other_columns_do_not(self):
        regressor, _ = self.fit()
        texts = []
        for metadata in (
            self.described,
            self.with_values(gradient=0.0, group="x"),
            self.with_values(weight=99.0),
        ):
            (predictions,) = self.run_method("predict", predictor=regressor, metadata=metadata)
            texts.append(Path(str(predictions.view(PredictionsFormat))).read_text())
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0], texts[2])

    def test_a_classifier(self):
        classifier, _, _ = self.fit("fit_classifier", "group", ["gradient"])
        self.assertEqual(classifier.view(Model).covariates.names, ["gradient"])
        predictions, probabilities = self.run_method(
            "predict_classification", classifier=classifier, metadata=self.metadata
        )
        chances = read_probabilities(probabilities.view(ProbabilitiesFormat))
        np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-5)
        self.assertEqual(
            list(chances.idxmax(axis=1)),
            list(read_predictions(predictions.view(PredictionsFormat))),
        )

    def test_a_model_without_covariates_reads_no_metadata(self):
        few = self.metadata.filter_ids(self.metadata.get_ids() - {self.metadata.ids[0]})
        texts = []
        for arguments in ({}, {"metadata": few}):
            (predictions,) = self.run_method(
                "predict", predictor=_examples.regressor(), **arguments
            )
            texts.append(Path(str(predictions.view(PredictionsFormat))).read_text())
        self.assertEqual(*texts)

    def test_group_by_may_be_a_covariate_too(self):
        regressor, _ = self.fit(
            columns=["host_subject_id"], group_by=self.column("host_subject_id")
        )
        hosts = self.column("host_subject_id").to_series()
        sides = [
            set(hosts[self.saved(regressor, f"{side}_samples.txt").split()])
            for side in ("train", "val")
        ]
        self.assertFalse(sides[0] & sides[1])
        ((_, levels),) = regressor.view(Model).covariates.categorical
        self.assertEqual(set(levels), sides[0])

    def test_samples_that_the_metadata_lacks(self):
        first = self.table.view(biom.Table).ids()[0]
        few = self.described.filter_ids(self.described.get_ids() - {first})
        fit = {"target": self.column("gradient"), "covariate_columns": ["weight"], **QUICK}
        message = f"1 of 24 samples are not in the covariates metadata: {first}"
        self.assertInputError(message, "fit_regressor", covariates=few, **fit)
        regressor, _ = self.run_method(
            "fit_regressor", covariates=few, missing_samples="ignore", **fit
        )
        used = self.saved(regressor, "train_samples.txt") + self.saved(regressor, "val_samples.txt")
        self.assertEqual(len(used.split()), 23)
        self.assertNotIn(first, used.split())
        message = f"1 of 24 samples are not in the metadata: {first}"
        self.assertInputError(message, "predict", predictor=regressor, metadata=few)
        stranger = qiime2.Metadata(pd.DataFrame({"weight": [1.0]}, pd.Index(["x"], name="id")))
        self.assertInputError(
            "No sample",
            "fit_regressor",
            **fit | {"covariates": stranger, "missing_samples": "ignore"},
        )

    def test_metadata_of_more_samples_is_fine(self):
        frame = self.described.to_dataframe()
        more = pd.concat([frame, frame.iloc[:1].rename({frame.index[0]: "another"})])
        more.index.name = "id"
        target = qiime2.NumericMetadataColumn(more["gradient"])
        regressor, _ = self.fit(target="gradient", columns=["weight"], covariates=self.described)
        again, _ = self.run_method(
            "fit_regressor",
            target=target,
            covariates=self.described,
            covariate_columns=["weight"],
            **QUICK,
        )
        self.assertEqual(regressor.view(Model).val_samples, again.view(Model).val_samples)

    def test_bad_input(self):
        for pattern, arguments in (
            ("'gradient' cannot be a covariate", {"covariate_columns": ["code", "gradient"]}),
            ("did you mean 'weight'", {"covariate_columns": ["wieght"]}),
            ("named twice", {"covariate_columns": ["code", "code"]}),
            ("go together", {"covariate_columns": None}),
            ("go together", {"covariates": None}),
        ):
            with self.subTest(pattern):
                arguments = {"covariates": self.described, "covariate_columns": ["code"]} | (
                    QUICK | arguments
                )
                self.assertInputError(
                    pattern, "fit_regressor", target=self.column("gradient"), **arguments
                )

    def test_prediction_without_them(self):
        regressor, _ = self.fit()
        self.assertInputError("code, weight.*give the metadata", "predict", predictor=regressor)
        self.assertInputError(
            "no metadata column 'code'",
            "predict_regression",
            regressor=regressor,
            metadata=self.metadata,
        )


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
