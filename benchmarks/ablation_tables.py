"""The tables of the ablations in docs/benchmarks.md."""

from __future__ import annotations

from ablation_encoders import DRAWN, STEPS
from ablation_rows import QUESTIONS, rows
from accuracy import NAMES
from accuracy_studies import METRICS, STUDIES

from aam_core.config.presets import fitting
from aam_core.statistics import DRAWS

BEGIN, END = "<!-- ablations: begin -->", "<!-- ablations: end -->"

SECTION = f"""
## What was tried
```bash
make bench-ablations            # QUESTION=3 has one of the questions alone
```
{BEGIN}
{END}
"""

PRETRAINED = (
    f"masked bases of\n  {DRAWN:,} sequences of `v4` ({STEPS['v4']:,} steps), UniFrac "
    f"({STEPS['unifrac']} steps), or both losses on all of another\n  study "
    f"({STEPS['other']} steps; `ibd` for `ecam`, and the reverse)"
)

LEGEND = f"""\
All rows of a study have the same five folds, with all samples of a subject in one fold; all samples
of the study are predicted, however few are trained on.

- **network**: the default without its forest, with 5 members instead of {fitting().model.members},
  without random Fourier features, each member holding out a tenth of the samples, and with a
  quarter of the samples of a batch rarefied to 1,000 to 10,000 reads. All
  of this but the first two was the default until benchmarks showed otherwise. Other rows have its
  settings, except those that they name.
- **forest**: the plain random forest of 200 trees. **blend**: the network blended with a forest of
  its own.
- **samples**, **subjects**: so many, as whole subjects, are drawn by seed from the training samples
  of each fold, the same for all rows. The numbers in the table are means over the folds.
- **learned**: a small encoder of the bases instead of the k-mer profile (width 32, one block, 2
  members, 200 steps). *on*: what it is pretrained on without labels, which is {PRETRAINED}.
  UniFrac is learned in each fold from the training samples of the fit, never from its test samples.
  The learning rate of a pretrained encoder was 0.3 of that of the rest, except in the rows "as fast
  as the rest".

Difference: the first metric of the row minus that of the row it is compared with; brackets: 95 %
intervals from {DRAWS:,} bootstrap draws of whole subjects. p: two-sided Wilcoxon signed-rank test
on the mean absolute error of each subject, or its mean Brier score. CPU seconds are those of one
cross-validation; after a plus, those of the pretraining (once, if all folds share the encoder)."""

COLUMNS = ["compared with", "difference, 95 %", "p", "CPU s", "peak GB"]


def all_tables(results: dict[str, dict[str, dict]]) -> str:
    """Every question with results, with a table for each study."""
    every, parts = rows(), []
    for number, question in QUESTIONS.items():
        tables = []
        for name, of_study in results.items():
            chosen = [row for row in of_study if row in every and number in every[row].questions]
            # A question needs a row of its own, not only rows of other questions.
            if any(every[row].questions[0] == number for row in chosen):
                tables.append(table(name, {row: of_study[row] for row in chosen}))
        if tables:
            parts += [f"### {number}. {question}", *tables]
    return "\n\n".join(parts)


def table(name: str, results: dict[str, dict]) -> str:
    """A Markdown table of some rows of a study."""
    first, second = METRICS[STUDIES[name].task]
    head = [STUDIES[name].label, "training samples (subjects)", NAMES[first], NAMES[second]]
    head += COLUMNS
    made = [head, ["---"] * len(head)]
    for row, result in results.items():
        made += lines(row, result)
    return "\n".join(f"| {' | '.join(row)} |" for row in made)


def lines(name: str, result: dict) -> list[list[str]]:
    """A row, and one more for each further row that it is compared with."""
    first, second = METRICS[result["task"]]
    decimals = 3 if first != "mae" else 2 if result["figures"]["mae"] < 20 else 1
    cpu = f"{result['cpu_s']:,.0f}"
    if result["pretraining_cpu_s"]:
        cpu += f" + {result['pretraining_cpu_s']:,.0f}"
    peak = result.get("peak_gb")
    lead = [
        name,
        f"{result['samples']:,.0f} ({result['subjects']:,.0f})",
        f"{result['figures'][first]:.{decimals}f}",
        f"{result['figures'][second]:.3f}",
    ]
    tail = [cpu, "" if peak is None else f"{peak:.2f}"]
    made = []
    for other, comparison in result["against"].items():
        low, high = (f"{end:.{decimals}f}" for end in comparison["difference_interval"])
        compared = [
            other,
            f"{comparison['difference']:+.{decimals}f} [{low}, {high}]",
            f"{comparison['p']:.3f}" if comparison["p"] >= 0.001 else f"{comparison['p']:.0e}",
        ]
        made.append([*lead, *compared, *tail])
        lead, tail = [""] * len(lead), [""] * len(tail)
    return made or [[*lead, "", "", "", *tail]]


def with_tables(page: str, results: dict[str, dict[str, dict]]) -> str:
    """The page with the tables between the markers, or at its end if it has none."""
    if BEGIN not in page:
        page = page.rstrip("\n") + "\n" + SECTION
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{all_tables(results)}\n\n{LEGEND}\n{END}{after}"
