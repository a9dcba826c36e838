"""UniFrac without a tree: predicted against true distances of samples that no encoder has seen.

Pretrains an encoder on three quarters of the subjects of a study, with the tree, and predicts the
unweighted UniFrac of the samples of the others: without a tree, as they are, with their ASVs cut to
100 of 150 bases, with those of every other sample cut, and of the other study. All samples have
1,000 reads, for the true and the predicted distances alike. Mantel's test (Spearman) and Procrustes
(M2 of the first three principal coordinates; 0 is the same shape) are of 999 permutations. Jaccard
on the same reads is what can be computed without a tree and without a model. Prints a row of the
table in docs/understanding.md for each::

    .venv/bin/python benchmarks/embeddings.py --data ../shared/data --encoders encoders

An encoder that is in the folder already is used as it is.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import hstack
from scipy.spatial import procrustes
from skbio import DistanceMatrix
from skbio.stats.distance import mantel

from aam_core import Model, Study, embed, load_model, load_study, predicted_distances, pretrain
from aam_core.data.rarefaction import rarefy, sample_rng
from aam_core.data.splits import make_folds
from aam_core.embedding import nearest_neighbours, ordinate
from aam_core.log import logger
from aam_core.phylogeny.distances import table_distances

SUBJECT, DEPTH, SEED = "host_subject_id", 1000, 0
EPOCHS = {"ecam": 40, "ibd": 30}
AXES, PERMUTATIONS = 3, 999


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--encoders", type=Path, default=Path("encoders"))
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    logger.setLevel(logging.INFO)
    held_out, encoders = {}, {}
    for name in EPOCHS:
        study = load(arguments.data / name)
        groups = study.metadata[SUBJECT]
        train, test = make_folds(study.sample_ids, folds=4, seed=SEED, groups=groups)[0]
        folder = arguments.encoders / name
        if not (folder / "config.json").exists():
            options = {"epochs": EPOCHS[name], "group_by": SUBJECT, "threads": arguments.threads}
            pretrain(study.select(train), output=folder, **options)
        encoders[name] = load_model(folder)
        # Both distances are of the ASVs that the tree has.
        held_out[name] = rarefied(load(arguments.data / name, keep_unplaced=False), test)
        subjects = groups.loc[held_out[name].sample_ids].nunique()
        print(f"{name}: {len(held_out[name].sample_ids)} samples of {subjects} held-out subjects")
    print("| samples | encoder of | known reads | Mantel r (p) | Procrustes M2 (p) | R2 | MAE |")
    print("|---|---|---|---|---|---|---|")
    for name, study in held_out.items():
        truth = unifrac(study)
        for other, encoder in encoders.items():
            row(f"{name}, as they are", other, encoder, study, truth)
        if name == "ecam":  # those of ibd have 100 bases
            row("ecam, 100 of 150 bases", name, encoders[name], cut(study), truth)
            row("ecam, every other sample cut", name, encoders[name], half_cut(study), truth)
        jaccard = table_distances(study.counts, None, "jaccard")
        print(line(f"{name}, Jaccard", "-", float("nan"), frame(study, jaccard), truth))
    print("| nearest ASV by | encoder of | distance in the tree, median | of a random ASV |")
    print("|---|---|---|---|")
    for name, study in held_out.items():
        neighbours(name, encoders[name], study)


def load(folder: Path, **options) -> Study:
    """A study with its tree; of `ecam` the children."""
    own = {"sequences": folder / "rep-seqs.fasta", "where": "mom_child=C"}
    return load_study(
        folder / "table.biom",
        tree=folder / "tree.nwk",
        metadata=folder / "metadata.tsv",
        **(own if folder.name == "ecam" else {}),
        **options,
    )


def rarefied(study: Study, samples: list[str]) -> Study:
    """These samples, where they have so many reads, with `DEPTH` reads of each."""
    study = study.select(samples)
    deep = [
        name
        for name, reads in zip(study.sample_ids, study.counts.sum(1).A1, strict=True)
        if reads >= DEPTH
    ]
    study = study.select(deep)
    counts = study.counts.copy()
    for place, name in enumerate(deep):
        here = slice(*counts.indptr[place : place + 2])
        counts.data[here] = rarefy(counts.data[here], DEPTH, sample_rng(SEED, name, 0))
    counts.eliminate_zeros()
    return dataclasses.replace(study, counts=counts)


def unifrac(study: Study) -> pd.DataFrame:
    return frame(study, table_distances(study.counts, study.phylogeny, "unweighted"))


def frame(study: Study, distances) -> pd.DataFrame:
    values = np.asarray(distances, np.float64)
    return pd.DataFrame((values + values.T) / 2, study.sample_ids, study.sample_ids)


def cut(study: Study, bases: int = 100) -> Study:
    """The same samples, whose ASVs have fewer bases."""
    return dataclasses.replace(study, sequences=[dna[:bases] for dna in study.sequences])


def half_cut(study: Study) -> Study:
    """The same samples, of which every other one has ASVs with fewer bases."""
    odd = np.arange(len(study.sample_ids)) % 2 == 1
    sides = (study.counts.multiply(side[:, None]) for side in (~odd, odd))
    counts = hstack(list(sides)).tocsr().astype(np.int64)
    counts.sort_indices()
    return dataclasses.replace(
        study,
        counts=counts,
        feature_ids=[*study.feature_ids, *(f"{name}-cut" for name in study.feature_ids)],
        sequences=[*study.sequences, *cut(study).sequences],
        phylogeny=None,
    )


def row(what: str, name: str, encoder: Model, study: Study, truth: pd.DataFrame) -> None:
    """Print how an encoder predicts the distances of these samples."""
    known = encoder.known.compare(study).known
    reads = study.counts @ known / study.counts.sum(1).A1
    bare = dataclasses.replace(study, phylogeny=None)
    predicted = predicted_distances(encoder, bare)
    print(
        line(what, name, float(np.median(reads)), predicted.astype(np.float64), truth), flush=True
    )


def line(what: str, name: str, known: float, predicted: pd.DataFrame, truth: pd.DataFrame) -> str:
    pairs = np.triu_indices(len(truth), 1)
    x, y = predicted.to_numpy()[pairs], truth.to_numpy()[pairs]
    both = (DistanceMatrix(it.to_numpy(), list(it.index)) for it in (predicted, truth))
    np.random.seed(SEED)  # of the permutations
    r, r_p, _ = mantel(*both, method="spearman", permutations=PERMUTATIONS)
    m2, m2_p = procrustes_test(predicted, truth)
    r2 = 1 - np.square(x - y).sum() / np.square(y - y.mean()).sum()
    of = "-" if known != known else f"{known:.2f}"
    return (
        f"| {what} | {name} | {of} | {r:.3f} ({r_p:.3f}) | {m2:.3f} ({m2_p:.3f}) | {r2:.2f} | "
        f"{np.abs(x - y).mean():.3f} |"
    )


def procrustes_test(one: pd.DataFrame, other: pd.DataFrame) -> tuple[float, float]:
    """M2 of the first principal coordinates, and p by permutations (Jackson 1995, Ecoscience)."""
    left, right = (ordinate(it, AXES).coordinates.to_numpy() for it in (one, other))
    m2 = procrustes(right, left)[2]
    rng = np.random.default_rng(SEED)
    drawn = [procrustes(right, rng.permutation(left))[2] for _ in range(PERMUTATIONS)]
    return float(m2), (1 + sum(each <= m2 for each in drawn)) / (1 + PERMUTATIONS)


def neighbours(name: str, encoder: Model, study: Study) -> None:
    """Print how far the nearest ASV of each ASV is in the tree."""
    present = np.flatnonzero(study.counts.getnnz(axis=0))
    between = patristic(study, present)
    vectors = embed(encoder, dataclasses.replace(study, phylogeny=None), level="asv")
    near = nearest_neighbours(vectors.iloc[present], 1)
    place = {study.feature_ids[i]: row for row, i in enumerate(present)}
    theirs = np.array([place[feature] for feature in near["neighbour"]])
    random = between[~np.eye(len(between), dtype=bool)]
    values = between[np.arange(len(theirs)), theirs]
    print(f"| vectors of {name} | {name} | {np.median(values):.3f} | {np.median(random):.3f} |")
    letters = np.array([list(study.sequences[i]) for i in present])
    same = np.stack([(letters != one).sum(1) for one in letters]).astype(float)
    np.fill_diagonal(same, np.inf)
    hamming = between[np.arange(len(same)), same.argmin(1)]
    print(f"| fewest mismatches, {name} | - | {np.median(hamming):.3f} | {np.median(random):.3f} |")


def patristic(study: Study, features: np.ndarray) -> np.ndarray:
    """``[n, n]`` distances along the tree between features."""
    tree = study.phylogeny.take(features)
    below = tree.incidence
    shared = (below.multiply(tree.lengths) @ below.T).toarray()
    depth = np.diag(shared)
    return depth[:, None] + depth[None, :] - 2 * shared


if __name__ == "__main__":
    main()
