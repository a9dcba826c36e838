from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from aam_core import vocab
from aam_core.config import DataConfig
from aam_core.data.batches import EVALUATION, Batcher
from aam_core.data.study import Study

NAMES = ["s1", "s2", "s3", "s4"]
SEQUENCES = ["TTTT", "ACGTACGT", "GGG", "CCCCC", "AAAAAA"]
COUNTS = [
    [50, 0, 30, 20, 0],
    [0, 5, 0, 0, 200],
    [10, 10, 10, 10, 10],
    [0, 0, 3, 0, 0],
]
AS_IT_IS = DataConfig(rarefaction="none")


def study(counts=COUNTS, samples=NAMES, sequences=SEQUENCES, **more):
    table = csr_matrix(np.asarray(counts, np.int64))
    return Study(list(samples), list(sequences), table, list(sequences), **more)


def content(batch, source):
    """``{sample: {sequence: reads}}`` of what the model reads."""
    actual = {}
    for row, sample in enumerate(batch.sample_index.tolist()):
        shown = batch.asv_mask[row]
        features = batch.feature_index[batch.asv_index[row][shown]].tolist()
        reads = batch.counts[row][shown].tolist()
        pairs = zip(features, reads, strict=True)
        actual[source.sample_ids[sample]] = {source.sequences[f]: n for f, n in pairs}
    return actual


def truth(source):
    return {
        name: {s: n for s, n in zip(source.sequences, row, strict=True) if n}
        for name, row in zip(source.sample_ids, source.counts.toarray().tolist(), strict=True)
    }


def same(left, right):
    return all(
        torch.equal(value, getattr(right, name)) if isinstance(value, torch.Tensor) else True
        for name, value in vars(left).items()
    )


# --- layout --------------------------------------------------------------------------------------


def test_a_batch_has_the_reads_of_its_samples():
    source = study()
    batch = Batcher(source, AS_IT_IS, 0).batch(np.array([2, 0, 3]))
    assert content(batch, source) == {name: truth(source)[name] for name in ("s3", "s1", "s4")}
    assert batch.asv_mask.shape == batch.asv_index.shape == batch.counts.shape == (3, 5)
    assert not batch.counts[~batch.asv_mask].any()
    types = (batch.asv_index.dtype, batch.counts.dtype, batch.asv_mask.dtype)
    assert types == (torch.int64, torch.float32, torch.bool)


def test_each_asv_is_in_a_batch_once_and_only_those_it_needs():
    batch = Batcher(study(), AS_IT_IS, 0).batch(np.array([0, 0, 3]))
    assert batch.feature_index.tolist() == [0, 2, 3]
    assert batch.asv_tokens.shape == (3, 6) and batch.asv_tokens.dtype == torch.uint8
    assert batch.asv_index.max() < 3


def test_no_padding_beyond_the_longest_of_the_batch():
    batcher = Batcher(study(), AS_IT_IS, 0)
    short = batcher.batch(np.array([3]))
    assert short.asv_mask.shape == (1, 1) and short.asv_tokens.shape == (1, 4)
    assert not short.ragged
    ragged = batcher.batch(np.array([0]))
    assert ragged.ragged and (ragged.asv_tokens == vocab.PAD).any()
    assert batcher.batch(np.array([1, 3])).asv_tokens.shape == (3, 9)


def test_targets_and_covariates_follow_their_samples():
    target = np.arange(4, dtype=np.float32)
    covariates = (np.arange(4)[:, None], np.arange(8, dtype=np.float32).reshape(4, 1, 2))
    batcher = Batcher(study(), AS_IT_IS, 0, target=target, covariates=covariates)
    batch = batcher.batch(np.array([3, 1]))
    assert batch.target.tolist() == [3, 1]
    assert batch.categories.tolist() == [[3], [1]]
    assert batch.numeric.tolist() == [[[6, 7]], [[2, 3]]]


def test_held_out_samples_have_weight_0_in_training_and_1_in_evaluation():
    source, held_out = study(), np.eye(3, 4, dtype=bool)
    for how in ("fixed", "redraw"):
        config = DataConfig(rarefaction=how)
        batcher = Batcher(source, config, 0, held_out=held_out)
        samples = np.array([3, 0, 1])
        expected = held_out[:, samples].astype(float)
        assert batcher.batch(samples).weight.tolist() == expected.tolist()
        assert batcher.batch(samples, 0).weight.tolist() == (1 - expected).tolist()
    assert Batcher(source, AS_IT_IS, 0).batch(samples).weight is None


def test_repr_is_a_few_lines():
    text = repr(Batcher(study(), AS_IT_IS, 0).batch(np.arange(4)))
    assert text.startswith("Batch(sample_index [4] int64, ") and len(text) < 400


def test_vectors_of_a_frozen_encoder():
    vectors = torch.arange(10.0).view(5, 2)
    batch = Batcher(study(), AS_IT_IS, 0, asv_vectors=vectors).batch(np.array([0]))
    assert batch.asv_tokens is None
    assert torch.equal(batch.asv_vectors, vectors[[0, 2, 3]])


def test_sequences_may_be_truncated_on_request():
    config = DataConfig(rarefaction="none", max_bp=4, long_sequences="truncate")
    assert Batcher(study(), config, 0).batch(np.arange(4)).asv_tokens.shape == (5, 5)


# --- distances -----------------------------------------------------------------------------------


def test_distances_are_of_the_reads_before_max_asvs():
    source = study()
    config = DataConfig(rarefaction="none", max_asvs=2)
    batch = Batcher(source, config, 0, distances=True).batch(np.array([2, 1]))
    assert int(batch.asv_mask.sum(1).max()) == 2
    whole = np.zeros((2, 5))
    whole[:, batch.table_features.numpy()] = batch.table.numpy()
    assert whole.tolist() == [COUNTS[2], COUNTS[1]]
    assert batch.distance is None


def test_distances_of_the_study_are_selected_by_sample():
    given = np.arange(16, dtype=np.float32).reshape(4, 4)
    batch = Batcher(study(distances=given), AS_IT_IS, 0, distances=True).batch(np.array([2, 0]))
    assert batch.distance.tolist() == [[10, 8], [2, 0]] and batch.table is None


# --- processes -----------------------------------------------------------------------------------


def dealt(batcher, *parts):
    """The parts of a batch, as the processes have them; an empty one stands in."""
    draws = [batcher.draw(np.array(part or [3]), placeholder=not part) for part in parts]
    shared = [batcher.share(draw) for draw in draws]
    return [batcher.assemble(draw, shared, process) for process, draw in enumerate(draws)]


def test_a_single_rank_has_all_samples():
    batch = Batcher(study(), AS_IT_IS, 0).batch(np.array([2, 0]))
    assert (batch.offset, batch.rank_sizes, batch.num_samples) == (0, (2,), 2)
    assert batch.global_index.tolist() == batch.sample_index.tolist() == [2, 0]
    assert batch.key is None and batch.masked_tokens is None and not batch.placeholder


def test_each_rank_knows_the_samples_of_all():
    parts = dealt(Batcher(study(), AS_IT_IS, 0, distances=True), [2, 0], [], [1])
    assert [part.offset for part in parts] == [0, 2, 2]
    assert [part.num_samples for part in parts] == [2, 0, 1]
    assert [part.placeholder for part in parts] == [False, True, False]
    for part in parts:
        assert part.rank_sizes == (2, 0, 1) and part.global_index.tolist() == [2, 0, 1]
        whole = np.zeros((3, 5))
        whole[:, part.table_features.numpy()] = part.table.numpy()
        assert whole.tolist() == [COUNTS[2], COUNTS[0], COUNTS[1]]
    assert [part.sample_index.tolist() for part in parts] == [[2, 0], [3], [1]]
    assert parts[2].feature_index.tolist() == [1, 4]


def test_distances_of_the_study_are_of_a_ranks_samples_to_all():
    given = np.arange(16, dtype=np.float32).reshape(4, 4)
    batcher = Batcher(study(distances=given), AS_IT_IS, 0, distances=True)
    parts = dealt(batcher, [2, 0], [1])
    assert parts[0].distance.tolist() == [[10, 8, 9], [2, 0, 1]]
    assert parts[1].distance.tolist() == [[6, 4, 5]]
    assert all(part.table is None for part in parts)


@pytest.mark.parametrize("distances", [True, False])
@pytest.mark.parametrize("given", [None, np.zeros((4, 4), np.float32)])
def test_ranks_share_no_more_than_is_needed(distances, given):
    batcher = Batcher(study(distances=given), AS_IT_IS, 0, distances=distances)
    shared = batcher.share(batcher.draw(np.array([0, 3])))
    assert shared.samples.tolist() == [0, 3] and shared.features.tolist() == [0, 2, 3]
    if distances and given is None:
        assert shared.lengths.tolist() == [3, 1]
        assert shared.tips.tolist() == [0, 2, 3, 2]
        assert shared.counts.tolist() == [50, 30, 20, 3]
    else:
        assert not len(shared.lengths) and not len(shared.tips) and not len(shared.counts)
    placeholder = batcher.share(batcher.draw(np.array([0]), placeholder=True))
    assert not any(len(part) for part in vars(placeholder).values())


def test_reads_of_a_rank_do_not_depend_on_the_other_ranks():
    batcher = Batcher(study(), AS_IT_IS, 0)
    alone = batcher.batch(np.array([1, 3]))
    _, dealt_out = dealt(batcher, [0, 2], [1, 3])
    for name in ("asv_tokens", "asv_index", "asv_mask", "counts", "feature_index"):
        assert torch.equal(getattr(alone, name), getattr(dealt_out, name))


def test_every_tensor_moves():
    batcher = Batcher(study(), AS_IT_IS, 0, distances=True, target=np.zeros(4, np.float32))
    moved = batcher.batch(np.arange(4)).to("meta")
    tensors = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 10 and all(tensor.is_meta for tensor in tensors)
    assert moved.rank_sizes == (4,)


# --- draws ---------------------------------------------------------------------------------------

DEEP = np.random.default_rng(0).integers(0, 60, (6, 40)) * (
    np.random.default_rng(1).random((6, 40)) < 0.7
)
LONG = ["".join(np.random.default_rng(i).choice(list("ACGT"), 10 + i % 3)) for i in range(40)]
SIX = [f"sample.{i}" for i in range(6)]
DRAWN = DataConfig(rarefaction="redraw", sampling_depth=200)


@pytest.fixture
def deep():
    return study(DEEP, SIX, LONG)


def test_exactly_the_depth(deep):
    for epoch in (EVALUATION, 0, 1):
        batch = Batcher(deep, DRAWN, 0).batch(np.arange(6), epoch)
        assert batch.counts.sum(1).tolist() == [200] * 6
        assert (batch.counts[batch.asv_mask] > 0).all()


def test_shallow_samples_keep_their_reads(deep):
    config = replace(DRAWN, sampling_depth=10**6)
    assert content(Batcher(deep, config, 0).batch(np.arange(6)), deep) == truth(deep)


@pytest.mark.parametrize("how", ["redraw", "fixed", "none"])
def test_what_changes_from_epoch_to_epoch(deep, how):
    batcher = Batcher(deep, replace(DRAWN, rarefaction=how), 0)
    first, again, second, scored = (batcher.batch(np.arange(6), e) for e in (0, 0, 1, EVALUATION))
    assert same(first, again)
    assert same(first, second) == (how != "redraw")
    assert same(first, scored) == (how != "redraw")
    other = Batcher(deep, replace(DRAWN, rarefaction=how), 1).batch(np.arange(6), 0)
    assert same(first, other) == (how == "none")


def test_depths_vary_from_sample_to_sample(deep):
    config = replace(DRAWN, sampling_depth=100, sampling_depth_max=400)
    batcher = Batcher(deep, config, 0)
    depths = batcher.batch(np.arange(6), 0).counts.sum(1)
    assert len(set(depths.tolist())) > 3 and depths.min() >= 100 and depths.max() <= 400
    assert batcher.batch(np.arange(6)).counts.sum(1).tolist() == [400] * 6


def test_some_samples_are_read_whole(deep):
    """Another time others; evaluation reads all of them whole."""
    batcher = Batcher(deep, replace(DRAWN, full_depth=0.5), 0)
    every = DEEP.sum(1).tolist()
    seen = np.array([batcher.batch(np.arange(6), e).counts.sum(1).tolist() for e in range(8)])
    whole = seen == every
    assert (seen[~whole] == 200).all() and len(set(map(tuple, whole))) > 1
    assert 0.25 < whole.mean() < 0.75
    assert batcher.batch(np.arange(6)).counts.sum(1).tolist() == every


@pytest.mark.parametrize("selection", ["abundance", "random"])
@pytest.mark.parametrize("how", ["redraw", "none"])
def test_draws_depend_neither_on_the_batch_nor_on_the_order_of_the_table(deep, how, selection):
    config = replace(DRAWN, rarefaction=how, max_asvs=10, asv_selection=selection)
    expected = content(Batcher(deep, config, 0).batch(np.arange(6), 3), deep)
    alone = [content(Batcher(deep, config, 0).batch(np.array([i]), 3), deep) for i in range(6)]
    assert {name: reads for part in alone for name, reads in part.items()} == expected
    rows, columns = (
        np.random.default_rng(2).permutation(6),
        np.random.default_rng(3).permutation(40),
    )
    turned = study(DEEP[rows][:, columns], np.array(SIX)[rows], np.array(LONG)[columns])
    assert content(Batcher(turned, config, 0).batch(np.arange(6), 3), turned) == expected
    # A table of these samples alone has the features of these alone.
    seen = np.flatnonzero(DEEP[:2].any(0))
    part = study(DEEP[:2][:, seen], SIX[:2], np.array(LONG)[seen])
    actual = content(Batcher(part, config, 0).batch(np.arange(2), 3), part)
    assert actual == {name: expected[name] for name in SIX[:2]}


def test_ties_do_not_follow_the_table():
    """A rare ASV is as rare as many others: which are read must not depend on their columns."""
    counts, config = np.ones((1, 40), np.int64), DataConfig(rarefaction="none", max_asvs=10)
    there = study(counts, ["s"], LONG)
    back = study(counts, ["s"], LONG[::-1])
    actual, again = (Batcher(x, config, 0).batch(np.array([0])) for x in (there, back))
    assert content(actual, there) == content(again, back)
    first = replace(config, asv_selection="first")
    assert set(content(Batcher(back, first, 0).batch(np.array([0])), back)["s"]) == set(LONG[30:])


def test_richness_is_what_the_model_may_read(small):
    actual = (small.counts > 0).sum(1).A1
    assert Batcher(small, DataConfig(), 0).richness.tolist() == actual.tolist()
    few = Batcher(small, DataConfig(max_asvs=5), 0).richness
    assert few.max() == 5 and few.tolist() == np.minimum(actual, 5).tolist()
