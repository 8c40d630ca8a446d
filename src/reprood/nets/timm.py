"""Any network of timm as a backbone: `backbone: {name: timm, model: vit_tiny_patch16_224}`; needs `reprood[timm]`."""

import difflib
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.nets.options import Options, read_options
from reprood.nets.weights import Weights, load_weights

NETWORK = "timm"


class TimmOptions(Options):
    """Options of `build`.

    Attributes
    ----------
    model : str
        Name in `timm.list_models()`.
    arguments : dict
        Further arguments of `timm.create_model`, such as `{img_size: 32}`.
    weights : Weights, optional
        A file with the state of the whole network, with or without its classifier; default: random initialisation.
    """

    model: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    weights: Weights | None = None


class TimmBackbone(nn.Module):
    """A network of timm without its classifier: images to features [B, width]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.width = int(getattr(network, "head_hidden_size", None) or network.num_features)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """Return features [B, width] of normalised images [B, C, H, W]."""
        features: Tensor = self.network(images)
        return features


def build(channels: int, **options: Any) -> TimmBackbone:
    """Build a network for images of `channels` channels; options as in `TimmOptions`.

    Raises
    ------
    ReproodError
        When timm is not installed, for an unknown network or arguments, or weights that do not fit.
    """
    chosen = read_options(TimmOptions, NETWORK, channels, options)
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ReproodError(
            "The backbone 'timm' needs the package timm, which is not installed; install reprood[timm]."
        ) from error
    if not timm.is_model(chosen.model):
        near = ", ".join(difflib.get_close_matches(chosen.model, timm.list_models()))
        raise ReproodError(f"timm has no network '{chosen.model}'" + (f"; similar: {near}." if near else "."))
    try:
        network = timm.create_model(
            chosen.model, pretrained=False, num_classes=0, in_chans=channels, **chosen.arguments
        )
    except (TypeError, ValueError, AssertionError) as error:
        raise ReproodError(f"timm's {chosen.model} cannot be built with {chosen.arguments}: {error}.") from error
    backbone = TimmBackbone(network)
    if chosen.weights is not None:
        load_weights(backbone.network, chosen.weights)
    return backbone
