"""Configuration: what may be set, what each preset sets, and how a run's settings come about."""

from aam_core.config import presets
from aam_core.config.everyday import EVERYDAY, FLAGS, SCALE
from aam_core.config.sections import (
    AUTO,
    METRICS,
    WITHOUT_TREE,
    Config,
    DataConfig,
    EncoderConfig,
    ForestConfig,
    FusionConfig,
    HeadConfig,
    LossConfig,
    MaskingConfig,
    ModelConfig,
    OptimConfig,
    SampleConfig,
    TrainConfig,
    find,
    paths,
)

__all__ = [
    "AUTO",
    "EVERYDAY",
    "FLAGS",
    "METRICS",
    "SCALE",
    "WITHOUT_TREE",
    "Config",
    "DataConfig",
    "EncoderConfig",
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
