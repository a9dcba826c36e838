"""Tables -> figures; knows nothing of models.

Every function returns a `matplotlib.figure.Figure` and, given a path, writes it there: PNG, SVG
or PDF, by the suffix. Matplotlib is imported when something is drawn.
"""

from __future__ import annotations

from aam_core.plots.abundances import abundance_map
from aam_core.plots.attention import attention
from aam_core.plots.class_curves import class_curves
from aam_core.plots.compared import methods, paired
from aam_core.plots.confusion import MANY_CLASSES, confusion
from aam_core.plots.curves import curves, drawn_columns
from aam_core.plots.errors import errors_against, errors_by_category, errors_by_group
from aam_core.plots.importance import deletion_curve, importance
from aam_core.plots.learning_rates import learning_rates
from aam_core.plots.logo import logo
from aam_core.plots.maturity import maturity
from aam_core.plots.ordination import ordination
from aam_core.plots.over_sizes import over_sizes
from aam_core.plots.reliability import coverage, reliability
from aam_core.plots.scatter import CROWDED, distances, scatter
from aam_core.plots.style import SUFFIXES, attempt, figure_names
from aam_core.plots.trials import trials

__all__ = [
    "CROWDED",
    "MANY_CLASSES",
    "SUFFIXES",
    "abundance_map",
    "attempt",
    "attention",
    "class_curves",
    "confusion",
    "coverage",
    "curves",
    "deletion_curve",
    "distances",
    "drawn_columns",
    "errors_against",
    "errors_by_category",
    "errors_by_group",
    "figure_names",
    "importance",
    "learning_rates",
    "logo",
    "maturity",
    "methods",
    "ordination",
    "over_sizes",
    "paired",
    "reliability",
    "scatter",
    "trials",
]
