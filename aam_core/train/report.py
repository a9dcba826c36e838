"""What a run shows: a progress bar on a terminal, one line an epoch otherwise, and logs.

``metrics.jsonl`` (a line per logged step or epoch) and TensorBoard files are written where the run
has a folder. Names are ``train/...`` and ``val/...``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


class Reporter:
    """Shows and records a run.

    Parameters
    ----------
    logs : path, optional
        Folder for ``metrics.jsonl`` and TensorBoard; nothing is written without one.
    label : str
        What is being done, at the head of every line.
    """

    def __init__(self, logs=None, label: str = "training"):
        self.label = label
        self.lines = None
        self.board = None
        self.bar = None
        if logs is not None:
            Path(logs).mkdir(parents=True, exist_ok=True)
            self.lines = open(Path(logs) / "metrics.jsonl", "w", encoding="utf-8")
            self.board = _board(logs)

    def say(self, text: str) -> None:
        """One line on stderr, at once."""
        print(text, file=sys.stderr, flush=True)

    def begin(self, steps: int, start: int = 0) -> None:
        """Start the progress bar, on a terminal."""
        if sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=steps, initial=start, desc=self.label, file=sys.stderr)

    def advance(self, shown: dict[str, float] | None = None) -> None:
        """One step done; ``shown`` goes behind the bar."""
        if self.bar is not None:
            if shown:
                self.bar.set_postfix({name: f"{value:.4g}" for name, value in shown.items()})
            self.bar.update()

    def record(self, step: int, values: dict[str, float]) -> None:
        """Write values under their names to the logs."""
        if self.lines is not None:
            self.lines.write(json.dumps({"step": step, **values}) + "\n")
            self.lines.flush()
            for name, value in values.items():
                self.board.add_scalar(name, value, step)

    def epoch(self, number: int, epochs: int, values: dict[str, float]) -> None:
        """One line an epoch, where there is no bar."""
        if self.bar is None:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
            self.say(f"{self.label}: epoch {number}/{epochs}  {shown}")

    def close(self) -> None:
        """Close the bar and the files."""
        if self.bar is not None:
            self.bar.close()
        if self.lines is not None:
            self.lines.close()
            self.board.close()


def _board(logs):
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(logs))
