"""What README.md and docs/*.md show: programs, and commands for a shell."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[2]


def blocks(document: str, language: str, *, section: str = "") -> list[str]:
    """Return the blocks of a language that a document shows, in a section of it or in all of it."""
    text = (FOLDER / document).read_text()
    if section:
        begin = re.search(rf"^(#+) {re.escape(section)}$", text, re.MULTILINE)
        assert begin, f"{document} has no section {section!r}"
        text = re.split(rf"^#{{1,{len(begin[1])}}} ", text[begin.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(console: str) -> list[str]:
    """Return the commands that a block shows after its prompts, with the lines that go on."""
    found: list[str] = []
    for line in console.splitlines():
        if line.startswith("$ "):
            found.append(line.removeprefix("$ "))
        elif found and found[-1].endswith("\\"):
            found[-1] += f"\n{line}"
    return found
