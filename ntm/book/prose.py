"""Sentences and tables that a chapter prints itself, as Markdown: JupyterLab, VS Code and the published page read it.

A sentence with a number of a run is printed by the cell that knows the number:

    say(f"This machine was solved in {seconds:.0f} seconds.")
"""

from collections.abc import Iterable, Sequence

from IPython.display import Markdown, display


def say(text: str) -> None:
    """Show Markdown, such as one paragraph or several."""
    display(Markdown(text.strip()))


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
