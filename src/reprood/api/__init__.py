"""The public functions for one's own networks."""

from reprood.api import metrics
from reprood.api.comparison import compare
from reprood.api.scoring import score

__all__ = ["compare", "metrics", "score"]
