"""Configuration: what may be set, what each preset sets, and how a run's settings come about.

A field of a section (`data`, `model`, `loss`, `training`) carries its default, its bounds or
choices and its help in one line. The command line, the QIIME 2 parameters and the documentation
take them from there. A new field also needs a rule in `unused`.

The package imports neither torch nor anything that does, so that helps and checks are fast. Where
the choices of a field are names in a registry elsewhere, tests/aam_core/config/test_registries.py
holds them to it.
"""

from aam_core.config import presets
from aam_core.config.config import Config, find, paths
from aam_core.config.data import DataConfig
from aam_core.config.everyday import EVERYDAY, FLAGS
from aam_core.config.figure import FIGURE_FORMATS, FigureConfig
from aam_core.config.loss import (
    DISTANCE_NAMES,
    METRICS,
    WITHOUT_TREE,
    LossConfig,
    MaskingConfig,
)
from aam_core.config.model import (
    COVARIATE_HELP,
    EncoderConfig,
    FusionConfig,
    HeadConfig,
    ModelConfig,
    SampleConfig,
)
from aam_core.config.training import AUTO, EnsembleConfig, ForestConfig, OptimConfig, TrainConfig

__all__ = [
    "AUTO",
    "COVARIATE_HELP",
    "DISTANCE_NAMES",
    "EVERYDAY",
    "FIGURE_FORMATS",
    "FLAGS",
    "METRICS",
    "WITHOUT_TREE",
    "Config",
    "DataConfig",
    "EncoderConfig",
    "EnsembleConfig",
    "FigureConfig",
    "ForestConfig",
    "FusionConfig",
    "HeadConfig",
    "LossConfig",
    "MaskingConfig",
    "ModelConfig",
    "OptimConfig",
    "SampleConfig",
    "TrainConfig",
    "find",
    "paths",
    "presets",
]
