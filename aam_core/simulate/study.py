"""Simulated studies with a known signal: tree, sequences, table and metadata.

The log-abundance of feature f in sample s, before reads are drawn, is

    base_f + effect * (a_f * z_s + b_f * h_u) + subject_fu + run_fr + noise_fs

where u is the subject and r the sequencing run of the sample; a and b are traits that evolved
along the tree (so that relatives respond alike), z is the gradient and h what the group is cut
from. A subject carries only some of the features. Letters: N samples, F features, S subjects.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from aam_core.errors import InputError
from aam_core.files.folders import replacing_in
from aam_core.simulate.evolution import birth_death_tree, brownian_traits, evolve_sequences
from aam_core.summary import Summarized

if TYPE_CHECKING:
    from biom import Table

__all__ = ["SimulatedStudy", "simulate"]

_GRADIENT_MEAN, _GRADIENT_SD = 50.0, 15.0
_SUBJECT_SHARE = 0.3
"""Share of the gradient's variance that lies between subjects: what a random split leaks."""

_BASE_SD, _SUBJECT_SD, _RUN_SD, _NOISE_SD = 1.5, 1.0, 0.3, 1.0
"""Standard deviations, in natural-log abundance, of the parts that carry no signal."""

_CARRIED = 0.5
"""Probability that a subject carries a feature."""

_DEPTH_SD = 0.5
"""Standard deviation of the natural logarithm of the sequencing depth."""

_RUNS = ("run-1", "run-2", "run-3")


@dataclass(frozen=True, repr=False)
class SimulatedStudy(Summarized):
    """A simulated study, and the truth that it was drawn from."""

    table: Table
    """biom.Table, F features x N samples, reads."""
    sequences: dict[str, str]
    """Feature id -> DNA."""
    tree: str
    """Newick; the tips are the feature ids."""
    metadata: pd.DataFrame
    """N rows; columns host_subject_id, gradient, group, sequencing_run."""
    responses: pd.DataFrame
    """The truth: F rows; change of log-abundance per standard deviation of 'gradient' and of
    what 'group' is cut from."""

    def write(self, out_dir) -> None:
        """Write table.biom, rep-seqs.fasta, tree.nwk and metadata.tsv into ``out_dir``.

        Files of these names are replaced, once all four are complete.

        Raises
        ------
        InputError
            If they cannot be written: a disk that is full, or may not be written.
        """
        import h5py

        # HDF5 that meets a full disk fails again when it is closed: it is made in memory.
        table = io.BytesIO()
        with h5py.File(table, "w") as file:
            self.table.to_hdf5(file, generated_by="aam simulate")
        fasta = "".join(f">{name}\n{dna}\n" for name, dna in self.sequences.items())
        try:
            with replacing_in(out_dir) as folder:
                (folder / "table.biom").write_bytes(table.getvalue())
                (folder / "rep-seqs.fasta").write_text(fasta)
                (folder / "tree.nwk").write_text(self.tree + "\n")
                self.metadata.to_csv(folder / "metadata.tsv", sep="\t")
        except OSError as error:
            raise InputError(
                f"{out_dir} cannot be written ({error.strerror or error}): make room, or name "
                "another folder."
            ) from None

    def _summary(self) -> tuple[str, dict[str, str]]:
        features, samples = self.table.shape
        columns = ", ".join(self.metadata.columns)
        title = f"SimulatedStudy: {samples:,} samples x {features:,} features"
        return title, {"reads": f"{int(self.table.sum()):,}", "metadata": columns}


def simulate(
    samples: int = 200,
    features: int = 500,
    seed: int = 1,
    *,
    sequence_length: int = 150,
    depth: float = 5000,
    subjects: int | None = None,
    effect: float = 1.0,
    feature_ids: str = "md5",
) -> SimulatedStudy:
    """Simulate a study in which a gradient and a group shape the communities.

    Parameters
    ----------
    samples, features : int
        Size of the table; every sample has reads and every feature is seen.
    seed : int
        The same seed and sizes give the same study.
    sequence_length : int
        Bases of every sequence.
    depth : float
        Median reads of a sample; depths are lognormal.
    subjects : int, optional
        Hosts, sampled repeatedly; by default a quarter of the samples.
    effect : float
        Standard deviation, over features, of the change in natural-log abundance when the
        gradient (or what the group is cut from) rises by one standard deviation. 0: no signal,
        and nothing can be learned about an unseen subject.
    feature_ids : str
        'md5' names a feature by the MD5 of its sequence, as QIIME 2 does; 'sequence' by the
        sequence itself.

    Raises
    ------
    InputError
        If a size cannot be simulated.
    """
    subjects = max(2, samples // 4) if subjects is None else subjects
    _check(samples, features, seed, sequence_length, depth, subjects, effect, feature_ids)
    rng = np.random.default_rng(seed)
    tree = birth_death_tree(features, rng)
    dna = evolve_sequences(tree, sequence_length, rng)
    names = dna if feature_ids == "sequence" else [_md5(text) for text in dna]
    responses = effect * brownian_traits(tree, 2, rng)
    design = _design(samples, subjects, rng)
    counts = _communities(design, responses, depth, rng)

    order = np.argsort(names)
    names = [names[i] for i in order]
    return SimulatedStudy(
        table=_table(counts[:, order], names, design.index),
        sequences={name: dna[i] for name, i in zip(names, order, strict=True)},
        tree=tree.newick([_md5(t) for t in dna] if feature_ids == "md5" else dna),
        metadata=design[["host_subject_id", "gradient", "group", "sequencing_run"]],
        responses=pd.DataFrame(
            responses[order],
            index=pd.Index(names, name="feature-id"),
            columns=["gradient", "group"],
        ),
    )


def _check(samples, features, seed, sequence_length, depth, subjects, effect, feature_ids):
    for name, value, least in (
        ("samples", samples, 2),
        ("features", features, 4),
        ("seed", seed, 0),
        ("sequence length", sequence_length, 20),
        ("depth", depth, 1),
        ("subjects", subjects, 2),
        ("effect", effect, 0),
    ):
        if not value >= least:  # not `<`, which is false for NaN
            raise InputError(f"Cannot simulate: {name} is {value}; it must be at least {least}.")
    if subjects > samples:
        raise InputError(
            f"Cannot simulate {samples} samples of {subjects} subjects: give fewer subjects."
        )
    if feature_ids not in ("md5", "sequence"):
        raise InputError(f"Feature ids must be 'md5' or 'sequence', not {feature_ids!r}.")


def _md5(text: str) -> str:
    # usedforsecurity=False: OpenSSL in FIPS mode refuses MD5 otherwise.
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _design(samples, subjects, rng) -> pd.DataFrame:
    """Metadata, and the hidden columns owner, z and h."""
    # Subjects differ by one sample at most.
    owner = np.sort(np.arange(samples) % subjects)
    visit = np.arange(samples) - np.searchsorted(owner, owner) + 1
    between, within = rng.normal(size=subjects), rng.normal(size=samples)
    z = np.sqrt(_SUBJECT_SHARE) * between[owner] + np.sqrt(1 - _SUBJECT_SHARE) * within
    # Exactly standard: `responses` are changes per standard deviation.
    z = (z - z.mean()) / z.std()
    hidden = rng.normal(size=subjects)
    hidden = (hidden - hidden.mean()) / hidden.std()
    digits = max(3, len(str(subjects)))
    subject_ids = [f"S{u + 1:0{digits}d}" for u in owner]
    index = [f"{name}.{v:02d}" for name, v in zip(subject_ids, visit, strict=True)]
    return pd.DataFrame(
        {
            "host_subject_id": subject_ids,
            "gradient": np.round(_GRADIENT_MEAN + _GRADIENT_SD * z, 2),
            "group": np.where(hidden > np.median(hidden), "case", "control")[owner],
            "sequencing_run": np.array(_RUNS)[rng.integers(len(_RUNS), size=samples)],
            "owner": owner,
            "z": z,
            "h": hidden[owner],
        },
        index=pd.Index(index, name="sample-id"),
    )


def _communities(design, responses, depth, rng) -> sparse.csr_matrix:
    """[N, F] reads drawn from each sample's log-abundances; no empty sample or feature."""
    features = len(responses)
    base = rng.normal(0, _BASE_SD, features)
    runs = dict(zip(_RUNS, rng.normal(0, _RUN_SD, (len(_RUNS), features)), strict=True))
    reads = np.maximum(1, np.exp(rng.normal(np.log(depth), _DEPTH_SD, len(design))).astype(int))
    rows, best, best_row = [], np.full(features, -np.inf), np.zeros(features, dtype=int)
    subject = None
    hidden = design[["owner", "z", "h", "sequencing_run"]]
    for row, (owner, z, h, run) in enumerate(hidden.itertuples(index=False)):
        if owner != subject:
            subject = owner
            offset = rng.normal(0, _SUBJECT_SD, features)
            carried = rng.random(features) < _CARRIED
            # A subject that carries nothing would have only weights of 0.
            carried[rng.integers(features)] = True
        log = base + responses @ (z, h) + offset + runs[run] + rng.normal(0, _NOISE_SD, features)
        # The greatest exponent is 0: exp does not overflow.
        weight = np.exp(log - log[carried].max()) * carried
        rows.append(sparse.csr_matrix(rng.multinomial(reads[row], weight / weight.sum())))
        better = log > best
        best[better], best_row[better] = log[better], row
    counts = sparse.vstack(rows).tolil()
    unseen = np.setdiff1d(np.arange(features), counts.tocsr().indices)
    counts[best_row[unseen], unseen] = 1  # one read where it would be most abundant
    return counts.tocsr().astype(np.int64)


def _table(counts, feature_ids, sample_ids):
    from biom import Table

    return Table(counts.T.tocsr().astype(float), list(feature_ids), list(sample_ids))
