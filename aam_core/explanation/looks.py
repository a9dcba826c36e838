"""Where the networks look, as tables and plots in a folder: what ``aam explain`` adds on request.

It puts together `attention` (ASVs of a sample, covariates) and `bases` (along an ASV).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from aam_core import plots
from aam_core.data.study import Study
from aam_core.ensemble.blending import parts_in_words
from aam_core.errors import InputError
from aam_core.explanation.attention import (
    AttentionShares,
    attention_shares,
    fusion_weights,
    has_fusion_weights,
)
from aam_core.explanation.bases import base_attributions, check_reads_bases, like_asvs
from aam_core.files.folders import replacing_in
from aam_core.files.own_output import check_output
from aam_core.log import logger
from aam_core.model import Model

__all__ = ["FILES", "TOP", "Looks", "check_looks", "look"]

_TABLES = ("attention.tsv", "attention_by_sample.tsv", "fusion.tsv", "bases.tsv")
_FIGURES = ("attention", "bases")
FILES = (*_TABLES, *(f"{name}{suffix}" for name in _FIGURES for suffix in (".svg", ".pdf")))
"""Names of all that `Looks` may write."""

TOP = "top"
"""In the place of an ASV: the one that matters most, as far as was computed."""


@dataclass(frozen=True, eq=False)
class Looks:
    """Where the networks look; None of what was not asked for, or is not there.

    Attributes
    ----------
    attention : AttentionShares or None
    fusion : DataFrame or None
        As `aam_core.fusion_weights`.
    bases : DataFrame or None
        As `aam_core.base_attributions`.
    taxa : dict
        Taxon of each ASV, where known.
    has_units : bool
        Whether attributions along bases are in units of the target.
    """

    attention: AttentionShares | None
    fusion: pd.DataFrame | None
    bases: pd.DataFrame | None
    taxa: dict[str, str]
    has_units: bool

    def save(self, directory: str | Path) -> None:
        """Write the tables, all or nothing; what an earlier run wrote of `FILES` goes.

        Raises
        ------
        InputError
            If the folder holds another kind of output, such as a model.
        """
        check_output(directory, "an explanation")
        with replacing_in(directory, FILES) as folder:
            how = {"sep": "\t", "float_format": "%.6g"}
            if self.attention is not None:
                features = self.attention.features
                if self.taxa:
                    taxa = [self.taxa.get(str(name), "") for name in features.index]
                    features = features.assign(taxon=taxa)
                features.to_csv(folder / "attention.tsv", **how)
                self.attention.samples.to_csv(folder / "attention_by_sample.tsv", **how)
            if self.fusion is not None:
                self.fusion.to_csv(folder / "fusion.tsv", **how)
            if self.bases is not None:
                self.bases.to_csv(folder / "bases.tsv", index=False, **how)

    def draw(
        self, directory: str | Path, *, units: str | None = None, title: str | None = None
    ) -> None:
        """Draw attention and the logo, each as SVG and PDF; what fails costs a warning."""
        for suffix in (".svg", ".pdf"):
            if self.attention is not None:
                names = {name: taxon.split(";")[-1].strip() for name, taxon in self.taxa.items()}
                table = self.attention.features
                draw = functools.partial(plots.attention, table, names=names, title=title)
                plots.attempt(Path(directory, f"attention{suffix}"), draw)
            if self.bases is not None:
                own = units if self.has_units else None
                logo = functools.partial(plots.logo, self.bases, units=own, title=title)
                plots.attempt(Path(directory, f"bases{suffix}"), logo)


def check_looks(model: Model, *, attention: bool = False, bases: Sequence[str] = ()) -> None:
    """Refuse what a model does not have, before any work.

    Raises
    ------
    InputError
    """
    if attention and model.target is None:
        raise InputError(
            "An encoder has no target for which it would pool ASVs: --attention is of the output "
            "of 'aam fit-...'."
        )
    if bases:
        check_reads_bases(model)


def look(
    model: Model,
    study: Study,
    *,
    attention: bool = False,
    bases: Sequence[str] = (),
    ranking: Sequence[str] = (),
    device: str | None = None,
) -> Looks:
    """Compute attention, and attributions along bases.

    Parameters
    ----------
    model : Model
        With one target, or an encoder.
    study : Study
    attention : bool
    bases : sequence of str
        ASVs: those named, or, of one, all with a sequence like it; `TOP` is the first of the
        ranking, else the one with most attention, or, of an encoder, with most reads.
    ranking : sequence of str
        ASVs, the most important first.
    device : str, optional
        As in the configuration, which it replaces.

    Raises
    ------
    InputError
        As `check_looks`, `aam_core.attention_shares` and `aam_core.base_attributions`.
    """
    check_looks(model, attention=attention, bases=bases)
    shares = fusion = table = None
    if attention:
        if model.forest is not None:
            logger.info(
                "attention is of the networks alone; the predictions are of "
                + parts_in_words(model.network_weight, model.forest.linear_share)
            )
        shares = attention_shares(model, study, device=device)
        if has_fusion_weights(model):
            fusion = fusion_weights(model, study, device=device)
    if bases:
        names = list(dict.fromkeys(bases))
        if TOP in names and TOP not in study.feature_ids:
            best = _top(model, study, ranking, shares, device)
            names = [best if name == TOP else name for name in names]
        if len(names) == 1:
            own = names[0]
            present = {study.feature_ids[i] for i in np.flatnonzero(study.counts.getnnz(axis=0))}
            names = [it for it in like_asvs(study, own) if it == own or it in present]
            logger.info(
                f"{len(names):,} ASVs with a sequence like that of {own}, itself among them"
            )
        logger.info(f"attributions along the bases of {len(names):,} ASVs")
        table = base_attributions(model, study, names, device=device)
    taxa = (
        {} if study.taxonomy is None else dict(zip(study.feature_ids, study.taxonomy, strict=True))
    )
    units = model.target is not None and model.target.name == "regression"
    return Looks(shares, fusion, table, taxa, units)


def _top(
    model: Model,
    study: Study,
    ranking: Sequence[str],
    shares: AttentionShares | None,
    device: str | None,
) -> str:
    if len(ranking):
        return str(ranking[0])
    if model.target is None:
        reads = study.counts.multiply(1 / study.counts.sum(axis=1)).sum(axis=0)
        return study.feature_ids[int(np.asarray(reads).argmax())]
    shares = shares or attention_shares(model, study, device=device)
    return str(shares.features.index[0])
