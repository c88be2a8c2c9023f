"""Tags, the ``key=value`` pairs by which tenants are told apart: their form, and how they are written. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from taketurns.errors import InvalidInput
from taketurns.texts import is_encodable

MOST_TAGS: Final = 64
"""Tags of one tenant, at most."""

LONGEST_VALUE: Final = 256
"""Characters of a tag's value, at most."""

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_KEY_FORM = "1 to 63 characters of A-Z a-z 0-9 . _ -, the first one a letter or digit"
_VALUE_FORM = f"1 to {LONGEST_VALUE} characters"


def checked_tags(value: object) -> dict[str, str]:
    """Return a copy of all tags of a tenant.

    Raises:
        InvalidInput: it is no mapping of keys and values of the accepted form, or there are too many.
    """
    if not isinstance(value, Mapping) or len(value) > MOST_TAGS:
        raise InvalidInput(
            value,
            f"an object of at most {MOST_TAGS} keys and values, such as {{'plan': 'pro'}}",
            field="tags",
        )
    for key, said in value.items():
        check_key(key, field="tags")
        _check_value(key, said, field="tags")
    return dict(value)


def check_key(key: object, *, field: str) -> str:
    """Return a tag's key if it has the accepted form.

    Args:
        key: the key.
        field: the field's name for the error.

    Raises:
        InvalidInput: it has not.
    """
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise InvalidInput(key, f"a key of {_KEY_FORM}", field=field)
    return key


def read_tags(texts: Iterable[str], *, field: str = "tag") -> dict[str, str]:
    """Read tags that are written ``key=value``, each key at most once; a value may hold further ``=``.

    Args:
        texts: the tags.
        field: the field's name for the error.

    Raises:
        InvalidInput: one of them is not of that form.
    """
    tags: dict[str, str] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator:
            raise InvalidInput(text, "key=value, such as plan=pro", field=field)
        _check_value(check_key(key, field=field), value, field=field)
        if key in tags:
            raise InvalidInput(text, f"each key once, and {key!r} was given already", field=field)
        tags[key] = value
    return tags


def has_tags(tags: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Tell whether all wanted tags are among these, with these values."""
    return wanted.items() <= tags.items()


def _check_value(key: str, value: object, *, field: str) -> None:
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_VALUE or not is_encodable(value):
        raise InvalidInput(value, f"for the tag {key!r} a value of {_VALUE_FORM}", field=field)
