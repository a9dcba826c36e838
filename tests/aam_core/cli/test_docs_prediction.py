"""The examples of ``docs/prediction.md`` run, each section by itself: on a small study, for a step.

The first example makes the study; what a section reads beside it, it makes itself.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[3] / "docs" / "prediction.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))

BRIEF = ["--preset", "tiny", "--max-steps", "1", "--epochs", "1", "--threads", "1"]
QUICK = {
    "pretrain": ["--set", "train.val_fraction=0.5"],
    "fit-regressor": ["--set", "model.members=2", "--set", "forest.trees=4"],
    "fit-classifier": ["--set", "model.members=2", "--set", "forest.trees=4"],
    "cross-validate": ["--set", "model.members=2", "--set", "forest.trees=4"],
}
"""Commands that train -> what makes them quick, beside `BRIEF`."""


@pytest.mark.parametrize("section", SECTIONS)
def test_the_examples_of_a_section_run(section, aam, study_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("aam_core.comparison.draws_of", lambda *sizes: 20)  # 2,000 take seconds
    Path("study").symlink_to(study_dir)
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
