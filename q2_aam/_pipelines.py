"""Pipelines that pass most of their parameters on to one action."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection

__all__ = ["passes_on"]


def passes_on(action: Callable, without: Collection[str] = ()) -> Callable[[Callable], Callable]:
    """Decorate a pipeline whose last ``**`` stands for the parameters of ``action``.

    They are all but those that the pipeline has itself, and those of ``without``. QIIME 2 reads the
    parameters of a pipeline from its code, not from ``__signature__``: so, as `dataclasses` does, a
    function with all of them is written. It has no annotations, which pipelines must not have.
    """

    def decorate(pipeline: Callable) -> Callable:
        *own, rest = inspect.signature(pipeline).parameters.values()
        assert rest.kind is inspect.Parameter.VAR_KEYWORD, rest
        names = {it.name for it in own} | set(without)
        passed = [it for it in inspect.signature(action).parameters.values()]
        # Parameters without a default come first.
        every = sorted(
            [*own, *(it for it in passed if it.name not in names)],
            key=lambda it: it.default is not inspect.Parameter.empty,
        )
        names_of = [it.name for it in every]
        scope = {"run": pipeline}
        given = ", ".join(f"{name}={name}" for name in names_of)
        exec(f"def made({', '.join(names_of)}):\n    return run({given})", scope)
        made = scope["made"]
        made.__name__ = made.__qualname__ = pipeline.__name__
        made.__doc__, made.__module__ = pipeline.__doc__, pipeline.__module__
        made.__defaults__ = tuple(
            it.default for it in every if it.default is not inspect.Parameter.empty
        )
        return made

    return decorate
