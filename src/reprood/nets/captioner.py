"""A caption generator: an LSTM that looks at the maps of a classifier, with or without attention.

K. Xu et al.: Show, Attend and Tell, ICML 2015, arXiv 1502.03044 (soft attention, section 4.2); without attention it is
the Neural Image Caption generator of O. Vinyals et al., CVPR 2015, arXiv 1411.4555, which gets the mean of the maps as
its first word. Captions are rows of word numbers; `START`, `END` and `UNKNOWN` are words, `PADDING` follows the end.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from reprood.nets.stage_maps import StageMaps, map_shapes

PADDING, START, END, UNKNOWN = range(4)
SPECIAL = ("<padding>", "<start>", "<end>", "<unknown>")


class CaptionerSettings(BaseModel):
    """Shape of a caption generator.

    Attributes
    ----------
    attention : bool
        Attend to positions of the maps at every word; otherwise only the mean of the maps is seen, before the first.
    grid : int
        Side of the grid to which the last maps are averaged: grid^2 positions.
    embedding, hidden, attended : int
        Length of a word's vector, units of the LSTM, units of the attention's hidden layer.
    dropout : float
        On the input of the output layer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attention: bool = True
    grid: int = Field(default=8, ge=1)
    embedding: int = Field(default=32, ge=1)
    hidden: int = Field(default=96, ge=1)
    attended: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class Memory(NamedTuple):
    """State of the LSTM: output and cell, [B, hidden] each."""

    output: Tensor
    cell: Tensor


class Captioner(nn.Module):
    """Encoder and decoder: images and the words so far, to logits of the next word.

    Parameters
    ----------
    backbone : nn.Module
        Of the classifier.
    settings : CaptionerSettings
    words : int
        Size of the vocabulary, with the special words.
    channels, size : int
        Of the images.
    finetuned : bool
        Whether gradients reach the backbone.
    """

    def __init__(
        self,
        backbone: nn.Module,
        settings: CaptionerSettings,
        words: int,
        channels: int,
        size: int,
        *,
        finetuned: bool = True,
    ) -> None:
        super().__init__()
        self.maps = StageMaps(backbone, 1)
        self.settings, self.finetuned = settings, finetuned
        ((depth, _),) = map_shapes(self.maps, channels, size)
        hidden = settings.hidden
        self.embed = nn.Embedding(words, settings.embedding, padding_idx=PADDING)
        self.cell = nn.LSTMCell(settings.embedding + (depth if settings.attention else 0), hidden)
        self.word_out = nn.Linear(settings.embedding, settings.embedding)
        self.state_out = nn.Linear(hidden, settings.embedding)
        self.out = nn.Linear(settings.embedding, words)
        self.dropout = nn.Dropout(settings.dropout)
        if settings.attention:
            self.first_output, self.first_cell = nn.Linear(depth, hidden), nn.Linear(depth, hidden)
            self.place, self.query = nn.Linear(depth, settings.attended), nn.Linear(hidden, settings.attended)
            self.energy = nn.Linear(settings.attended, 1)
            self.gate = nn.Linear(hidden, 1)
            self.context_out = nn.Linear(depth, settings.embedding, bias=False)
        else:
            self.image_word = nn.Linear(depth, settings.embedding)

    def encode(self, images: Tensor) -> Tensor:
        """Return the annotation vectors [B, grid^2, D] of normalised images [B, C, H, W]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.finetuned):
            (maps,) = self.maps(images)
        side = self.settings.grid if self.settings.attention else 1
        if maps.shape[2] % side == 0 and maps.shape[3] % side == 0:  # its gradient is deterministic on GPUs
            maps = functional.avg_pool2d(maps, (maps.shape[2] // side, maps.shape[3] // side))
        else:
            maps = functional.adaptive_avg_pool2d(maps, side)
        return maps.flatten(2).transpose(1, 2)

    def begin(self, places: Tensor) -> Memory:
        """Return the state before the first word."""
        mean = places.mean(1)
        if self.settings.attention:
            return Memory(torch.tanh(self.first_output(mean)), torch.tanh(self.first_cell(mean)))
        zero = mean.new_zeros(len(mean), self.settings.hidden)
        return Memory(*self.cell(self.image_word(mean), (zero, zero)))

    def step(self, words: Tensor, memory: Memory, places: Tensor) -> tuple[Tensor, Memory, Tensor]:
        """Read one word of each caption.

        Parameters
        ----------
        words : int64 Tensor [B]
            The word before the one that is predicted.
        memory : Memory
        places : Tensor [B, L, D]
            From `encode`.

        Returns
        -------
        logits, memory, weights
            [B, words]; the next state; the attention on each position [B, L], which adds up to 1.
        """
        embedded = self.embed(words)
        if not self.settings.attention:
            memory = Memory(*self.cell(embedded, memory))
            deep = self.word_out(embedded) + self.state_out(memory.output)
            return self.out(self.dropout(torch.tanh(deep))), memory, places.new_ones(places.shape[:2])
        energies = self.energy(torch.tanh(self.place(places) + self.query(memory.output)[:, None]))[..., 0]
        weights = energies.softmax(1)
        context = (weights[..., None] * places).sum(1) * torch.sigmoid(self.gate(memory.output))
        memory = Memory(*self.cell(torch.cat((embedded, context), 1), memory))
        deep = self.word_out(embedded) + self.state_out(memory.output) + self.context_out(context)
        return self.out(self.dropout(torch.tanh(deep))), memory, weights

    def forward(self, images: Tensor, captions: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [B, T - 1, words] of the words after each, and attention [B, T - 1, L], for captions [B, T]."""
        places = self.encode(images)
        memory = self.begin(places)
        logits, weights = [], []
        for words in captions[:, :-1].unbind(1):
            one, memory, attention = self.step(words, memory, places)
            logits.append(one)
            weights.append(attention)
        return torch.stack(logits, 1), torch.stack(weights, 1)


def caption_loss(logits: Tensor, weights: Tensor, captions: Tensor, spread: float) -> Tensor:
    """Return the mean cross-entropy of a word, plus the penalty on uneven attention (Xu et al., eq. 14).

    Parameters
    ----------
    logits, weights, captions : Tensor
        As `Captioner.forward` returns and takes them.
    spread : float
        Weight of sum_i (1 - sum_t alpha_ti)^2, averaged over captions.
    """
    following = captions[:, 1:]
    loss = functional.cross_entropy(logits.flatten(0, 1), following.flatten(), ignore_index=PADDING)
    if spread == 0:
        return loss
    read = (following != PADDING)[..., None]
    return loss + spread * (1 - (weights * read).sum(1)).square().sum(1).mean()


@torch.no_grad()
def search(model: Captioner, image: Tensor, beam: int, longest: int) -> tuple[list[int], Tensor]:
    """Return the most probable caption of one image found by a beam search, and the attention at each of its words.

    Probabilities are not normalised by length, as in Vinyals et al.; padding, start and unknown are never chosen.

    Parameters
    ----------
    model : Captioner
        In evaluation mode.
    image : Tensor [1, C, H, W]
        Normalised.
    beam, longest : int
        Number of captions that are followed; largest number of words, without start and end.

    Returns
    -------
    words, attention
        Word numbers without start and end (n), and weights [n, L].
    """
    places = model.encode(image)
    memory = model.begin(places)
    words = torch.tensor([START], device=image.device)
    total = torch.zeros(1, device=image.device)
    paths: list[tuple[list[int], list[Tensor]]] = [([], [])]
    best: tuple[float, list[int], list[Tensor]] | None = None
    for position in range(longest + 1):
        logits, memory, weights = model.step(words, memory, places.expand(len(words), -1, -1))
        logits[:, [PADDING, START, UNKNOWN]] = -torch.inf
        if position == longest:
            logits[:, UNKNOWN + 1 :] = -torch.inf
        scores = (total[:, None] + logits.log_softmax(1)).flatten()
        top, index = scores.topk(min(2 * beam, len(scores)))
        kept: list[tuple[float, int, int]] = []
        for value, place in zip(top.tolist(), index.tolist(), strict=True):
            row, word = divmod(place, logits.shape[1])
            if word == END:
                if best is None or value > best[0]:
                    best = (value, *paths[row])
            elif value > -float("inf") and len(kept) < beam:
                kept.append((value, row, word))
        if not kept or (best is not None and best[0] >= kept[0][0]):
            break
        paths = [(paths[row][0] + [word], [*paths[row][1], weights[row]]) for _, row, word in kept]
        rows = torch.tensor([row for _, row, _ in kept], device=image.device)
        memory = Memory(memory.output[rows], memory.cell[rows])
        words = torch.tensor([word for _, _, word in kept], device=image.device)
        total = torch.tensor([value for value, _, _ in kept], device=image.device)
    assert best is not None  # at the last position only the end is left
    attention = torch.stack(best[2]) if best[2] else places.new_zeros(0, places.shape[1])
    return best[1], attention


def encode_captions(captions: Sequence[Sequence[int]], longest: int) -> Tensor:
    """Return captions as rows of equal length, int64 [N, T]: start, at most `longest` words, end, padding.

    Examples
    --------
    >>> encode_captions([[4, 5], [6]], 5).tolist()
    [[1, 4, 5, 2], [1, 6, 2, 0]]
    """
    rows = [[START, *words[:longest], END] for words in captions]
    width = max(len(row) for row in rows)
    return torch.tensor([row + [PADDING] * (width - len(row)) for row in rows])
