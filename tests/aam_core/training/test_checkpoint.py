from __future__ import annotations

import json
import math
import os
import random
import signal
import stat
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from aam_core.errors import InputError
from aam_core.files.folders import MANIFEST, write_manifest
from aam_core.model import Model
from aam_core.models.network import Network, Parts
from aam_core.training.checkpoint import (
    FORMAT_VERSION,
    HEAD,
    Checkpoint,
    check_weights,
    exists,
    find,
    load,
    read_run,
    save,
)

TENSORS = ("weights", "optimizer", "sums", "average", "best")
NUMBERS = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, math.inf, -math.inf, math.nan]


def a_checkpoint():
    generator = torch.Generator().manual_seed(3)
    weights = {
        "encoder.0.weight": torch.randn(3, 5, generator=generator),
        "head.bias": torch.randn(4, generator=generator).bfloat16(),
        "turned": torch.randn(2, 6, generator=generator, dtype=torch.float64).T,
        "scale": torch.tensor(math.pi),
        "edges": torch.tensor([math.inf, -math.inf, math.nan, -0.0, 1e-45]),
        "none": torch.zeros(0, 3),
    }
    state = {
        "encoder.0.weight": {"exp_avg": torch.randn(3, 5), "step": torch.tensor(7.0)},
        "head.bias": {"exp_avg": torch.randn(4).half(), "step": torch.tensor(7.0)},
        "odd/name": {"step": torch.tensor(3)},
    }
    return Checkpoint(
        run={"kind": "encoder", "config": {"optim": {"lr": 3e-4}}, "val_samples": ["ä", "007"]},
        progress={"step": 7, "best": math.inf, "history": [{"a": x} for x in NUMBERS], "no": None},
        weights=weights,
        optimizer=state,
        average={name: value + 1 for name, value in weights.items()},
        best={name: value - 1 for name, value in weights.items()},
        sums={"train/total_loss": torch.tensor(1e300, dtype=torch.float64), "n": torch.tensor(5)},
    )


@pytest.fixture
def kept():
    return a_checkpoint()


@pytest.fixture
def last(tmp_path, kept):
    """The folder of a checkpoint that was saved."""
    folder = tmp_path / "run" / "checkpoint" / "last"
    save(kept, folder)
    return folder


def bits(values):
    """A nest of dictionaries, lists, tensors and numbers as what tells any two bits apart."""
    if isinstance(values, dict):
        return {name: bits(value) for name, value in values.items()}
    if isinstance(values, list):
        return [bits(value) for value in values]
    if isinstance(values, torch.Tensor):
        raw = values.contiguous().reshape(-1).view(torch.uint8).tolist()
        return (values.dtype, tuple(values.shape), raw)
    return (type(values), repr(values))


def same(one: Checkpoint, other: Checkpoint) -> bool:
    return bits(vars(replace(one, folder=None))) == bits(vars(replace(other, folder=None)))


def edit(folder, change):
    head = json.loads((folder / HEAD).read_text())
    change(head)
    (folder / HEAD).write_text(json.dumps(head))
    write_manifest(folder)


# Round trip


def test_everything_comes_back_to_the_last_bit(kept, last):
    result = load(last)
    assert same(result, kept) and result.folder == last
    assert [path.name for path in last.parent.iterdir()] == ["last"]


def test_what_a_run_is_can_be_read_without_its_tensors(kept, last, tmp_path):
    for path in last.glob("*.safetensors"):
        path.unlink()
    assert read_run(last) == kept.run
    assert exists(last.parent.parent) and not exists(tmp_path)
    last.rename(last.parent / ".last.old")  # killed while the folders changed places
    assert read_run(last) == kept.run
    assert exists(last.parent.parent)
    with pytest.raises(InputError, match=rf"{HEAD} is missing"):
        read_run(tmp_path)


def test_what_a_run_does_not_have_stays_absent(kept, last):
    for plain in (
        replace(kept, average=None, best=None),
        replace(kept, average=None, best=None, optimizer={}, sums={}, progress={}),
    ):
        save(plain, last)
        assert same(load(last), plain)
        assert not (last / "best.safetensors").exists()


def test_only_json_and_tensors_that_others_may_read(kept, tmp_path):
    for mask, mode in ((0o022, 0o644), (0o027, 0o640)):
        before = os.umask(mask)
        try:
            save(kept, tmp_path / "last")
        finally:
            os.umask(before)
        names = {path.name for path in (tmp_path / "last").iterdir()}
        assert names == {HEAD, MANIFEST, *(f"{name}.safetensors" for name in TENSORS)}
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "last").iterdir()}
        assert modes == {mode}


def test_a_loaded_checkpoint_outlives_its_folder(kept, last):
    result = load(last)
    for path in last.glob("*.safetensors"):
        path.write_bytes(bytes(path.stat().st_size))  # in place, as an editor or cp does
    assert same(result, kept)


def test_states_of_generators_that_were_saved_once_are_ignored(kept, last):
    save_file({"torch/0": torch.get_rng_state()}, last / "rng.safetensors")
    edit(last, lambda head: head.update(ranks=1))
    write_manifest(last)
    assert same(load(last), kept)


def test_best_weights_that_did_not_change_are_linked(kept, last):
    best = last / "best.safetensors"
    before = best.stat()
    for step in (8, 9):
        new = replace(kept, best=None, progress={"step": step})
        save(new, last, reuse_best=True)
        assert (best.stat().st_ino, best.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        assert best.stat().st_nlink == 1  # no older checkpoint is kept
        assert same(load(last), replace(new, best=kept.best))
    newer = replace(kept, best={"encoder.0.weight": torch.ones(2)})
    save(newer, last, reuse_best=False)
    assert same(load(last), newer)


def test_best_weights_are_written_where_there_are_none_to_link(kept, tmp_path):
    save(kept, tmp_path / "a", reuse_best=True)
    assert same(load(tmp_path / "a"), kept)
    with pytest.raises(AssertionError, match="no best weights"):
        save(replace(kept, best=None), tmp_path / "b", reuse_best=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_save_that_fails_leaves_the_old_checkpoint(kept, last):
    with pytest.raises(TypeError):
        save(replace(kept, progress={"step": torch.ones(1)}), last)
    with pytest.raises(AttributeError):
        save(replace(kept, sums={"a": 1.0}), last)
    assert same(load(last), kept)
    assert [path.name for path in last.parent.iterdir()] == ["last"]


# Killed

SAVER = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    import torch
    from aam_core.training.checkpoint import Checkpoint, save

    FOLDER = Path(sys.argv[1])
    EVENTS = {"open", "os.mkdir", "os.link", "os.chmod", "os.rename", "os.remove", "os.rmdir"}

    def put(step):
        # Steps 1, 4, 7 ... are the best so far.
        best = step - (step - 1) % 3
        full = lambda number: {f"w{i}": torch.full((40, 50), float(number)) for i in range(9)}
        held = Checkpoint(
            run={"samples": ["s"] * 500}, progress={"step": step, "best_step": best},
            weights=full(step), optimizer={k: {"exp_avg": v} for k, v in full(step).items()},
            average=full(step), best=full(step) if best == step else None,
            sums=full(step),
        )
        save(held, FOLDER, reuse_best=best < step)

    def die_before(event):
        left = [event]
        def watch(name, args):
            if name in EVENTS and any(str(FOLDER.parent) in str(arg) for arg in args):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(watch)

    for line in sys.stdin:
        step, event = map(int, line.split())
        child = os.fork()
        if child == 0:
            if event:
                die_before(event)
                put(step)
                os._exit(0)
            while True:
                put(step)
                step += 1
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)
    """
)


class Saver:
    """A process whose children save into ``folder`` until they are killed."""

    def __init__(self, folder: Path):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[3],
        )

    def start(self, step: int, event: int = 0) -> int:
        """Save from ``step`` on; with ``event``, once, and die before that one touches a file."""
        print(step, event, file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def end(self) -> int:
        """Wait for the child; the signal that ended it, or 0."""
        return int(self.process.stdout.readline())


@pytest.fixture
def saver(tmp_path):
    saver = Saver(tmp_path / "checkpoint" / "last")
    yield saver
    saver.process.stdin.close()
    saver.process.wait(20)
    saver.process.stdout.close()


def consistent(folder) -> int:
    """The step of a checkpoint, all parts of which are of that step."""
    kept = load(folder)
    step, best = kept.progress["step"], kept.progress["best_step"]
    states = {name: state["exp_avg"] for name, state in kept.optimizer.items()}
    for part in (kept.weights, states, kept.average, kept.sums):
        assert len(part) == 9
        assert all((value == step).all() for value in part.values())
    assert len(kept.best) == 9 and all((value == best).all() for value in kept.best.values())
    return step


def step_in_place(folder) -> int:
    """The step that a run has reached; 0 while folders change places."""
    try:
        return json.loads((folder / HEAD).read_text())["progress"]["step"]
    except FileNotFoundError:
        return 0


def test_a_run_killed_at_any_moment_leaves_a_checkpoint(saver, tmp_path):
    folder, moment = tmp_path / "checkpoint" / "last", random.Random(5)
    step, seen = 1, []
    for _ in range(15):
        child = saver.start(step)
        while step_in_place(folder) < step:
            os.kill(child, 0)  # raises if it ended by itself
            time.sleep(0.001)
        time.sleep(moment.uniform(0, 0.06))
        os.kill(child, signal.SIGKILL)
        assert saver.end() == signal.SIGKILL
        assert find(tmp_path) == folder
        seen.append(consistent(folder))
        # The next goes on from there; its best weights are linked to what the killed one left.
        step = seen[-1] + 1
    assert seen == sorted(set(seen))


def test_a_run_killed_before_any_file_operation_leaves_a_checkpoint(saver, tmp_path):
    folder = tmp_path / "checkpoint" / "last"
    saver.start(1, 10_000)
    assert saver.end() == 0
    step, fallbacks = 1, 0
    for event in range(1, 1000):
        saver.start(step + 1, event)
        killed = saver.end() == signal.SIGKILL
        fallbacks += not folder.exists()
        assert find(tmp_path) == find(folder) == folder
        reached = consistent(folder)
        assert reached in (step, step + 1)
        step = reached
        if not killed:
            break
    # A save is some twenty operations; one of them finds the folder moved aside.
    assert event > 15 and fallbacks
    assert step == reached and [path.name for path in folder.parent.iterdir()] == ["last"]


# Finding


def test_a_checkpoint_is_found_from_the_output_or_its_own_folder(kept, last, monkeypatch):
    output = last.parent.parent
    for place in (output, output / "checkpoint", last, str(output)):
        assert find(place) == last
    monkeypatch.chdir(output)
    assert find(".") == last and same(load("checkpoint/last"), kept)
    (last / HEAD).unlink()
    assert find(output) == last  # so that load says what is missing


def test_no_checkpoint(tmp_path):
    (tmp_path / "a.txt").touch()
    for place in (tmp_path / "nowhere", tmp_path / "a.txt"):
        with pytest.raises(InputError, match="is not a folder: name the output folder of a run"):
            find(place)
    with pytest.raises(InputError, match=r"no checkpoint but a\.txt: name .*checkpoint/last"):
        find(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no checkpoint but nothing"):
        find(tmp_path / "empty")
    (tmp_path / "checkpoint" / ".last.new").mkdir(parents=True)
    with pytest.raises(InputError, match="ended before its first checkpoint: start it anew"):
        find(tmp_path)


def test_a_finished_model_is_not_a_checkpoint(brief, tmp_path):
    config = brief("pretraining")
    network = Network(config.model, Parts(nucleotide=True, distance=False))
    Model("encoder", config, network).save(tmp_path / "model")
    with pytest.raises(InputError, match="finished model and no checkpoint: .* as the encoder"):
        find(tmp_path / "model")


# Damage


@pytest.mark.parametrize("name", TENSORS)
def test_a_missing_or_truncated_file_is_named(last, name):
    path = last / f"{name}.safetensors"
    whole = path.read_bytes()
    for part in (whole[:-1], whole[:20], b""):
        path.write_bytes(part)
        with pytest.raises(InputError, match=rf"{name}\.safetensors is truncated") as error:
            load(last)
        assert "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(InputError, match=rf"{name}\.safetensors is missing"):
        load(last)


def test_a_missing_or_truncated_head_is_named(last, tmp_path):
    text = (last / HEAD).read_text()
    for part in (text[:-3], "", "\x00"):
        (last / HEAD).write_text(part)
        with pytest.raises(InputError, match=rf"{HEAD} is truncated or not JSON"):
            load(last)
    (last / HEAD).unlink()
    for folder in (last, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=rf"{HEAD} is missing"):
            load(folder)


def test_one_flipped_bit_is_named(last):
    for path in sorted(last.iterdir()):
        if path.name == MANIFEST:
            continue
        sound = path.read_bytes()
        content = bytearray(sound)
        content[-3] ^= 1
        path.write_bytes(content)
        with pytest.raises(InputError, match=path.name) as caught:
            load(last)
        assert "\n" not in str(caught.value)
        path.write_bytes(sound)
    (last / MANIFEST).unlink()  # as in earlier releases
    load(last)


def test_a_head_nested_too_deep_and_links_out(last, tmp_path):
    text = (last / HEAD).read_text()
    (last / HEAD).write_text('{"run": ' + "[" * 10**5)
    with pytest.raises(InputError, match="nested too deep"):
        load(last)
    (last / HEAD).write_text(text)
    (last / "sums.safetensors").rename(tmp_path / "sums")
    (last / "sums.safetensors").symlink_to(tmp_path / "sums")
    with pytest.raises(InputError, match="sums.safetensors is a link that leads out"):
        load(last)
    (last / "sums.safetensors").unlink()
    os.mkfifo(last / "sums.safetensors")
    with pytest.raises(InputError, match="sums.safetensors is not a regular file"):
        load(last)


@pytest.mark.parametrize("name", ["run", "progress", "average", "best", "format_version"])
def test_a_missing_field_is_named(last, name):
    edit(last, lambda head: head.update({name: "x"}))
    with pytest.raises(InputError, match=f"no valid {name}"):
        load(last)
    edit(last, lambda head: head.pop(name))
    with pytest.raises(InputError, match=f"no valid {name}"):
        load(last)


def test_several_missing_fields_are_named(last):
    edit(last, lambda head: [head.pop(name) for name in ("run", "best")])
    with pytest.raises(InputError, match="no valid run, best"):
        load(last)


def test_another_format(last):
    edit(last, lambda head: head.update(format="aam"))
    with pytest.raises(InputError, match="not that of an AAM checkpoint"):
        load(last)
    (last / HEAD).write_text("[]")
    with pytest.raises(InputError, match="not that of an AAM checkpoint"):
        load(last)


def test_a_newer_format(last):
    new = FORMAT_VERSION + 1
    edit(last, lambda head: [head.update(format_version=new), head.pop("run")])
    with pytest.raises(InputError, match=f"format {new}, newer .*upgrade AAM"):
        load(last)


# Weights


def test_weights_of_the_same_model_pass(kept, last):
    check_weights(load(last), kept.weights)
    check_weights(kept, {name: value.shape for name, value in kept.weights.items()})
    check_weights(kept, {name: [*value.shape] for name, value in kept.weights.items()})


def test_weights_of_another_model_are_named(kept):
    wanted = {**kept.weights, "new.a": (2,), "new.b": (), "scale": (1,), "none": (3, 0)}
    del wanted["turned"]
    with pytest.raises(InputError) as error:
        check_weights(kept, wanted)
    assert str(error.value) == (
        "The checkpoint is of another model; of its tensors, 2 missing (new.a, new.b), "
        "1 unexpected (turned), 2 of another shape (none [0, 3], not [3, 0], scale [], not [1]). "
        "Resume with the model settings that the run was started with."
    )


def test_only_the_first_five_differing_weights_are_named(kept):
    more = {f"layer.{i}": (1,) for i in range(8)}
    with pytest.raises(InputError, match=r"tensors, 8 missing \(.*layer\.4 and 3 more\)\. Resume"):
        check_weights(kept, kept.weights | more)


FULL = """
import resource, signal, sys, torch
from aam_core.errors import AAMError
from aam_core.training.checkpoint import Checkpoint, load, save

def state(size):
    weights = {"w": torch.zeros(size)}
    return Checkpoint({}, {"size": size}, weights, {}, None, None, {}, [])

save(state(8), sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    save(state(100_000), sys.argv[1])
except AAMError as error:
    print(error)
assert load(sys.argv[1]).progress == {"size": 8}
"""


def test_what_does_not_fit_on_the_disk_leaves_the_checkpoint_of_before(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "last")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "weights.safetensors could not be written" in done.stdout
    assert len(done.stdout.splitlines()) == 1
