"""Transfer to captioning: pre-trained classifiers as encoders of an LSTM that describes an image.

CutMix (Yun et al. 2019, arXiv 1905.04899), Table A1, on MS-COCO; at small scale on generated scenes of letters that the
classifiers have never seen. All arms of a seed have the same scenes, initial decoder, order and draws.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor, nn
from torch.nn import functional

from reprood.data.coco_captions import Coco, read_coco_captions
from reprood.data.photographs import CaptionedImages, captioned
from reprood.engine.seeds import seeded
from reprood.engine.training import Training
from reprood.evaluate.captions import caption_scores, meteor_is_available, require_pycocoevalcap, words_of
from reprood.nets.captioner import (
    SPECIAL,
    UNKNOWN,
    Captioner,
    CaptionerSettings,
    caption_loss,
    encode_captions,
    search,
)
from reprood.studies.base import Context, Findings, Row, Study
from reprood.studies.transfer import (
    RowTraining,
    SceneSettings,
    Source,
    arm_run,
    arms_of,
    channels_of,
    picture,
    reader,
    rows_of,
    source_of,
    train_on_rows,
)

NO_METEOR = "METEOR needs Java and its files in pycocoevalcap, which were not found."


class Config(BaseModel):
    """Settings of the study.

    Attributes
    ----------
    arms : dict
        Name of each arm -> row of the tables whose classifiers it uses, which the study's `methods` must name; by
        default the methods by their own names.
    scenes : SceneSettings
        Generated scenes, unless `coco` is given.
    coco : Coco or None
        Photographs instead of scenes.
    size : int
        Side to which photographs are resized (the shorter side, then the centre is cut out); scenes keep their own.
    captioner : CaptionerSettings
        Shape of the network.
    training : Training
        Schedule, without `augment`.
    adam : bool
        Use Adam with the rates of `training`, without weight decay.
    finetuned : bool
        Whether the classifier's backbone is trained, too.
    attention_penalty : float
        Weight of the penalty on uneven attention (doubly stochastic attention); without attention it has no effect.
    beam, max_length : int
        Captions that the search follows; largest number of words.
    min_count : int
        Words that occur less often in the training captions become one unknown word.
    meteor : bool
        Also compute METEOR. Without Java and its files it is not computed, and a note says so.
    threads : int
        Threads that decode photographs.
    shown : int
        Images for the figure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    arms: dict[str, str] = {}
    scenes: SceneSettings = SceneSettings()
    coco: Coco | None = None
    size: int = Field(default=224, ge=16)
    captioner: CaptionerSettings = CaptionerSettings()
    training: RowTraining = Training(epochs=30, batch_size=16, lr=0.002, schedule="cosine_step", clip_norm=1.0)
    adam: bool = True
    finetuned: bool = True
    attention_penalty: float = Field(default=0.0, ge=0)
    beam: int = Field(default=3, ge=1)
    max_length: int = Field(default=16, ge=1)
    min_count: int = Field(default=1, ge=1)
    meteor: bool = False
    threads: int = Field(default=1, ge=1)
    shown: int = Field(default=4, ge=1)


@dataclass(frozen=True)
class Vocabulary:
    """The words of the training captions: number of each, after the special words."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, captions: Sequence[tuple[str, ...]], min_count: int) -> "Vocabulary":
        """Return the words that occur at least `min_count` times, in alphabetical order."""
        counts = Counter(word for texts in captions for text in texts for word in words_of(text))
        return cls(tuple(sorted(word for word, count in counts.items() if count >= min_count)))

    def numbers(self, text: str) -> list[int]:
        """Return the numbers of a caption's words."""
        places = self._places
        return [places.get(word, UNKNOWN) for word in words_of(text)]

    def text(self, numbers: Sequence[int]) -> str:
        """Return the words of a caption."""
        return " ".join(self.words[number - len(SPECIAL)] for number in numbers)

    @property
    def _places(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, len(SPECIAL))}

    def __len__(self) -> int:
        return len(SPECIAL) + len(self.words)


def load(config: Config, context: Context, seed: int, channels: int) -> tuple[CaptionedImages, CaptionedImages]:
    """Return training and test images of a seed; photographs are the same for all seeds."""
    if config.coco is not None:
        folder, limit = Path(config.coco.folder), config.coco.limit
        train, test = (
            read_coco_captions(folder / "annotations" / f"captions_{name}.json", folder / name, channels, limit)
            for name in (config.coco.train, config.coco.test)
        )
        return train, test
    drawn = config.scenes.both(context, seed)
    return captioned(drawn[0]), captioned(drawn[1])


def inputs(images: Sequence[Tensor], source: Source, size: int | None) -> Tensor:
    """Return a normalised batch [B, C, size, size] of images [C, H, W] in [0, 1].

    Without `size`, images must have equal sizes. Otherwise the shorter side is resized (bilinear, antialiased), and the
    centre cut out.
    """
    if size is not None:
        images = [_square(image, size) for image in images]
    batch = torch.stack(list(images))
    mean, std = (batch.new_tensor(values).view(1, -1, 1, 1) for values in (source.mean, source.std))
    return (batch - mean) / std


def _square(image: Tensor, size: int) -> Tensor:
    height, width = image.shape[1:]
    scale = size / min(height, width)
    target = (max(size, round(height * scale)), max(size, round(width * scale)))
    larger = functional.interpolate(image[None], target, mode="bilinear", antialias=True)[0]
    top, left = (target[0] - size) // 2, (target[1] - size) // 2
    return larger[:, top : top + size, left : left + size]


def train_captioner(
    config: Config, context: Context, seed: int, arm: str, source: Source, data: CaptionedImages, words: Vocabulary
) -> Captioner:
    """Return a trained caption generator in evaluation mode; every step takes one caption of each image at random."""
    run = arm_run(context, seed, arm)
    size = config.size if config.coco is not None else config.scenes.size
    with seeded(run.seed("initialisation")):
        model = Captioner(
            source.backbone, config.captioner, len(words), source.channels, size, finetuned=config.finetuned
        )
    numbers = [[words.numbers(text) for text in texts] for texts in data.captions]
    resized = size if config.coco is not None else None
    penalty = config.attention_penalty if config.captioner.attention else 0.0
    with reader(data.read, source.channels, run.device, config.threads) as read:

        def loss(network: nn.Module, rows: list[int], generator: Generator) -> Tensor:
            draws = torch.rand(len(rows), generator=generator).tolist()
            chosen = [numbers[row][int(draw * len(numbers[row]))] for row, draw in zip(rows, draws, strict=True)]
            captions = encode_captions(chosen, config.max_length).to(run.device)
            logits, weights = network(inputs(read(rows), source, resized), captions)
            return caption_loss(logits, weights, captions, penalty)

        train_on_rows(model, loss, len(data), config.training, run, "captioner", adam=config.adam)
    return model


@torch.no_grad()
def describe(
    model: Captioner, config: Config, source: Source, data: CaptionedImages, words: Vocabulary, device: torch.device
) -> tuple[list[str], list[Tensor]]:
    """Return the caption of every image, and the attention [n, L] at its words for the images of the figure."""
    resized = config.size if config.coco is not None else None
    captions, attention = [], []
    with reader(data.read, source.channels, device, config.threads) as read:
        for row in range(len(data)):
            numbers, weights = search(model, inputs(read([row]), source, resized), config.beam, config.max_length)
            captions.append(words.text(numbers))
            if row < config.shown:
                attention.append(weights.cpu())
    return captions, attention


def measure(config: Config, context: Context) -> Findings:
    """Train a caption generator on every arm's classifier, for every seed.

    Returns
    -------
    Findings
        Metrics bleu1 to bleu4, rouge, cider (times 100), and meteor if it is asked for and available, in percent;
        exact, the percentage of captions that are word for word one of the image's; train_images, test_images, words
        (arm data; without the special words). Arrays of the first seed: `notes` (on the data, and on a METEOR that was
        asked for and is not available), `shown` uint8 [n, H, W, C] (photographs: cut to the smallest size),
        `captions_truth`, `captions_<arm>` (text), `attention_<arm>` float32 [words, grid, grid] of the first image.

    Raises
    ------
    ReproodError
        If pycocoevalcap is missing, or data or classifiers do not fit.
    """
    require_pycocoevalcap()
    meteor = config.meteor and meteor_is_available()
    rows: list[Row] = []
    arrays: dict[str, np.ndarray] = {}
    arms = arms_of(config.arms, context)
    for seed in context.seeds:
        channels = channels_of(arms, context, seed)
        train, test = load(config, context, seed, channels)
        words = Vocabulary.of(train.captions, config.min_count)
        sizes = {"train_images": len(train), "test_images": len(test), "words": len(words.words)}
        rows += rows_of(seed, "data", sizes)
        if seed == context.seeds[0]:
            arrays = picture(train, test, config.shown)
            arrays["captions_truth"] = np.array([texts[0] for texts in test.captions[: config.shown]])
            if config.meteor and not meteor:
                arrays["notes"] = np.array([*arrays["notes"], NO_METEOR])
        for arm, method in arms.items():
            source = source_of(context, method, seed, channels)
            model = train_captioner(config, context, seed, arm, source, train, words)
            found, attention = describe(model, config, source, test, words, context.device)
            numbers = caption_scores(test.captions, found, meteor=meteor)
            numbers["exact"] = 100 * exact(test.captions, found)
            rows += rows_of(seed, arm, numbers)
            if seed == context.seeds[0]:
                arrays[f"captions_{arm}"] = np.array(found[: config.shown])
                if config.captioner.attention:
                    side = config.captioner.grid
                    arrays[f"attention_{arm}"] = attention[0].reshape(-1, side, side).numpy()
    return Findings(rows, arrays)


def exact(references: Sequence[Sequence[str]], found: Sequence[str]) -> float:
    """Return the share of captions that equal one of their references word for word.

    Examples
    --------
    >>> exact([["A dog."], ["a cat", "one cat"]], ["a dog", "two cats"])
    0.5
    """
    hits = [words_of(text) in [words_of(one) for one in texts] for texts, text in zip(references, found, strict=True)]
    return sum(hits) / len(hits)


STUDY = Study(name="captioning", config=Config, measure=measure)
