"""A model goes into a folder and comes out the same."""

from __future__ import annotations

import numpy as np
from qiime2.plugin import ValidationError
from qiime2.plugin.testing import TestPluginBase

from aam_core.model import Model
from q2_aam import (
    AAMClassifierDirectoryFormat,
    AAMEncoderDirectoryFormat,
    AAMRegressorDirectoryFormat,
)
from q2_aam.examples import study as examples


class TestTransformers(TestPluginBase):
    package = "q2_aam"

    def round_trip(self, artifact, directory_format):
        model = artifact.view(Model)
        folder = self.get_transformer(Model, directory_format)(model)
        folder.validate("max")
        again = self.get_transformer(directory_format, Model)(folder)
        self.assertIsInstance(again, Model)
        before, after = model.network.state_dict(), again.network.state_dict()
        self.assertEqual(list(before), list(after))
        for name, tensor in before.items():
            np.testing.assert_array_equal(tensor.numpy(), after[name].numpy(), err_msg=name)
        self.assertEqual(model.config, again.config)
        self.assertEqual(model.run, again.run)
        self.assertEqual(model.train_samples, again.train_samples)
        self.assertEqual(model.val_samples, again.val_samples)
        return model, again

    def test_encoder(self):
        model, _ = self.round_trip(examples.encoder(), AAMEncoderDirectoryFormat)
        self.assertEqual(model.kind, "encoder")

    def test_regressor(self):
        model, again = self.round_trip(examples.regressor(), AAMRegressorDirectoryFormat)
        self.assertEqual(model.target, again.target)
        self.assertEqual(list(model.val_predictions.index), list(again.val_predictions.index))

    def test_classifier(self):
        model, again = self.round_trip(examples.classifier(), AAMClassifierDirectoryFormat)
        self.assertEqual(again.target.classes, ("case", "control"))

    def test_a_model_is_refused_by_the_format_of_another_kind(self):
        model = examples.regressor().view(Model)
        folder = self.get_transformer(Model, AAMClassifierDirectoryFormat)(model)
        with self.assertRaisesRegex(ValidationError, "kind 'regressor'"):
            folder.validate("min")
