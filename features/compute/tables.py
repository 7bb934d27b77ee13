"""Names of a group's tables in the lake."""

from features.declare.group import Group


def tiles_table(group: Group) -> str:
    """Return the lake's name of a group's tiles."""
    return f"tiles/{group.view}"


def features_table(group: Group) -> str:
    """Return the lake's name of a group's feature table."""
    return f"features/{group.view}"


FEATURES, TILES = "features/", "tiles/"
