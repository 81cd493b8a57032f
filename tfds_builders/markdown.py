"""Tables of reports."""


def table(header: list, rows: list[list]) -> list[str]:
    """Returns the lines of a Markdown table."""
    cells = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(map(str, row)) + " |" for row in cells]
