"""Texts that may hold lone surrogates, which JSON brings along as escapes and UTF-8 can't carry. Pure: no I/O."""

from __future__ import annotations

from typing import TypeGuard


def is_encodable(text: str) -> bool:
    """Tell whether UTF-8 can carry a text: it has no lone surrogates."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def is_text(value: object, most: int) -> TypeGuard[str]:
    """Tell whether a value is a text of 1 to so many bytes in UTF-8."""
    return isinstance(value, str) and is_encodable(value) and 1 <= len(value.encode()) <= most


def encodable(text: str) -> str:
    """Return a text with a question mark for each lone surrogate."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def escaped(text: str) -> str:
    r"""Return a text with an escape such as ``\ud800`` for each lone surrogate: for messages, not for JSON texts."""
    return text.encode("utf-8", "backslashreplace").decode()
