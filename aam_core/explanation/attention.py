"""What a model made of the metadata that it reads: attention and gates of its fusion."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aam_core.ensemble.forward import outputs_of_batches
from aam_core.errors import InputError
from aam_core.prediction import as_predictor, as_study, override

__all__ = ["fusion_weights"]


def fusion_weights(
    model,
    table,
    *,
    sequences=None,
    metadata=None,
    batch_size: int | None = None,
    device: str | None = None,
) -> pd.DataFrame:
    """How a model's networks weigh covariates, by sample or by ASV.

    Each is the mean over the members of the ensemble.

    Parameters
    ----------
    model : Model or path
        Regressor or classifier with covariates, whose ``model.fusion.kind`` is 'cross-attention',
        'perceiver' or 'gmu'.
    table, sequences, metadata
        As in `aam_core.predict`; the samples need not have been trained on.
    batch_size : int, optional
        Samples at a time; the numbers do not depend on it.
    device : str, optional
        As in the configuration, which it replaces.

    Returns
    -------
    DataFrame
        Of 'cross-attention': index ``sample-id``, ``feature-id``, a row for each ASV that the model
        reads of a sample; a column per covariate, with the share of the ASV's attention on it. The
        rest, up to 1, it pays to none. Of 'perceiver': index ``sample-id``; a column per covariate,
        with its share of what the latent vectors read; the rest is of ASVs. Of 'gmu': index
        ``sample-id``; ``gate_mean`` and ``gate_std`` over the channels of the vector, of gates that
        are 1 where the sample counts alone and 0 where the covariates do.

    Raises
    ------
    InputError
        If the model has no such weights, or as `aam_core.predict`.
    """
    model = as_predictor(model)
    kind = model.config.model.fusion.kind
    if model.covariates is None or not model.covariates.fused:
        raise InputError("This model reads no covariates: there is no fusion to show weights of.")
    if kind not in ("gmu", "cross-attention", "perceiver"):
        raise InputError(
            f"The fusion of this model ({kind}) has no weights to show: those of 'gmu', "
            "'cross-attention' and 'perceiver' have (model.fusion.kind, when fitting)."
        )
    study = as_study(table, sequences=sequences, metadata=metadata)
    config = override(model.config, device)
    names = model.covariates.fused
    samples, features = np.array(study.sample_ids, object), np.array(study.feature_ids, object)
    frames = []
    for batch, output in outputs_of_batches(
        model.network, study, config, model.covariates, batch_size
    ):
        ids = samples[batch.sample_index.numpy()]
        index = pd.Index(ids, name="sample-id")
        if output.gate is not None:
            gate = output.gate.mean(0)
            parts = {"gate_mean": gate.mean(1), "gate_std": gate.std(1, correction=0)}
            columns = {name: values.cpu().numpy() for name, values in parts.items()}
            frames.append(pd.DataFrame(columns, index=index))
            continue
        assert output.attention is not None, kind
        shares = output.attention.mean(0).cpu().numpy()  # [B, A, M], or [B, 1, M]
        if kind == "perceiver":
            frames.append(pd.DataFrame(shares[:, 0], index=index, columns=names))
            continue
        row, place = np.nonzero(batch.asv_mask.numpy())
        asvs = features[batch.feature_index.numpy()[batch.asv_index.numpy()[row, place]]]
        both = pd.MultiIndex.from_arrays([ids[row], asvs], names=["sample-id", "feature-id"])
        frames.append(pd.DataFrame(shares[row, place], index=both, columns=names))
    return pd.concat(frames)
