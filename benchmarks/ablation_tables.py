"""The tables of the ablations, and their place in docs/benchmarks.md."""

from __future__ import annotations

from ablation_encoders import DRAWN, STEPS
from ablation_rows import QUESTIONS, rows
from accuracy import NAMES
from accuracy_statistics import DRAWS, FIGURES
from accuracy_studies import STUDIES

from aam_core.config.presets import fitting

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
    f"masked bases of {DRAWN:,} sequences of `v4` ({STEPS['v4']:,} steps), UniFrac "
    f"({STEPS['unifrac']} steps), or both\nlosses on all of another study, `ibd` for `ecam` and "
    f"back ({STEPS['other']} steps)"
)

LEGEND = f"""\
Five folds with no subject on both sides, the same for all rows of a study and of all its samples,
however few are trained on. **network** is the default without its forest, with 5 networks
instead of {fitting().model.members}, none of which reads codes, each leaving out a tenth of the
samples, and with a quarter of the samples of a batch rarefied to 1,000 to 10,000 reads, as the
default had it all until figures told otherwise; what a row does not name it has as that one.
**forest** is the plain random forest of 200 trees; **blend** the network and its own forest.
Fewer samples are those of whole subjects, drawn by seed from the training side of each fold, the
same for all rows; the numbers are means over the folds.
**learned** is a small encoder of the bases instead of the k-mer profile
(width 32, one block, 2 networks, 200 steps), *on* what it is pretrained on without labels:
{PRETRAINED};
a pretrained encoder learned at 0.3 of the rate of the rest, until the rows "as fast as the rest"
were seen.
UniFrac is learned in each fold from the very samples that the fit has, never from those that
it is tested on. Difference: of the first figure, the row less the one it is compared
with; brackets: 95 % of {DRAWS:,} bootstrap draws of whole subjects. p: two-sided Wilcoxon
signed-rank test of the subjects' mean absolute errors, or Brier scores. CPU seconds are of one
cross-validation, with those of the pretraining behind a plus (an encoder that all folds share
counts once)."""

COLUMNS = ["compared with", "difference, 95 %", "p", "CPU s", "peak GB"]


def written(results: dict[str, dict[str, dict]]) -> str:
    """Every question that there are rows of, with a table for each study."""
    known, parts = rows(), []
    for number, question in QUESTIONS.items():
        tables = []
        for name, found in results.items():
            chosen = [row for row in found if row in known and number in known[row].questions]
            # What only lends its rows to a question does not open it.
            if any(known[row].questions[0] == number for row in chosen):
                tables.append(table(name, {row: found[row] for row in chosen}))
        if tables:
            parts += [f"### {number}. {question}", *tables]
    return "\n\n".join(parts)


def table(name: str, found: dict[str, dict]) -> str:
    """A Markdown table of some rows of a study."""
    first, second = FIGURES[STUDIES[name].task]
    head = [STUDIES[name].label, "training samples (subjects)", NAMES[first], NAMES[second]]
    head += COLUMNS
    made = [head, ["---"] * len(head)]
    for row, result in found.items():
        made += lines(row, result)
    return "\n".join(f"| {' | '.join(row)} |" for row in made)


def lines(name: str, result: dict) -> list[list[str]]:
    """A row, and one more for each further row that it is compared with."""
    first, second = FIGURES[result["task"]]
    places = 3 if first != "mae" else 2 if result["figures"]["mae"] < 20 else 1
    cpu = f"{result['cpu_s']:,.0f}"
    if result["pretraining_cpu_s"]:
        cpu += f" + {result['pretraining_cpu_s']:,.0f}"
    peak = result.get("peak_gb")
    lead = [
        name,
        f"{result['samples']:,.0f} ({result['subjects']:,.0f})",
        f"{result['figures'][first]:.{places}f}",
        f"{result['figures'][second]:.3f}",
    ]
    tail = [cpu, "" if peak is None else f"{peak:.2f}"]
    made = []
    for other, seen in result["against"].items():
        low, high = (f"{end:.{places}f}" for end in seen["difference_interval"])
        beside = [
            other,
            f"{seen['difference']:+.{places}f} [{low}, {high}]",
            f"{seen['p']:.3f}" if seen["p"] >= 0.001 else f"{seen['p']:.0e}",
        ]
        made.append([*lead, *beside, *tail])
        lead, tail = [""] * len(lead), [""] * len(tail)
    return made or [[*lead, "", "", "", *tail]]


def with_tables(page: str, results: dict[str, dict[str, dict]]) -> str:
    """The page with the tables between the markers; at its end, where it has none."""
    if BEGIN not in page:
        page = page.rstrip("\n") + "\n" + SECTION
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{written(results)}\n\n{LEGEND}\n{END}{after}"
