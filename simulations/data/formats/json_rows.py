"""JSON: an object a line, an array of objects, or an object of objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Set
from typing import Any

from simulations.data.errors import UnreadableFile, quoted
from simulations.data.formats.columns import Columns, columns_of

_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder()
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(path: str, text: str, wanted: Set[str]) -> Columns:
    """Read rows; what a file holds is told by its first characters, not by its name.

    A file of several JSON values has a row in each, on lines of their own or not. One array has a row in each of its
    parts. One object whose values are all objects has a row in each of them; one that has nothing that is wanted, and
    one array, has a row in each part of that. Wanted names may be dotted.

    Args:
        path: the file's name, for messages.
        text: all its text.
        wanted: the columns whose cells are returned where the file has them.

    Raises:
        UnreadableFile: when the text is no JSON, or a row is no object.
    """
    values = list(_values(path, text))
    if _ESCAPED_SURROGATE.search(text):
        values = [_whole(value) for value in values]
    if len(values) == 1 and isinstance(values[0], list):
        return columns_of(_objects(path, values[0], "item"), wanted, "one JSON array")
    if len(values) == 1 and _holds_objects(values[0]):
        return columns_of(values[0].values(), wanted, "one JSON object, each of its values a row")
    if len(values) == 1 and isinstance(values[0], dict) and not wanted & values[0].keys():
        arrays = {key: part for key, part in values[0].items() if isinstance(part, list) and part}
        if len(arrays) == 1:
            [(key, rows)] = arrays.items()
            return columns_of(_objects(path, rows, "item"), wanted, f"the JSON array under {quoted(key)}")
    return columns_of(_objects(path, values, "value"), wanted, "JSON objects")


def _whole(value: Any) -> Any:
    """Return a value with every half of a character that JSON let through replaced: no file could hold it."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole(part) for part in value]
    return {_whole(key): _whole(part) for key, part in value.items()} if isinstance(value, dict) else value


def _holds_objects(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(part, dict) for part in value.values())


def _values(path: str, text: str) -> Iterator[Any]:
    place = _end_of_space(text, 0)
    while place < len(text):
        try:
            value, place = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            where = len(text[: error.pos].rstrip()) if isinstance(error, json.JSONDecodeError) else place
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
            raise UnreadableFile(
                f"{path}, line {text.count(chr(10), 0, where) + 1}: malformed JSON ({reason} at "
                f"{quoted(text[where : where + 40])}); expected one object a line, or one array of objects"
            ) from error
        yield value
        place = _end_of_space(text, place)


def _end_of_space(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    return match.end() if match else place


def _objects(path: str, values: list[Any], what: str) -> Iterator[Mapping[str, object]]:
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise UnreadableFile(f"{path}, {what} {number}: expected a JSON object, got {quoted(value)}")
        yield value
