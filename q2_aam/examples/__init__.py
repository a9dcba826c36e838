"""Usage examples: shown by QIIME 2 beside each action, executed by the tests.

A module for each module of `q2_aam.actions`; the study that they share is in `study`.
"""
