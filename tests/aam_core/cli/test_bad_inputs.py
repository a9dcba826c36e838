"""What users get wrong: one line that says what, exit status 2, and nothing written.

Each row is a call that spoils one thing of a study that is good otherwise. What each reader refuses
in detail is tested beside it.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path

import pytest

FIT = "fit-regressor --table {t} --sequences {s} --metadata {m} --target gradient"
CLASSIFY = "fit-classifier --table {t} --sequences {s} --metadata {m} --target group"
SCORE = "cross-validate --table {t} --sequences {s} --metadata {m} --target gradient"
PRETRAIN = "pretrain --table {t} --sequences {s} --tree {r}"
PREDICT = "predict --table {t} --sequences {s} --model {model}"
JUDGE = "evaluate --predictions {p} --metadata {m} --target gradient"
UNIFRAC = "unifrac --table {t} --tree {r}"


@pytest.fixture(scope="module")
def model(study_dir, tmp_path_factory):
    """A small regressor."""
    from aam_core import fit_regressor, load_study
    from aam_core.config import presets

    study = load_study(
        study_dir / "table.biom",
        sequences=study_dir / "rep-seqs.fasta",
        metadata=study_dir / "metadata.tsv",
    )
    output = tmp_path_factory.mktemp("model") / "model"
    changes = {"train.max_steps": 1, "forest.trees": 4}
    fit_regressor(study, "gradient", config=presets.fitting("tiny").replace(changes), output=output)
    return output


class Folder:
    """A good study, a model and its predictions, to be spoiled."""

    def __init__(self, folder: Path, study: Path, model: Path):
        self.folder = folder
        for name in ("table.biom", "rep-seqs.fasta", "tree.nwk", "metadata.tsv"):
            shutil.copy(study / name, folder)
        shutil.copytree(model, folder / "model")
        self.names = {
            "t": folder / "table.biom",
            "s": folder / "rep-seqs.fasta",
            "r": folder / "tree.nwk",
            "m": folder / "metadata.tsv",
            "d": folder / "distances.tsv",
            "p": folder / "model" / "val_predictions.tsv",
            "model": folder / "model",
        }

    def call(self, command: str) -> list[str]:
        return [word.format(f=self.folder, **self.names) for word in command.split()]

    def write(self, key: str, content) -> None:
        path = self.names[key]
        path.unlink(missing_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def edit(self, key: str, change) -> None:
        self.write(key, change(self.names[key].read_text(encoding="utf-8")))

    def remove(self, key: str) -> None:
        self.names[key].unlink()

    def cut(self, name: str, share: float) -> None:
        path = self.folder / name
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])


def json_table(**changes) -> str:
    """BIOM JSON of two samples and two ASVs, with these entries changed."""
    table = {
        "id": None,
        "format": "Biological Observation Matrix 1.0.0",
        "format_url": "http://biom-format.org",
        "type": "OTU table",
        "generated_by": "a test",
        "date": "2026-01-01T00:00:00",
        "rows": [{"id": "ACGT", "metadata": None}, {"id": "ACGA", "metadata": None}],
        "columns": [{"id": "S001.01", "metadata": None}, {"id": "S001.02", "metadata": None}],
        "matrix_type": "dense",
        "matrix_element_type": "float",
        "shape": [2, 2],
        "data": [[1, 2], [3, 4]],
    }
    return json.dumps(table | changes)


def table(content):
    return lambda study: study.write("t", content)


def sequences(content):
    return lambda study: study.write("s", content)


def tree(content):
    return lambda study: study.write("r", content)


def metadata(content):
    return lambda study: study.write("m", content)


def column(name: str, values):
    """Spoil the metadata by a column; ``values`` makes the text of row k."""

    def spoil(study):
        def change(text):
            header, *rows = text.splitlines()
            rows = [f"{row}\t{values(k)}" for k, row in enumerate(rows)]
            return "\n".join([f"{header}\t{name}", *rows]) + "\n"

        study.edit("m", change)

    return spoil


def distances(value: str):
    """A distance matrix of two samples, one entry of which is ``value``."""
    return lambda study: study.write("d", f"\ta\tb\na\t0\t{value}\nb\t0.5\t0\n")


def settings(content: str):
    return lambda study: (study.folder / "settings.yaml").write_text(content)


def nothing(study):
    pass


DUPLICATE = [{"id": "S001.01", "metadata": None}] * 2
CASES = [
    # --- tables
    ("table-absent", lambda s: s.remove("t"), FIT, "table.biom"),
    ("table-empty", table(b""), FIT, "table.biom"),
    ("table-text", table("sample\tACGT\nS1\t5\n"), FIT, "table.biom"),
    ("table-fasta", table(">a\nACGT\n"), FIT, "table.biom"),
    ("table-cut", lambda s: s.cut("table.biom", 0.6), FIT, "table.biom"),
    ("table-gzip-cut", table(gzip.compress(b"{}" * 500)[:40]), FIT, "table.biom"),
    ("table-json-cut", table(json_table()[:200]), FIT, "table.biom"),
    ("table-json-list", table("[1, 2]"), FIT, "table.biom"),
    ("table-negative", table(json_table(data=[[1, -2], [3, 4]])), UNIFRAC, "negative"),
    ("table-fraction", table(json_table(data=[[1, 0.5], [3, 4]])), UNIFRAC, "0.5|whole|integer"),
    ("table-nan", table(json_table(data=[[1, float("nan")], [3, 4]])), UNIFRAC, "finite|nan|NaN"),
    ("table-twice", table(json_table(columns=DUPLICATE)), UNIFRAC, "S001.01"),
    ("table-no-reads", table(json_table(data=[[0, 0], [0, 0]])), UNIFRAC, "no reads|no sample"),
    ("table-foreign", table(json_table()), FIT, "sequences"),
    # --- sequences
    ("sequences-absent", lambda s: s.remove("s"), FIT, "rep-seqs.fasta"),
    ("sequences-empty", sequences(""), FIT, "rep-seqs.fasta"),
    ("sequences-no-fasta", sequences("ACGT\n"), FIT, "rep-seqs.fasta"),
    ("sequences-twice", sequences(">a\nACGT\n>a\nACGA\n"), FIT, "'a'|a"),
    ("sequences-blank", sequences(">a\n>b\nACGT\n"), FIT, "a"),
    ("sequences-others", sequences(">x\nACGT\n"), FIT, "none|No |no "),
    ("sequences-letters", lambda s: s.edit("s", lambda t: t.replace("A", "J")), FIT, "J"),
    ("sequences-not-given", nothing, "fit-regressor --table {t} --metadata {m} --target gradient",
     "sequences"),
    # --- tree
    ("tree-absent", lambda s: s.remove("r"), PRETRAIN, "tree.nwk"),
    ("tree-empty", tree(""), PRETRAIN, "tree.nwk"),
    ("tree-open", tree("((a:1,b:1):1,c:1;"), PRETRAIN, "tree.nwk"),
    ("tree-no-newick", tree("a b c"), PRETRAIN, "tree.nwk"),
    ("tree-others", tree("((x:1,y:1):1,z:1);"), PRETRAIN, "tree|tips"),
    ("tree-no-lengths", tree("((a,b),c);"), UNIFRAC, "length|tree|tip"),
    ("tree-not-given", nothing, "pretrain --table {t} --sequences {s}", "tree|phylogeny"),
    # --- metadata
    ("metadata-absent", lambda s: s.remove("m"), FIT, "metadata.tsv"),
    ("metadata-empty", metadata(""), FIT, "metadata.tsv"),
    ("metadata-header", metadata("sample-id\tgradient\n"), FIT, "metadata.tsv"),
    ("metadata-commas", lambda s: s.edit("m", lambda t: t.replace("\t", ",")), FIT, "tab"),
    ("metadata-utf16", lambda s: s.write("m", "sample-id\tx\na\t1\n".encode("utf-16")), FIT,
     "UTF-16"),
    ("metadata-twice", lambda s: s.edit("m", lambda t: t + t.splitlines()[-1] + "\n"), FIT,
     "more than once|twice|duplicate"),
    ("metadata-wide-row", lambda s: s.edit("m", lambda t: t + "new\t1\t2\t3\t4\t5\t6\t7\t8\t9\n"),
     FIT, "line"),
    ("metadata-others", metadata("sample-id\tgradient\nx\t1\ny\t2\n"), FIT,
     "No sample of the table"),
    ("metadata-type", lambda s: s.edit("m", lambda t: t.replace("\n", "\n#q2:types\tcolour\n", 1)),
     FIT, "colour"),
    # --- targets, groups, covariates, filters
    ("target-unknown", nothing, FIT.replace("gradient", "gradientt"), "gradient"),
    ("target-text", nothing, FIT.replace("gradient", "group"), "fit-classifier"),
    ("target-blank", column("x", lambda k: "" if k < 2 else k), FIT.replace("gradient", "x"),
     "missing|blank"),
    ("target-comma", column("x", lambda k: f"{k},5"), FIT.replace("gradient", "x"), "comma"),
    ("target-percent", column("x", lambda k: f"{k}%"), FIT.replace("gradient", "x"), "%|percent"),
    ("target-word", column("x", lambda k: "old" if k == 3 else k), FIT.replace("gradient", "x"),
     "old"),
    ("target-one-value", column("x", lambda k: 5), FIT.replace("gradient", "x"), "x"),
    ("target-one-class", column("x", lambda k: "a"), CLASSIFY.replace("group", "x"), "x"),
    ("target-rare-class", column("x", lambda k: "ab"[k == 0]), CLASSIFY.replace("group", "x"), "b"),
    ("group-unknown", nothing, FIT + " --group-by subject", "subject"),
    ("group-one", column("x", lambda k: "a"), FIT + " --group-by x", "x|group"),
    ("covariate-unknown", nothing, FIT + " --covariate bmi", "bmi"),
    ("covariate-target", nothing, FIT + " --covariate gradient", "gradient"),
    ("covariate-blank", column("x", lambda k: ""), FIT + " --covariate x", "x"),
    ("where-unknown", nothing, FIT + " --where body=gut", "body"),
    ("where-value", nothing, FIT + " --where group=casee", "case"),
    ("where-form", nothing, FIT + " --where group", "column=value"),
    # --- distances
    ("distances-others", distances("0.5"), PRETRAIN + " --distances {d}", "distance"),
    ("distances-lopsided", distances("0.4"), PRETRAIN + " --distances {d}", "symmetric|distance"),
    ("distances-text", distances("far"), PRETRAIN + " --distances {d}", "far|number|distance"),
    # --- settings
    ("set-unknown", nothing, FIT + " --set train.epoch=3", "train.epochs"),
    ("set-form", nothing, FIT + " --set train.epochs", "section.field=value"),
    ("set-text", nothing, FIT + " --set train.epochs=many", "many"),
    ("set-range", nothing, FIT + " --set train.val_fraction=2", "val_fraction"),
    ("set-nan", nothing, FIT + " --set optim.lr=nan", "lr"),
    ("epochs-none", nothing, FIT + " --epochs 0", "epochs"),
    ("preset-unknown", nothing, FIT + " --preset huge", "huge"),
    ("option-unknown", nothing, FIT + " --epoch 3", "--epoch"),
    ("yaml-broken", settings("train: [1"), FIT + " --config {f}/settings.yaml", "settings.yaml"),
    ("yaml-list", settings("- a"), FIT + " --config {f}/settings.yaml", "settings.yaml"),
    ("yaml-unknown", settings("train: {epoch: 3}"), FIT + " --config {f}/settings.yaml", "epochs"),
    ("depth-too-deep", nothing, PRETRAIN + " --sampling-depth 99999999", "99,?999,?999"),
    # --- models, predictions, scores
    ("model-absent", nothing, PREDICT.replace("{model}", "{f}/nowhere"), "nowhere"),
    ("model-none", nothing, PREDICT.replace("{model}", "{f}"), "config.json"),
    ("model-cut", lambda s: s.cut("model/model.safetensors", 0.5), PREDICT, "model.safetensors"),
    ("model-edited", lambda s: s.cut("model/config.json", 0.5), PREDICT, "config.json"),
    ("encoder-none", nothing, FIT + " --encoder {f}", "config.json"),
    ("freeze-alone", nothing, FIT + " --freeze-encoder", "--encoder"),
    ("resume-none", nothing, FIT + " --resume {f}", "checkpoint"),
    ("judge-columns", lambda s: s.write("p", "sample-id\tx\na\t1\n"), JUDGE, "prediction"),
    ("judge-others", lambda s: s.write("p", "sample-id\tprediction\na\t1\n"), JUDGE, "sample"),
    ("judge-empty", lambda s: s.write("p", ""), JUDGE, "val_predictions.tsv"),
    ("folds-one", nothing, SCORE + " --folds 1", "folds"),
    ("folds-many", nothing, SCORE + " --group-by host_subject_id --folds 39", "39|groups"),
    ("unifrac-metric", nothing, UNIFRAC + " --metric unweightd", "unweight"),
]  # fmt: skip


@pytest.mark.parametrize("spoil, command, words", [pytest.param(*c[1:], id=c[0]) for c in CASES])
def test_one_line_and_nothing_written(aam, study_dir, model, tmp_path, spoil, command, words):
    good = tmp_path / "good"
    good.mkdir()
    study = Folder(good, study_dir, model)
    spoil(study)
    before = sorted(path for path in tmp_path.rglob("*"))
    outcome = aam(*study.call(command), "--output", tmp_path / "output")
    lines = outcome.err.splitlines()
    assert outcome.status == 2 and outcome.out == "", outcome
    assert [line for line in lines if line.startswith("aam: error: ")] == lines[-1:], outcome.err
    assert re.search(words, lines[-1]) and len(lines[-1]) < 2000, lines[-1]
    assert "Traceback" not in outcome.err
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_there_are_sixty_of_them():
    assert len({case[0] for case in CASES}) == len(CASES) >= 60
