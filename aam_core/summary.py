"""A ``repr`` of a few lines, and the same as a table in notebooks, for large objects."""

from __future__ import annotations

import html

__all__ = ["Summarized"]


_LEFT = '<{} style="text-align: left">'
"""Browsers centre captions and headers, which then stand apart from their values."""


class Summarized:
    """Base of objects whose ``repr`` is a summary; a dataclass needs ``repr=False``, too.

    >>> class Bag(Summarized):
    ...     def _summary(self):
    ...         return "Bag", {"apples": "3", "weight": "1 kg"}
    >>> Bag()
    Bag
      apples  3
      weight  1 kg
    """

    def _summary(self) -> tuple[str, dict[str, str]]:
        """A title, and a text for each name."""
        raise NotImplementedError

    def __repr__(self) -> str:
        title, items = self._summary()
        width = max(map(len, items), default=0)
        return "\n".join([title, *(f"  {name:{width}}  {text}" for name, text in items.items())])

    def _repr_html_(self) -> str:
        title, items = self._summary()
        rows = "".join(
            f"<tr>{_LEFT.format('th')}{html.escape(name)}</th>"
            f"{_LEFT.format('td')}{html.escape(text)}</td></tr>"
            for name, text in items.items()
        )
        caption = f"{_LEFT.format('caption')}{html.escape(title)}</caption>"
        return f"<table>{caption}{rows}</table>"
