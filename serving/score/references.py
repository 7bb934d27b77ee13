"""What a model reads, as the lookup names it."""

from infra.models.scorer import Scorer
from serving.lookup.views import Reference


def references_of(scorer: Scorer) -> list[Reference]:
    """Return the features of a model, in its own order."""
    return [Reference(feature.view, feature.name) for feature in scorer.manifest.features]
