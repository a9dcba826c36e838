"""For what still calls setup.py; the package is described in pyproject.toml."""

from setuptools import setup

setup()
