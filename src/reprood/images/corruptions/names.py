"""Names of the corruptions. No torch here: the configuration imports this module."""

SEVERITIES = (1, 2, 3, 4, 5)
CIFAR_C_NAMES = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow",
    "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
CNC_NAMES = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "snow", "fog", "zoom_blur",
    "contrast", "elastic_transform", "brightness", "speckle_noise", "gaussian_blur", "saturate", "frost",
)  # fmt: skip
NAMES = (*CIFAR_C_NAMES, "speckle_noise", "gaussian_blur", "saturate")
