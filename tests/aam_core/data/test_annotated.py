"""AnnData -> study -> AnnData. What is read needs no anndata; what is written does."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from aam_core.data.annotated import is_anndata
from aam_core.data.study import Study, load_study
from aam_core.errors import InputError

NEEDS_ANNDATA = pytest.mark.skipif(
    importlib.util.find_spec("anndata") is None, reason="anndata is optional"
)
DNA = ["ACGT", "GGTN", "TTTT"]
OBS = pd.DataFrame(
    {"age": [1.0, 2.0], "sex": pd.Categorical(["f", "m"])}, index=pd.Index(["s1", "s2"])
)


class AnnData(SimpleNamespace):
    """The attributes of an AnnData that are read."""

    @property
    def obs_names(self):
        return self.obs.index

    @property
    def var_names(self):
        return self.var.index


def make(X=((5, 0, 1), (0, 2, 3)), obs=OBS, names=("h1", "h2", "h3"), **columns):
    X = np.array(X, np.float32) if isinstance(X, tuple) else X
    return AnnData(X=X, obs=obs, var=pd.DataFrame(columns, index=pd.Index(names)))


def by_id(study: Study) -> dict:
    return dict(zip(study.feature_ids, study.sequences, strict=True))


def test_reads_metadata_and_sequences_are_those_of_the_anndata():
    adata = make(sequence=DNA, note=["x", "y", "z"])
    for study in (Study.from_anndata(adata), load_study(adata)):
        assert study.sample_ids == ["s1", "s2"] and study.counts.dtype == np.int64
        assert study.counts.toarray().tolist() == [[5, 0, 1], [0, 2, 3]]
        assert by_id(study) == dict(zip(["h1", "h2", "h3"], DNA, strict=True))
        assert study.metadata["age"].tolist() == [1, 2]
        assert study.metadata["sex"].tolist() == ["f", "m"]


def test_an_index_of_dna_has_the_sequences_whatever_the_columns():
    adata = make(csr_matrix([[1, 2, 3], [0, 0, 1]]), names=DNA, primer=["ACGTAC"] * 3)
    assert Study.from_anndata(adata).sequences == DNA


def test_sequences_are_named_or_given_beside_it():
    adata = make(sequence=DNA, primer=["ACGTAC"] * 3)
    with pytest.raises(InputError, match=r"2 columns of var .* are DNA \(sequence, primer\)"):
        Study.from_anndata(adata)
    assert by_id(Study.from_anndata(adata, sequences="primer"))["h1"] == "ACGTAC"
    given = dict(zip(["h1", "h2", "h3"], ["AA", "CC", "GG"], strict=True))
    assert by_id(Study.from_anndata(adata, sequences=given)) == given
    with pytest.raises(InputError, match="'seq' is neither a column of var .*sequence, primer"):
        Study.from_anndata(adata, sequences="seq")
    with pytest.raises(InputError, match="feature ids are not DNA"):
        Study.from_anndata(make())


def test_metadata_beside_it_where_it_has_none(tmp_path):
    bare = make(obs=pd.DataFrame(index=OBS.index), sequence=DNA)
    assert Study.from_anndata(bare).metadata is None
    assert Study.from_anndata(bare, metadata=OBS).metadata["age"].tolist() == [1, 2]
    with pytest.raises(InputError, match="beside an AnnData that has some of its own"):
        Study.from_anndata(make(sequence=DNA), metadata=OBS)


def test_what_holds_no_reads_is_refused():
    with pytest.raises(InputError, match="has no X"):
        Study.from_anndata(make(X=None, sequence=DNA))
    with pytest.raises(InputError, match="not whole numbers.*before it was made relative"):
        Study.from_anndata(make(X=((0.5, 0.5, 0), (0, 0.1, 0.9)), sequence=DNA))


def test_a_data_frame_is_none():
    assert is_anndata(make()) and not is_anndata(OBS)


def test_without_anndata_one_line_says_what_to_install():
    code = (
        "import sys; sys.modules['anndata'] = None\n"
        "from aam_core.data.study import Study; from scipy.sparse import csr_matrix\n"
        "Study(['a'], ['ACGT'], csr_matrix([[5]])).to_anndata()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].endswith("pip install anndata.")


@NEEDS_ANNDATA
def test_there_and_back(small):
    adata = small.to_anndata()
    assert adata.shape == small.shape and is_anndata(adata)
    back = Study.from_anndata(adata)
    assert (back.counts != small.counts).nnz == 0 and back.sequences == small.sequences
    assert (back.sample_ids, back.feature_ids) == (small.sample_ids, small.feature_ids)
    pd.testing.assert_frame_equal(back.metadata, small.metadata)
    adata.X[0] = 0
    assert small.counts[0].sum() > 0, "the reads of the study are its own"


@NEEDS_ANNDATA
def test_taxa_are_a_column_and_samples_without_metadata_have_none():
    study = Study(["a"], ["ACGT"], csr_matrix([[5]]), ["ACGT"], taxonomy=["d__Bacteria"])
    adata = study.to_anndata()
    assert adata.var["taxonomy"].tolist() == ["d__Bacteria"] and adata.obs.shape == (1, 0)
