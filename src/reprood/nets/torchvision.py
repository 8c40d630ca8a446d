"""Any classification network of torchvision as a backbone: `backbone: {name: torchvision, model: resnet18}`."""

from typing import Any

from pydantic import Field
from torch import Tensor, nn

from reprood.core.errors import ReproodError
from reprood.nets.options import Options, read_options
from reprood.nets.weights import Weights, load_weights

NETWORK = "torchvision"
TWO_OUTPUTS = ("googlenet", "inception_v3")  # they return auxiliary logits in training


class TorchvisionOptions(Options):
    """Options of `build`.

    Attributes
    ----------
    model : str
        Name in `torchvision.models`, such as "resnet18" or "vit_b_16".
    arguments : dict
        Further arguments of torchvision's function, such as `{image_size: 32, ...}`.
    weights : Weights, optional
        A file with the state of the whole network, with or without its classifier; default: random initialisation.
    """

    model: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    weights: Weights | None = None


class TorchvisionBackbone(nn.Module):
    """A network of torchvision whose last linear layer is replaced by the identity: images to features [B, width]."""

    def __init__(self, network: nn.Module, model: str) -> None:
        super().__init__()
        linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise ReproodError(f"torchvision's {model} has no linear layer at its end; choose another network.")
        self.width = int(network.get_submodule(linear[-1]).in_features)  # type: ignore[arg-type]
        network.set_submodule(linear[-1], nn.Identity())
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return features [B, width] of normalised images [B, C, H, W]."""
        features: Tensor = self.network(images)
        return features


def models() -> list[str]:
    """Return the networks that can be used, sorted."""
    from torchvision import models as library

    return [name for name in library.list_models(library) if name not in TWO_OUTPUTS]


def build(channels: int, **options: Any) -> TorchvisionBackbone:
    """Build a network for images of `channels` channels; options as in `TorchvisionOptions`.

    The first convolution is replaced by one with the same options where the images do not have three channels.

    Raises
    ------
    ReproodError
        For an unknown network, unknown arguments, or weights that do not fit.
    """
    from torchvision.models import get_model

    chosen = read_options(TorchvisionOptions, NETWORK, channels, options)
    if chosen.model not in models():
        raise ReproodError(f"torchvision has no classification network '{chosen.model}'; known: {', '.join(models())}.")
    try:
        network = get_model(chosen.model, weights=None, **chosen.arguments)
    except (TypeError, ValueError) as error:
        raise ReproodError(f"torchvision's {chosen.model} cannot be built with {chosen.arguments}: {error}.") from error
    if channels != 3:
        _replace_first_convolution(network, channels)
    backbone = TorchvisionBackbone(network, chosen.model)
    if chosen.weights is not None:
        load_weights(backbone.network, chosen.weights)
    return backbone


def _replace_first_convolution(network: nn.Module, channels: int) -> None:
    name, first = next((name, m) for name, m in network.named_modules() if isinstance(m, nn.Conv2d))
    own = nn.Conv2d(
        channels, first.out_channels, first.kernel_size, first.stride, first.padding, first.dilation,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )  # fmt: skip
    network.set_submodule(name, own)
