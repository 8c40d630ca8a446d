"""Scores of generated captions: BLEU, ROUGE-L, CIDEr and METEOR, by pycocoevalcap. No torch.

K. Papineni et al. 2002 (BLEU); C.-Y. Lin 2004 (ROUGE); R. Vedantam et al. 2015 (CIDEr); M. Denkowski and A. Lavie 2014
(METEOR). The package is the code of X. Chen et al. (arXiv 1504.00325), whose tokeniser and METEOR are Java programs;
words are split here by `words_of`, so that scores do not depend on Java, and METEOR is computed on request.
"""

import contextlib
import io
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprood.core.errors import ReproodError

MISSING = (
    "Scores of captions need the package pycocoevalcap, which is not installed; install it with "
    "pip install 'reprood[transfer]', or remove the study from the suite."
)
WORD = re.compile(r"[^\W_]+(?:[-'’.][^\W_]+)*")
METRICS = ("bleu1", "bleu2", "bleu3", "bleu4", "rouge", "cider", "meteor")


def words_of(text: str) -> list[str]:
    """Split a caption into lower-case words without punctuation.

    It approximates COCO's tokeniser, which removes a list of punctuation marks. That one splits contractions ("don't"
    into "do" and "n't") and keeps other symbols ($, %, &, #, /) as words, or parts of words; here they are left out.

    Examples
    --------
    >>> words_of("A dog, a cat; and 2 state-of-the-art birds!")
    ['a', 'dog', 'a', 'cat', 'and', '2', 'state-of-the-art', 'birds']
    """
    return WORD.findall(text.lower())


@dataclass(frozen=True)
class Scorers:
    """The classes of the package; each has a method `compute_score(references, captions)`."""

    bleu: Any
    rouge: Any
    cider: Any
    meteor: Any


def require_pycocoevalcap() -> Scorers:
    """Return the classes of the package.

    Raises
    ------
    ReproodError
        If it is not installed.
    """
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.meteor.meteor import Meteor
        from pycocoevalcap.rouge.rouge import Rouge
    except ImportError as error:
        raise ReproodError(MISSING) from error
    return Scorers(Bleu, Rouge, Cider, Meteor)


def caption_scores(
    references: Sequence[Sequence[str]], found: Sequence[str], *, meteor: bool = False
) -> dict[str, float]:
    """Return scores of captions in percent (CIDEr times 100, as the papers' tables show it).

    Parameters
    ----------
    references : sequence of sequence of str
        The true captions of each image.
    found : sequence of str
        The generated caption of each image.
    meteor : bool
        Also compute METEOR.

    Returns
    -------
    dict
        bleu1 to bleu4, rouge (ROUGE-L), cider, and meteor if it is asked for.

    Raises
    ------
    ReproodError
        If the package is not installed, or METEOR is asked for and is not available.
    """
    if meteor and not meteor_is_available():
        raise ReproodError(
            "METEOR needs Java and METEOR's files in the package pycocoevalcap; install Java, or do without METEOR."
        )
    if len(references) != len(found) or not found:
        raise ValueError(f"{len(references)} images with captions and {len(found)} generated captions")
    truth = {row: [" ".join(words_of(text)) for text in texts] for row, texts in enumerate(references)}
    made = {row: [" ".join(words_of(text))] for row, text in enumerate(found)}
    scorers = require_pycocoevalcap()
    with contextlib.redirect_stdout(io.StringIO()):  # the package prints ratios of lengths
        bleu, _ = scorers.bleu(4).compute_score(truth, made)
        scores = {f"bleu{n}": 100 * float(value) for n, value in enumerate(bleu, 1)}
        scores["rouge"] = 100 * float(scorers.rouge().compute_score(truth, made)[0])
        scores["cider"] = 100 * float(scorers.cider().compute_score(truth, made)[0])
        if meteor:
            scores["meteor"] = 100 * float(scorers.meteor().compute_score(truth, made)[0])
    return scores


def meteor_is_available() -> bool:
    """Return whether pycocoevalcap with the files of METEOR, and Java, are there."""
    try:
        from pycocoevalcap.meteor import meteor
    except ImportError:
        return False
    jar = Path(str(meteor.__file__)).with_name(meteor.METEOR_JAR)
    return jar.is_file() and shutil.which("java") is not None
