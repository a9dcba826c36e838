"""The package is described in pyproject.toml; this is for what still calls setup.py."""

from setuptools import setup

# Here, as setuptools 66 of Debian 12 and the newest want different forms of it in pyproject.toml.
setup(license="BSD-3-Clause")
