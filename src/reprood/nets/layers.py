"""Small parts that several networks share."""

import math

from torch import Tensor, nn


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """Return a 3 x 3 convolution with padding 1 and without bias."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


class StridedPointwise(nn.Conv2d):
    """A 1 x 1 convolution with a stride that takes every n-th position first; the same function.

    For 2 to 7 input channels in channels-last format on processors without AVX-512, oneDNN's gradient of a 1 x 1
    convolution with a stride writes beyond its buffer, and the process crashes.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, bias: bool) -> None:
        super().__init__(inputs, outputs, 1, bias=bias)
        self.step = stride

    def forward(self, maps: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, ceil(H / stride), ceil(W / stride)]."""
        return super().forward(maps[:, :, :: self.step, :: self.step])


def conv1x1(inputs: int, outputs: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    """Return a 1 x 1 convolution."""
    if stride > 1 and inputs < 8:
        return StridedPointwise(inputs, outputs, stride, bias)
    return nn.Conv2d(inputs, outputs, 1, stride=stride, bias=bias)


def global_pool(maps: Tensor) -> Tensor:
    """Return the mean over all positions, [B, C, H, W] -> [B, C]: the papers' average pooling at their image size.

    A plain mean, because the gradient of adaptive pooling is not deterministic on GPUs.
    """
    return maps.mean(dim=(2, 3))


def init_fan_out(network: nn.Module) -> None:
    """Draw every convolution from N(0, 2 / (k * k * outputs)) (He et al. 2015); batch norms have gain 1 and shift 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
