"""The core's texts in QIIME 2's words: its messages and pages name options of the command line.

`speaking` and `q2_aam.pages.rendering` are the two ways by which these texts reach a user.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from aam_core.config.everyday import EVERYDAY, FLAGS
from aam_core.errors import AAMError
from aam_core.log import showing
from q2_aam._parameters import NAMES

__all__ = ["COMMANDS", "OPTIONS", "in_qiime2", "speaking"]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


OPTIONS = {
    **{_flag(name): f"--p-settings {path}" for name, path in FLAGS.items()},
    **{_flag(name): f"--p-{_flag(NAMES.get(name, name))[2:]}" for name in EVERYDAY},
    **{f"--{name}": f"--i-{name}" for name in ("table", "sequences", "distances", "model")},
    **{f"--{name}": f"--i-{name}" for name in ("taxonomy", "encoder", "init-from")},
    **{f"--{name}": f"--p-{name}" for name in ("bound", "metric", "missing-samples", "target")},
    **{f"--{name}": f"--p-{name}" for name in ("freeze-encoder", "passes", "units", "title")},
    "--covariate": "--p-covariate-columns",
    "--covariate-help": "docs/prediction.md of the repository",
    "--depth": "--p-depths",
    "--group-by": "--m-group-by-column",
    "--interval-by": "--p-settings ensemble.interval_by=COLUMN",
    "--long-sequences": "--p-settings data.long_sequences=truncate",
    "--long-sequences truncate": "--p-settings data.long_sequences=truncate",
    "--metadata": "--m-metadata-file",
    "--normalize-by COLUMN": "--p-settings loss.normalize_by=COLUMN",
    "--predictions": "--i-details",
    "--set": "--p-settings",
    "--task classification": "classify-samples-ncv",
    "--tree": "--i-phylogeny",
    "--where": "--p-where of 'feature-table filter-samples'",
}
"""Option of ``aam``, with its argument where that changes, -> what stands for it in QIIME 2."""

COMMANDS = {
    "embed": "embed-samples",
    "info": "summarize",
    "zero-distances": "find-zero-distances",
    **{
        name: name
        for name in (
            *("pretrain", "fit-regressor", "fit-classifier", "predict"),
            *("explain", "cross-validate", "report"),
        )
    },
}
"""Command of ``aam`` -> action."""

_OPTION = re.compile(
    rf"(?<![\w-])({'|'.join(map(re.escape, sorted(OPTIONS, key=len, reverse=True)))})(?![\w-])"
)
_COMMAND = re.compile(rf"(?<!qiime )\baam ({'|'.join(COMMANDS)})(?![\w-])")


def in_qiime2(text: str) -> str:
    """A sentence with QIIME 2's names of options and commands.

    >>> in_qiime2("name its column (--group-by): 'aam predict' tells more")
    "name its column (--m-group-by-column): 'qiime aam predict' tells more"
    """
    text = _OPTION.sub(lambda match: OPTIONS[match[1]], text)
    return _COMMAND.sub(lambda match: f"qiime aam {COMMANDS[match[1]]}", text)


@contextmanager
def speaking() -> Iterator[None]:
    """As `aam_core.log.showing`; what is shown or raised within has QIIME 2's words."""
    with showing(wording=in_qiime2):
        try:
            yield
        except AAMError as error:
            error.args = (in_qiime2(str(error)),)
            raise
