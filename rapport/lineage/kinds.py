"""What lineage tells apart, and the folders that names may begin with."""

from typing import Literal

KINDS = "feature, group, view, fact, source, source file, night, training set or model"
Kind = Literal["file", "source", "fact", "view", "row", "training set", "model"]
ORDER: tuple[Kind, ...] = ("row", "view", "fact", "source", "file", "training set", "model")
LAYERS = {
    "bronze": "source",
    "silver": "fact",
    "tiles": "view",
    "features": "view",
    "training_sets": "training set",
    "models": "model",
}
