"""Seeds for random draws, derived by hashing. No torch; generators are built in `reprood.engine.seeds`."""

import hashlib


def hashed_seed(*parts: int | str) -> int:
    """Return a seed in 0..2^63 - 1 from the SHA-256 of `parts`.

    Streams with different names are statistically independent, and a stream does not change when others are added.

    Examples
    --------
    >>> hashed_seed("fit", 0, "smoke", 1) == hashed_seed("fit", 0, "smoke", 1)
    True
    >>> hashed_seed("fit", 0, "smoke", 1) == hashed_seed("fit", 0, "smoke", 2)
    False
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
