"""One set of predictions, many IoUs."""

from traitlets import Dict

from ..checks import check_integer
from ..metrics import stat_scores
from .base import Choice, Explorer


class PoolingExplorer(Explorer):
    """The IoU of one set of predictions, step by step, for every way to average of `metrics.iou`.

    Parameters
    ----------
    preds, target : integer masks (N, H, W) with values in [0, K), K = `num_classes`.
    num_classes : K, at least 2; class 0 is the background.
    average : "image", "image_set", "class" or "set", as `segedu.metrics` explains them.
    classes : "all", or "foreground" to leave the background out.
    absent : 0, 1 or "skip", the IoU of a class that is in neither mask.

    Raises ValueError for other masks or options, and for more than the 60 kB that an explorer may
    add to a page.

    >>> import numpy as np
    >>> PoolingExplorer(np.eye(4, dtype=int)[None], np.tri(4, dtype=int)[None], num_classes=2)
    PoolingExplorer(average='image', classes='all', absent=0)
    """

    name = "pooling"
    alt = (
        "A square for each image and class, darker where its IoU is higher; beside them "
        "how these ratios are averaged to one number."
    )
    average = Choice(
        "image",
        {
            "image": "each image and class",
            "image_set": "each image",
            "class": "each class",
            "set": "all at once",
        },
        "one ratio for",
    )
    classes = Choice("all", {"all": "all", "foreground": "without background"}, "classes")
    absent = Choice(0, {0: "0", 1: "1", "skip": "left out"}, "0 / 0 counts as")
    data = Dict().tag(sync=True)

    def __init__(self, preds, target, *, num_classes: int, **values):
        check_integer("num_classes", num_classes, 2)
        counts = stat_scores(preds, target, num_classes=num_classes)
        data = {name: getattr(counts, name).tolist() for name in ("tp", "fp", "fn")}
        super().__init__(data=data, **values)
