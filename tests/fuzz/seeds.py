"""Whole inputs, small and in every format: what is damaged starts from these."""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import torch
import yaml

from aam_core.config import presets
from aam_core.data.qza import MEMBERS
from aam_core.data.study import load_study
from aam_core.files.folders import write_manifest
from aam_core.fitting import fit_classifier, fit_regressor
from aam_core.prediction import predict
from aam_core.simulate.study import simulate

DATE = "2026-01-01T00:00:00+00:00"
"""Of all seeds: the same seeds make the same cases."""

BRIEF = {
    "train.max_steps": 2,
    "train.device": "cpu",
    "train.threads": 1,
    "train.trackers": "none",
    "model.members": 2,
    "train.val_fraction": 0.5,
    "forest.trees": 5,
}


def build(folder: Path) -> None:
    """Write all seeds into ``folder``: files by kind, and folders of models and a checkpoint."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    made = simulate(16, 24, 3, sequence_length=40, depth=300)
    made.write(folder)
    _without_date(folder / "table.biom")
    _tables(folder, made)
    _texts(folder, made)
    study = load_study(made.table, sequences=made.sequences, metadata=made.metadata)
    config = presets.fitting("tiny").replace(BRIEF)
    options = {"config": config, "group_by": "host_subject_id"}
    run = folder / "regressor"
    covariates = ["sequencing_run", "group"]
    fit_regressor(study, "gradient", covariates=covariates, output=run, **options)
    fit_classifier(study, "group", output=folder / "classifier", **options)
    shutil.move(run / "checkpoint" / "last", folder / "checkpoint")
    for name in ("regressor", "classifier"):
        shutil.rmtree(folder / name / "checkpoint", ignore_errors=True)
        shutil.rmtree(folder / name / "logs", ignore_errors=True)
        for picture in (folder / name).glob("*.png"):
            picture.unlink()
        head = folder / name / "run.json"
        head.write_text(json.dumps(json.loads(head.read_text()) | {"created": DATE}))
        write_manifest(folder / name)
        result = predict(folder / name, study)
        result.to_csv(folder / f"{name}.tsv", sep="\t", index_label="sample-id")


def _without_date(path: Path) -> None:
    """Make a table anew, but for when it was made."""
    whole = h5py.File(io.BytesIO(path.read_bytes()), "r")
    with h5py.File(path, "w") as file:
        for name in ("sample", "observation"):
            whole.copy(name, file)
        file.attrs["format-version"] = (2, 1)


def _tables(folder: Path, made) -> None:
    content = json.loads(made.table.to_json("fuzz")) | {"date": DATE}
    (folder / "table.json").write_text(json.dumps(content))
    content |= {"matrix_type": "dense", "data": made.table.matrix_data.toarray().tolist()}
    (folder / "dense.json").write_text(json.dumps(content))


def _texts(folder: Path, made) -> None:
    size = len(made.metadata)
    points = np.random.default_rng(0).random((size, 2))
    matrix = np.abs(points[:, None] - points).sum(-1).round(5)
    ids = list(made.metadata.index)
    for name, between in (("distances.tsv", "\t"), ("distances.csv", ",")):
        rows = [between.join(map(str, [i, *row])) for i, row in zip(ids, matrix, strict=True)]
        (folder / name).write_text("\n".join([between.join(["", *ids]), *rows]) + "\n")
    with h5py.File(folder / "distances.h5", "w") as file:
        file.create_dataset("order", data=ids, dtype=h5py.string_dtype())
        file.create_dataset("matrix", data=matrix, chunks=(4, 4), compression="gzip")
    header, *lines = (folder / "metadata.tsv").read_text().splitlines()
    types = "#q2:types\tcategorical\tnumeric\tcategorical\tcategorical"
    (folder / "declared.tsv").write_text("\n".join([header, types, "# a comment", *lines]) + "\n")
    (folder / "quoted.nwk").write_text("(('a b':1,c_d:2)0.9:1e-3[a comment],e:0,'f''g':.5)root;\n")
    (folder / "corpus.txt").write_text("\n".join(made.sequences.values()) + "\n")
    (folder / "ids.txt").write_text("\n".join(ids) + "\n")
    (folder / "config.yaml").write_text(yaml.safe_dump(presets.fitting("small").to_dict()))
    space = {
        "optim.lr": {"low": 1e-4, "high": 1e-2, "log": True},
        "model.sample.depth": {"low": 0, "high": 4, "step": 2},
        "data.rarefaction": {"choices": ["none", "redraw"]},
    }
    (folder / "space.yaml").write_text(yaml.safe_dump(space))
    for kind, name in {
        "FeatureTable[Frequency]": "table.biom",
        "FeatureData[Sequence]": "rep-seqs.fasta",
        "Phylogeny[Rooted]": "tree.nwk",
        "DistanceMatrix": "distances.tsv",
    }.items():
        pack(folder / f"{name}.qza", kind, (folder / name).read_bytes())
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes(), mtime=0))


def pack(path: Path, kind: str, content: bytes, compression=zipfile.ZIP_DEFLATED) -> None:
    """Write an artifact with ``content`` as its data."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in (
            ("u/metadata.yaml", f"uuid: u\ntype: {kind}\nformat: F\n"),
            (f"u/data/{MEMBERS[kind]}", content),
        ):
            archive.writestr(zipfile.ZipInfo(name), data, compression)
