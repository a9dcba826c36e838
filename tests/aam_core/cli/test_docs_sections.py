"""The examples of ``docs/prediction.md`` and ``docs/understanding.md`` run, each section by itself.

They run on a small study, for a step. ``study``, and in ``understanding.md`` ``model``, a regressor
of its gradient, are there; what a section reads beside them, it makes itself.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from aam_core.config import presets

DOCS = Path(__file__).parents[3] / "docs"
SECTIONS = {
    f"{page}: {heading}": text
    for page in ("prediction", "understanding")
    for heading, text in re.findall(
        r"^## (.*?)\n(.*?)(?=^## |\Z)",
        (DOCS / f"{page}.md").read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
}

BRIEF = ["--preset", "tiny", "--max-steps", "1", "--epochs", "1", "--threads", "1"]
QUICK = {
    "pretrain": ["--set", "train.val_fraction=0.5"],
    "fit-regressor": ["--set", "model.members=2", "--set", "forest.trees=4"],
    "fit-classifier": ["--set", "model.members=2", "--set", "forest.trees=4"],
    "cross-validate": ["--set", "model.members=2", "--set", "forest.trees=4"],
}
"""Commands that train -> what makes them quick, beside `BRIEF`."""
QUICK_FIT = {
    **{"train.max_steps": 1, "train.epochs": 1, "train.threads": 1, "train.val_fraction": 0.5},
    **{"model.members": 2, "forest.trees": 4},
}
"""The same of fits in Python."""


@pytest.fixture(scope="module")
def model_dir(study_dir, brief, tmp_path_factory):
    """Folder of a regressor fitted on the small study for a few steps."""
    from aam_core.data.study import load_study
    from aam_core.fitting import fit_regressor

    names = ("rep-seqs.fasta", "metadata.tsv", "tree.nwk")
    sequences, metadata, tree = (study_dir / name for name in names)
    study = load_study(study_dir / "table.biom", sequences=sequences, metadata=metadata, tree=tree)
    folder = tmp_path_factory.mktemp("models") / "model"
    model = fit_regressor(study, "gradient", group_by="host_subject_id", config=brief())
    # Networks that count for nothing, as after these steps, are not explained out of fold.
    dataclasses.replace(model, network_weight=0.5).save(folder)
    return folder


@pytest.mark.parametrize("section", SECTIONS)
def test_the_examples_of_a_section_run(section, aam, study_dir, request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("aam_core.comparison.draws_of", lambda *sizes: 20)  # 2,000 take seconds
    Path("study").symlink_to(study_dir)
    if section.startswith("understanding"):
        Path("model").symlink_to(request.getfixturevalue("model_dir"))
    header, *rows = (study_dir / "metadata.tsv").read_text().splitlines()
    # A further column of numbers, of which some are blank, for several targets.
    more = [f"{row}\t{i if i % 3 else ''}" for i, row in enumerate(rows)]
    Path("two.tsv").write_text("\n".join([f"{header}\tsecond", *more]) + "\n")
    for example in re.findall(r"```bash\n(.*?)```", SECTIONS[section], re.DOTALL):
        for line in example.replace("\\\n", " ").splitlines():
            if not line.strip():
                continue
            program, command, *arguments = shlex.split(line, comments=True)
            assert program == "aam", line
            if command in QUICK:
                arguments += [*BRIEF, *QUICK[command]]
            outcome = aam(command, *arguments)
            assert outcome.status == 0, (line, outcome.err)
            # The small study has too few held-out samples to calibrate on.
            idle = outcome.err.replace("ensemble.calibration=temperature has no effect", "")
            assert "no effect" not in idle, (line, outcome.err)
    quick = presets.fitting("tiny").replace(QUICK_FIT)
    monkeypatch.setattr("aam_core.config.resolve.find_preset", lambda kind, name: quick)
    for example in re.findall(r"```python\n(.*?)```", SECTIONS[section], re.DOTALL):
        exec(example, {})
