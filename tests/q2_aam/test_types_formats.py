"""Model folders as QIIME 2 artifacts: which are valid, and which are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import qiime2
from qiime2.plugin import ValidationError
from qiime2.plugin.testing import TestPluginBase

from aam_core import load_model, load_study, pretrain
from aam_core.config import presets
from aam_core.files.folders import write_manifest
from aam_core.model_files import FILES, FORMAT_VERSION
from q2_aam import (
    AAMClassifier,
    AAMClassifierDirectoryFormat,
    AAMEncoder,
    AAMEncoderDirectoryFormat,
    AAMRegressor,
    AAMRegressorDirectoryFormat,
)
from q2_aam.examples import study as examples


class TestTypesAndFormats(TestPluginBase):
    package = "q2_aam"

    def setUp(self):
        super().setUp()
        self.folder = Path(self.temp_dir.name) / "regressor"
        examples.regressor().export_data(str(self.folder))

    def validate(self, level="max", format=AAMRegressorDirectoryFormat):
        format(str(self.folder), mode="r").validate(level)

    def assertRefused(self, pattern, level="max", format=AAMRegressorDirectoryFormat):
        with self.assertRaisesRegex(ValidationError, pattern) as caught:
            self.validate(level, format)
        # the framework names the folder and the format, then comes the core's one line
        self.assertEqual(str(caught.exception).partition("\n\n")[2].count("\n"), 0)

    def edit(self, name, change):
        path = self.folder / name
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))
        write_manifest(self.folder, FILES)

    def test_types_are_registered_to_their_formats(self):
        for semantic_type, format in (
            (AAMEncoder, AAMEncoderDirectoryFormat),
            (AAMRegressor, AAMRegressorDirectoryFormat),
            (AAMClassifier, AAMClassifierDirectoryFormat),
        ):
            self.assertRegisteredSemanticType(semantic_type)
            self.assertSemanticTypeRegisteredToFormat(semantic_type, format)

    def test_a_saved_model_is_valid(self):
        for level in ("min", "max"):
            self.validate(level)

    def test_the_artifact_carries_a_format_version_and_the_split(self):
        names = {path.name for path in self.folder.iterdir()}
        self.assertLessEqual(
            {"config.json", "model.safetensors", "run.json", "targets.json", "manifest.json"}
            | {"train_samples.txt", "val_samples.txt", "val_predictions.tsv", "metrics.json"}
            | {"forest.json", "forest.safetensors"},
            names,
        )
        version = json.loads((self.folder / "config.json").read_text())["format_version"]
        self.assertEqual(version, FORMAT_VERSION)

    def test_an_exported_folder_opens_in_the_core(self):
        model = load_model(self.folder)
        self.assertEqual(model.kind, "regressor")
        self.assertEqual(model.target.column, "gradient")

    def test_a_folder_of_the_command_line_is_imported_as_it_is(self):
        (self.folder / "logs" / "fit").mkdir(parents=True)
        (self.folder / "logs" / "fit" / "events.out.tfevents.1").write_bytes(b"\x00")
        (self.folder / "logs" / "metrics.jsonl").write_text("{}\n")
        (self.folder / "val_predictions.png").write_bytes(b"\x89PNG")
        artifact = qiime2.Artifact.import_data("AAMRegressor", str(self.folder))
        artifact.validate()

    def test_a_fresh_fit_of_the_core_is_imported_as_it_is(self):
        study = load_study(
            examples._study().table,
            sequences=examples._study().sequences,
            tree=examples._study().tree,
        )
        folder = Path(self.temp_dir.name) / "encoder"
        pretrain(
            study,
            config=presets.pretraining("tiny").replace(
                {"train.max_steps": 2, "train.batch_size": 8, "data.sampling_depth": 100}
            ),
            output=folder,
        )
        artifact = qiime2.Artifact.import_data("AAMEncoder", str(folder))
        artifact.validate()

    def test_a_model_of_another_kind(self):
        self.assertRefused("regressor.*not 'classifier'", format=AAMClassifierDirectoryFormat)

    def test_missing_files(self):
        required = ("config.json", "model.safetensors", "run.json", "targets.json")
        for name in (*required, "forest.json", "forest.safetensors"):
            level = "min" if name in required else "max"
            with self.subTest(name):
                moved = self.folder.with_name(name)
                shutil.move(self.folder / name, moved)
                with self.assertRaisesRegex(ValidationError, name.replace(".", r"\.")):
                    self.validate(level)
                shutil.move(moved, self.folder / name)

    def test_a_file_that_does_not_belong(self):
        (self.folder / "notes.txt").write_text("x")
        with self.assertRaisesRegex(ValidationError, "notes.txt"):
            self.validate("min")

    def test_truncated_weights(self):
        path = self.folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
        self.assertRefused("model.safetensors", "min")

    def test_edited_configuration(self):
        def widen(values):
            values["config"]["model"]["encoder"]["width"] *= 2

        self.edit("config.json", widen)
        self.assertRefused("model.safetensors|shape", "max")

    def test_a_flipped_bit(self):
        for name in ("model.safetensors", "forest.safetensors", "val_samples.txt"):
            content = bytearray((self.folder / name).read_bytes())
            content[-3] ^= 1
            (self.folder / name).write_bytes(content)
            self.assertRefused(f"{name} is truncated or not what was saved", "min")
            content[-3] ^= 1
            (self.folder / name).write_bytes(content)
        self.validate()

    def test_not_json(self):
        (self.folder / "config.json").write_text("{")
        self.assertRefused("config.json", "min")

    def test_newer_format(self):
        self.edit("config.json", lambda values: values.update(format_version=99))
        self.assertRefused("99", "min")

    def test_other_vocabulary(self):
        self.edit("config.json", lambda values: values["vocabulary"].reverse())
        self.assertRefused("vocabulary", "min")
