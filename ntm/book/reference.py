"""A Sphinx extension: the docstrings of this package, as its source has them, for the page that is its reference.

What a field of a NamedTuple or of a dataclass holds is said by the comment beside it, and drawings in docstrings are
indented and nothing more. Both are put into the form that Sphinx reads.
"""

import dataclasses
import inspect
import re
from typing import Any

# A field in the source of a class, and the comment behind it, if there is one; what is for a type checker is none.
FIELD = re.compile(r"^    (\w+): [^#]*(?:#\s*type: ignore\S*\s*)?(?:#\s*(.*))?$")
# What NumPy's ArrayLike is made of, which is not for reading.
ARRAY_LIKE = re.compile(r"~numpy\._typing\._array_like\._Buffer \|.*?_NestedSequence\[complex \| bytes \| str\]")
UNDERSCORE = re.compile(r"(?<=\w)_(?=[\s.,;:)]|$)")  # at the end of a word, where it would make a reference


def fields(thing: type) -> dict[str, str]:
    """The comment behind each field of a class, else that in the lines above it; empty where there is none."""
    if hasattr(thing, "_fields"):
        names = list(thing._fields)
    elif dataclasses.is_dataclass(thing):
        names = [field.name for field in dataclasses.fields(thing)]
    else:
        return {}
    beside: dict[str, str] = {}
    above: list[str] = []
    for line in inspect.getsource(thing).splitlines():
        if match := FIELD.match(line):
            beside[match[1]] = match[2] or " ".join(above)
        above = [*above, line.strip("# ")] if line.lstrip().startswith("#") else []
    return {name: beside.get(name, "") for name in names}


def with_literal_blocks(lines: list[str]) -> list[str]:
    """Mark what is indented after a paragraph as a block to be shown as it is; headed sections are left alone."""
    out: list[str] = []
    margin, inside = 0, False
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if line and not inside and indent > margin and i > 1 and not lines[i - 1]:
            out += [".. code-block:: text", ""]
            inside = True
        elif line and indent <= margin:
            inside = False
        out.append(line)
    return out


def process(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Change a docstring's lines in place, before the sections of Google's style are read."""
    lines[:] = with_literal_blocks([UNDERSCORE.sub(r"\\_", line) for line in lines])
    if what in ("attribute", "property"):
        lines[:0] = ["..", ""]  # a comment: what stands before a colon in the first line would be taken for a type
    if what == "class":
        described = [f"* ``{field}``: {comment}" for field, comment in fields(thing).items() if comment]
        lines += ["", *described, ""] if described else []


def skip(app: Any, what: str, name: str, thing: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out what a NamedTuple says of its fields, which is their number."""
    return True if type(thing).__name__ == "_tuplegetter" else None


def signature(app: Any, what: str, name: str, thing: Any, options: Any, given: str | None, returned: str | None) -> Any:
    """A signature in which NumPy's ArrayLike is called so."""
    return given and ARRAY_LIKE.sub("~numpy.typing.ArrayLike", given), returned


def setup(app: Any) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("autodoc-process-docstring", process, priority=400)  # the sections are read at 500
    app.connect("autodoc-process-signature", signature)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
