"""``aam distance-fit``."""

from __future__ import annotations

import pandas as pd
import pytest


def test_an_encoder_is_compared_with_its_tree(aam, refuses, encoder, study_dir, tmp_path):
    table = ("--table", study_dir / "table.biom", "--sequences", study_dir / "rep-seqs.fasta")
    out = tmp_path / "fit.tsv"
    given = ("distance-fit", "--encoder", encoder.folder, *table, "--output", out)
    assert "Missing option '--tree'" in refuses(*given)
    outcome = aam(*given, "--tree", study_dir / "tree.nwk", "--samples", "all")
    assert outcome.status == 0, outcome.err
    names, values = (line.split() for line in outcome.out.splitlines())
    shown = dict(zip(names, values[1:], strict=True))
    written = pd.read_csv(out, sep="\t", index_col="sample-id")
    assert int(shown["samples"]) == len(written) == 40
    pairs = written["error"].mean()  # each pair counts for both of its samples
    assert float(shown["mae"]) == pytest.approx(pairs, rel=1e-3)
    assert "trained on" in outcome.err
