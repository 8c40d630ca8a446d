"""The public functions for one's own networks."""

from reprood.api.comparison import compare
from reprood.api.scoring import score

__all__ = ["compare", "score"]
