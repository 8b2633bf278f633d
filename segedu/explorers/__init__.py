"""Interactive figures, which run as ipywidgets in a notebook and without Python in a web page.

>>> explorer = LossExplorer(gamma=2, foreground=0.1)
>>> explorer.alpha = 0.9
>>> explorer
LossExplorer(gamma=2.0, alpha=0.9, foreground=0.1, p=0.3)

To show an explorer, end a cell with it. `to_html()` gives its HTML, for a web page of your own.
"""

from .conv import ConvExplorer
from .grid import GridExplorer
from .iou import IoUExplorer
from .lab import TrainingLab
from .live import LiveSegmentation
from .loss import LossExplorer
from .pooling import PoolingExplorer
from .threshold import ThresholdExplorer

__all__ = [
    "ConvExplorer",
    "GridExplorer",
    "IoUExplorer",
    "LiveSegmentation",
    "LossExplorer",
    "PoolingExplorer",
    "ThresholdExplorer",
    "TrainingLab",
]
