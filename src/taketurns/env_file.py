"""Reading an env file, every line of which has to say something."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from dotenv import dotenv_values
from dotenv.parser import parse_stream

if TYPE_CHECKING:
    import os


def read_env_file(path: str | os.PathLike[str]) -> tuple[dict[str, str], list[str]]:
    """Return the values of a file by their names in capitals, and what is wrong with its other lines.

    dotenv itself only warns of a line that it can't read, and takes a name without ``=`` for one that is not set.
    What such a line says is not told, as it may be a secret.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return {}, [f"{path} is no text in UTF-8"]
    readable, problems = [], []
    for binding in parse_stream(StringIO(text)):
        statement = binding.original.string
        if binding.error or (binding.key is not None and binding.value is None):
            blank = len(statement) - len(statement.lstrip())
            line = binding.original.line + statement.count("\n", 0, blank)
            problems.append(f"{path}, line {line}: accepted are NAME=value and comments that begin with #")
        else:
            readable.append(statement)
    values = dotenv_values(stream=StringIO("".join(readable)))
    return {name.upper(): value or "" for name, value in values.items()}, problems
