"""Markdown tables."""

_RULES = {"l": "---", "r": "---:"}


def table(header: list, rows: list[list], align: str = "l") -> list[str]:
    """Returns the lines of a table.

    Args:
        header: the columns' names.
        rows: the cells of each row.
        align: "l" (left) or "r" (right) for each column; the last letter also serves
            the columns after it.
    """
    rule = [_RULES[letter] for letter in align.ljust(len(header), align[-1])]
    return ["| " + " | ".join(map(str, row)) + " |" for row in [header, rule, *rows]]
