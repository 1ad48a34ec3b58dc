"""The form of a text in which two texts count as the same."""

from __future__ import annotations

import re
from functools import cache

from privacy.features.unicode import Table, is_astral, table

_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACES = re.compile("  +")


def normalise(text: str, limit: int | None = None) -> str:
    """Return the normal form of a text: NFKC_Casefold (UAX #44), white space single and none at the ends.

    It is idempotent, and the same for texts that are canonically or compatibly equivalent, or differ in case or in
    characters that do not show, such as joiners and soft hyphens. One letter differs from the standard's: an i keeps
    no dot above, so that a Turkish capital with its dot is an i.

    Args:
        text: any; a pair of surrogates is the one code point, a lone one U+FFFD.
        limit: code points read of the text, and at most in what is returned; None for all.
    """
    if limit is not None:
        text = text[: 2 * limit]
    if text.isascii():
        return _single_spaces(text[:limit].translate(_ascii()), limit)
    if _SURROGATE.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    unicode, folding, unsettled = _expressions(is_astral(text))
    folded = folding.sub(lambda found: unicode.folded[found[0]], text[:limit])
    settled = unsettled.sub(lambda found: unicode.compose(unicode.decompose(found[0])), folded)
    return _single_spaces(settled, limit)


def _single_spaces(text: str, limit: int | None) -> str:
    single = _SPACES.sub(" ", text).strip(" ")
    return single if limit is None or len(single) <= limit else single[:limit].rstrip(" ")


@cache
def _ascii() -> dict[int, str]:
    return {ord(character): to for character, to in table().folded.items() if character.isascii()}


@cache
def _expressions(astral: bool) -> tuple[Table, re.Pattern[str], re.Pattern[str]]:
    return table(), table().folding(astral=astral), table().unsettled(astral=astral)
