"""Write 40 small images to each folder, each folder in a colour of its own."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

for index, folder in enumerate(map(Path, sys.argv[1:])):
    folder.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(index)
    for number in range(40):
        pixels = draws.integers(0, 256, (36, 40, 3), np.uint8) // 2 + np.uint8(20 * (index % 5))
        Image.fromarray(pixels).save(folder / f"{number}.png")
