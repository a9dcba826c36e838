"""Which ASVs moved the prediction of a sample: Shapley values, which add up.

A sample is compared with reference samples. From the ASVs of a reference to those of the sample,
one ASV after the other takes the sample's abundance, in a random order; what each step adds to the
prediction is its ASV's contribution, and the mean over references and orders is an estimate of the
Shapley value (Strumbelj and Kononenko 2014, Knowl. Inf. Syst. 41:647). Every second order is that
before, reversed, which lowers the variance (Mitchell et al. 2022, JMLR 23:43). The steps of an
order add up exactly to the prediction of the sample less that of the reference. A step that leaves
no ASV adds nothing, and the next one that leaves some adds what both do.

Letters: N samples, R references, T outputs, U ASVs of a sample and a reference.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from aam_core.explanation.perturbed import Perturbed

__all__ = ["OTHERS", "contributions"]

OTHERS = "(others)"
"""Row of a sample that has the sum over the ASVs beyond the greatest."""


def contributions(
    perturbed: Perturbed,
    references: Sequence[np.ndarray],
    rng: np.random.Generator,
    threads: int = 1,
    most: int = 50,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Contributions of ASVs to each prediction, in units of the target.

    Of classes, to the probability of the class that is predicted.

    Parameters
    ----------
    perturbed : Perturbed
    references : sequence of ndarray
        Of each sample, positions of the samples that it is compared with.
    rng : Generator
    threads : int
    most : int
        Rows of a sample, by the size of the contribution; then `OTHERS` has the sum of the rest.

    Returns
    -------
    DataFrame
        Columns ``sample-id``, ``feature-id``, ``contribution``, ``se`` (its standard error over
        the references) and ``abundance``. An ASV that the sample lacks contributes by that.
    DataFrame
        Index ``sample-id``; ``prediction`` (of classes the probability of the ``class``), the mean
        ``reference`` prediction, and the ``contributions``, which add up to their difference. A
        reference's prediction is with the sample's own metadata where the model reads some.
    """
    names = np.array([*perturbed.study.feature_ids, OTHERS], object)
    seeds = rng.integers(2**63, size=len(references))
    run = functools.partial(_of_sample, perturbed)
    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(run, range(len(references)), references, seeds))
    tables, sums = [], []
    classes = perturbed.model.task.classes
    for sample, (features, steps, reference) in enumerate(results):
        name = perturbed.study.sample_ids[sample]
        values = steps.mean(axis=0)
        order = np.argsort(-np.abs(values), kind="stable")[:most]
        rest = np.delete(values, order)
        shown = features[order]
        count = len(steps)
        errors = steps[:, order].std(axis=0, ddof=1) / count**0.5 if count > 1 else np.nan
        table = pd.DataFrame(
            {
                "sample-id": name,
                "feature-id": names[shown],
                "contribution": values[order],
                "se": errors,
                "abundance": perturbed.of(sample, forest=False).on(np.sort(shown))[
                    np.argsort(np.argsort(shown))
                ],
            }
        )
        if len(rest):
            row = {"sample-id": name, "feature-id": OTHERS, "contribution": rest.sum()}
            table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
        tables.append(table)
        place = int(perturbed.base[sample].argmax())
        one = {"class": classes[place]} if classes else {}
        one["prediction"] = perturbed.base[sample, place]
        sums.append({**one, "reference": reference, "contributions": values.sum()})
    ids = pd.Index(perturbed.study.sample_ids, name="sample-id")
    return pd.concat(tables, ignore_index=True), pd.DataFrame(sums, index=ids)


def _of_sample(
    perturbed: Perturbed, sample: int, references: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """ASVs ``[U]``, their steps ``[R, U]`` and the mean prediction of the references."""
    rng = np.random.default_rng(seed)
    copies = perturbed.of(sample)
    output = int(perturbed.base[sample].argmax())  # of a number, 0
    others = [perturbed.of(reference, forest=False) for reference in references]
    features = functools.reduce(np.union1d, [other.features for other in others], copies.features)
    steps = np.zeros((len(references), len(features)))
    order, total = np.arange(len(features)), 0.0
    for number, other in enumerate(others):
        order = order[::-1] if number % 2 else rng.permutation(len(features))
        union = np.union1d(copies.features, other.features)
        place = np.searchsorted(union, features)
        place[place == len(union)] = 0
        there = union[place] == features  # only these differ
        walk = place[order[there[order]]]
        # After k steps the first k ASVs of the walk have the sample's own abundance.
        rank = np.empty(len(union), np.int64)
        rank[walk] = np.arange(len(union))
        own = rank < np.arange(len(union) + 1)[:, None]
        predicted = _carried(copies.between(union, own, other)[:, output])
        steps[number, np.searchsorted(features, union[walk])] = np.diff(predicted)
        total += predicted[0]
    return features, steps, total / len(references)


def _carried(values: np.ndarray) -> np.ndarray:
    """Values ``[P]``, each that is NaN as the one before; the first is a number."""
    return values[np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(len(values))))]
