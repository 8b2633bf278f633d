"""The package behind the course *Image Segmentation, from Pixels to U-Net++*.

Losses, metrics and networks are here at once; `segedu.data`, `segedu.training`, `segedu.plotting`
and `segedu.diagrams` are imported where they are needed, since they bring heavier libraries.
"""

from . import losses, metrics
from .analysis import count_multiply_adds, count_parameters, receptive_field
from .checkpoint import load_model, load_pretrained, read_notes, save_checkpoint
from .inference import predict, segmenter, to_mask
from .models import NodeGrid, UNet, UNetPlusPlus
from .variants import (
    AttentionUNet,
    AttentionUNetPlusPlus,
    HalfResolution,
    ResidualUNet,
    UNet3Plus,
)

__all__ = [
    "AttentionUNet",
    "AttentionUNetPlusPlus",
    "HalfResolution",
    "NodeGrid",
    "ResidualUNet",
    "UNet",
    "UNet3Plus",
    "UNetPlusPlus",
    "count_multiply_adds",
    "count_parameters",
    "load_model",
    "load_pretrained",
    "losses",
    "metrics",
    "predict",
    "read_notes",
    "receptive_field",
    "save_checkpoint",
    "segmenter",
    "to_mask",
]
__version__ = "0.1.0"
