"""The modules of the cases are importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
