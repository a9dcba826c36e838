"""Ids of samples and features: text, unique, compared letter for letter."""

from __future__ import annotations

import difflib
import itertools
import math
from collections import Counter

from aam_core import errors
from aam_core.errors import InputError, first_five

__all__ = ["check_ids", "listing", "nearest", "nothing_in_common", "short"]


def listing(ids) -> str:
    """The first five ids, long ones (a sequence used as an id) cut short."""
    return first_five([short(item) for item in ids])


def short(item, width: int = 40) -> str:
    """An id, cut to ``width`` letters: it may be a sequence."""
    return errors.short(item, width)


def check_ids(ids, what: str, where: str) -> list[str]:
    """Return ``ids`` as a list of ``str`` that are text of one line, not blank and unique.

    White space at the ends of an id does not count, as in QIIME 2's metadata.

    Parameters
    ----------
    ids : iterable
        Ids from a file or an object.
    what : str
        'sample' or 'feature'.
    where : str
        Name of the source, for the message.

    Raises
    ------
    InputError
        For an id that is not text, a blank one, one with a tab or a line break within, or a
        duplicate.
    """
    ids = list(ids)
    numbers = [item for item in ids if not isinstance(item, str)]
    if numbers:
        raise InputError(
            f"{where}: {len(numbers):,} {what} ids are not text ({listing(numbers)}). "
            "Read them as text (for pandas: dtype=str), so that 007 stays 007."
        )
    ids = [str(item).strip() for item in ids]
    try:
        "".join(ids).encode()
    except UnicodeEncodeError:  # half of a pair of UTF-16, which JSON may hold
        halves = [item for item in ids if any("\ud800" <= letter <= "\udfff" for letter in item)]
        raise InputError(
            f"{where}: {len(halves):,} {what} ids have half of a character ({listing(halves)}), "
            "which no file of text can hold; rename them."
        ) from None
    if not all(ids):
        raise InputError(f"{where}: a {what} id is blank; give each {what} an id.")
    # splitlines also breaks at form feeds and U+2028, where readers of text may do so.
    broken = [repr(item) for item in ids if "\t" in item or len(item.splitlines()) > 1]
    if broken:
        raise InputError(
            f"{where}: {len(broken):,} {what} ids hold a tab or a line break ({listing(broken)}), "
            "which tables of text cannot hold; rename them."
        )
    if len(set(ids)) < len(ids):
        repeated = [item for item, times in Counter(ids).items() if times > 1]
        raise InputError(
            f"{where}: {len(repeated):,} {what} ids occur more than once ({listing(repeated)}). "
            f"Each {what} needs an id of its own."
        )
    return ids


def nearest(name, legal) -> str:
    """'; did you mean ...?' for a name that does not exist, else the first legal ones."""
    # Cut short, and not too many: the time of a comparison grows with both lengths.
    legal = [short(item, 100) for item in itertools.islice(legal, 10_000)]
    near = difflib.get_close_matches(short(name, 100), legal, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; there are: {listing(legal) or 'none'}."


def nothing_in_common(what: str, ours, theirs, here: str, there: str) -> InputError:
    """The error for two files that share no id, with the first ids of both.

    Where the ids agree as numbers, it says so: a spreadsheet or a data frame that read them as
    numbers has dropped their zeros.
    """
    ours, theirs = list(ours), list(theirs)
    message = (
        f"No {what} of {here} is in {there}. Ids in {here}: {listing(ours) or 'none'}; "
        f"in {there}: {listing(theirs) or 'none'}."
    )
    if _numbers(ours) & _numbers(theirs):
        return InputError(
            f"{message} As numbers some would agree: a program has rewritten ids as numbers; "
            "restore them as text."
        )
    return InputError(f"{message} Ids are compared as text, letter for letter.")


def _numbers(ids) -> set[float]:
    numbers = set()
    for item in ids:
        try:
            numbers.add(float(item))
        except ValueError:
            pass
    # 'inf' or '1e999' agree as numbers although nothing was rewritten.
    return numbers - {math.inf, -math.inf}
