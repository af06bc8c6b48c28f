"""Sentences and tables that a chapter prints itself, as Markdown: JupyterLab, VS Code and the published page read it.

A sentence with a number of a run is printed by the cell that knows the number:

    say(f"This machine was solved in {seconds:.0f} seconds.")
"""

import re
from collections.abc import Iterable, Sequence

from IPython.display import Markdown, display

MARKER = r"(?:\d+[.)]|[-+*>]|#+) "  # that begins a list, a quotation or a heading


def say(text: str) -> None:
    """Show Markdown, such as one paragraph or several.

    Where a line of a paragraph happens to begin as an item of a list does ("1. ", "+ "), it is joined to the line
    before: which number a sentence ends with, and where it is broken, is not known when it is written.
    """
    paragraphs = re.split(r"(\n\s*\n)", text.strip())
    joined = [part if re.match(MARKER, part) else re.sub(rf"\n(?={MARKER})", " ", part) for part in paragraphs]
    display(Markdown("".join(joined)))


def table(header: Sequence[object], rows: Iterable[Sequence[object]], align: str = "") -> str:
    """A table in Markdown, for `say`.

    ``align`` has a letter for each column, l, c or r; by default the first column is left, the others right.
    Within a cell, | is written so that it does not end the cell.

    Raises ValueError where a row, or ``align``, does not have as many columns as the header.
    """
    align = align or "l" + "r" * (len(header) - 1)
    lines = [[str(value).replace("|", "\\|") for value in row] for row in (header, *rows)]
    for line in lines:
        if len(line) != len(header):
            raise ValueError(f"a row of {len(line)} columns under a header of {len(header)}: {line}")
    if len(align) != len(header) or set(align) - set("lcr"):
        raise ValueError(f"align={align!r}: must be one of l, c, r for each of {len(header)} columns")
    lines.insert(1, [{"l": ":---", "c": ":---:", "r": "---:"}[letter] for letter in align])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def slug(title: str) -> str:
    """The anchor of a heading, as JupyterLab forms it, so that a link to it works there and in the published page."""
    return title.replace(" ", "-")
