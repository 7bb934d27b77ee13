"""Quoting of SQL: names and literals."""


def quoted(column: str) -> str:
    """Return a column's name as SQL.

    Examples
    --------
    >>> quoted("Customer ID")
    '"Customer ID"'
    """
    return '"' + column.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as an SQL literal.

    Examples
    --------
    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"
