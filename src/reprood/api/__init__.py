"""The public functions for one's own networks."""

__all__: list[str] = []
