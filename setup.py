"""Packaging: lower bounds only, each explained in docs/dependencies.md."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
INIT = (HERE / "aam_core/__init__.py").read_text(encoding="utf-8")
VERSION = re.search(r'__version__ = "(.+)"', INIT).group(1)

CORE = [
    "torch>=2.4",
    "numpy>=1.24",
    "pandas>=1.5",
    "scipy>=1.10",
    "scikit-bio>=0.5.8",
    "biom-format>=2.1.12",
    "scikit-learn>=1.2",
    "matplotlib>=3.6",
    "safetensors>=0.4",
    "tensorboard>=2.12",
    "tqdm>=4.64",
    "click>=8.0",
    "PyYAML>=6.0",
]
EXTRAS = {
    "fast": ["iow>=1.0.6"],
    "tune": ["optuna>=3.6"],
    "wandb": ["wandb>=0.18"],
    "mlflow": ["mlflow>=2.16"],
    "test": ["pytest>=7.2"],
}

setup(
    name="aam-microbiome",
    version=VERSION,
    description="Attention All Microbes: what a microbiome sample tells about its host or place",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="AAM development team",
    license="BSD-3-Clause",
    license_files=["LICENSE"],
    packages=find_packages(include=["aam_core", "aam_core.*", "q2_aam", "q2_aam.*"]),
    package_data={"q2_aam": ["citations.bib", "assets/*", "assets/**/*"]},
    python_requires=">=3.10",
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["aam = aam_core.cli:main"],
        "qiime2.plugins": ["q2-aam = q2_aam.plugin_setup:plugin"],
    },
)
