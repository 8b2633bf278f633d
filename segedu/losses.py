"""Losses for segmentation. Every one takes logits, never probabilities.

Binary (K = 1): ``logits`` (N, 1, H, W) and ``target`` (N, 1, H, W) with values in [0, 1].
K > 1 classes: ``logits`` (N, K, H, W) and ``target`` (N, H, W) with class indices.

For all of them:

- Pixels whose target is ``ignore_index`` do not count. If no pixel counts, loss and gradient are 0.
- ``reduction``: "none" returns the loss of each pixel (Tversky, Dice, Jaccard: of each image and
  class), with 0 for ignored ones; "sum" adds them up; "mean" averages over those not ignored.
- Logits in half precision are converted to float32 first, also under autocast.
- ValueError for a target of the wrong shape, dtype, device or values, and for a wrong option. NaN
  among the logits is not looked for, which would take another pass over them: the loss is then NaN.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import check_choice, check_number, check_range, check_tensor, describe

HINT = ": if one of these values marks pixels to leave out, pass it as ignore_index"
Loss = Callable[[Tensor, Tensor], Tensor]


def _prepare(
    logits: Tensor, target: Tensor, ignore_index: int | None, *, binary: bool | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Check the arguments of a loss and bring them into the form that its formula needs.

    `binary` True takes only K = 1, False only K > 1, None both. Returns the logits in float32 or
    float64, the target with 0 where it is ignored, and a mask of the pixels that count (None: all).
    """
    if isinstance(logits, list | tuple):
        raise TypeError(f"logits must be a tensor, got {len(logits)} heads: use DeepSupervision")
    n, k, h, w = check_tensor("logits", logits, "(N, K, H, W)").shape
    check_tensor("target", target, "(...)", floats=False)
    if (binary is True and k > 1) or (binary is False and k == 1):
        raise ValueError(f"got K = {k}: binary_cross_entropy is for K = 1, cross_entropy for more")
    wanted = (n, 1, h, w) if k == 1 else (n, h, w)
    is_soft = k > 1 and target.is_floating_point()
    if target.shape != wanted or is_soft or target.device != logits.device:
        wanted = f"{wanted} of {'values in [0, 1]' if k == 1 else 'integer class indices'}"
        raise ValueError(
            f"logits {tuple(logits.shape)} need a target {wanted} on {logits.device}, "
            f"got {describe(target)}"
        )
    logits = logits if logits.dtype == torch.float64 else logits.float()
    target = target.to(logits.dtype if k == 1 else torch.int64)
    counted = None if ignore_index is None else target != ignore_index
    if counted is not None:
        target = target.masked_fill(~counted, 0)
    return logits, check_range("target", target, 0, max(k - 1, 1), HINT), counted


def _per_class(name: str, values: Tensor | Sequence[float], logits: Tensor) -> Tensor:
    """One weight per class (K = 1: background, foreground), like the logits."""
    weights = torch.as_tensor(values).to(logits, non_blocking=True)
    count = max(logits.shape[1], 2)
    if weights.shape != (count,):
        raise ValueError(f"{name} needs {count} numbers, got {describe(values)}")
    return check_range(name, weights, 0)


def _reduce(loss: Tensor, weights: Tensor | None, reduction: str) -> Tensor:
    """Reduce a loss; ``weights`` are those of its elements in the mean (None: all equal)."""
    check_choice("reduction", reduction, ("mean", "sum", "none"))
    if weights is not None:
        loss = loss.masked_fill(weights == 0, 0)  # no product: 0 times infinity is NaN
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if weights is None:
        return loss.mean()
    total = weights.sum()
    return loss.sum() / total.where(total > 0, 1)  # where nothing counts the loss is 0


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy, -log p of the true class, for K > 1 classes.

    ``weight`` (K,) multiplies the loss of each class; "mean" then divides by the sum of the pixels'
    weights, as torch does.

    >>> cross_entropy(torch.zeros(1, 4, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long))  # log 4
    tensor(1.3863)
    """
    logits, target, counted = _prepare(logits, target, ignore_index, binary=False)
    if weight is not None:
        weight = _per_class("weight", weight, logits)
        counted = weight[target] if counted is None else weight[target] * counted
    return _reduce(F.cross_entropy(logits, target, weight, reduction="none"), counted, reduction)


def binary_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross-entropy, -y log p - (1 - y) log(1 - p) with p = sigmoid(logits), for K = 1.

    ``weight`` (2,) multiplies the two terms, the background's first, and "mean" then divides by the
    sum of the pixels' weights: as `cross_entropy` of two classes.

    >>> binary_cross_entropy(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2))  # log 2
    tensor(0.6931)
    """
    logits, target, counted = _prepare(logits, target, ignore_index, binary=True)
    if weight is None:
        loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    else:
        background, foreground = _per_class("weight", weight, logits)
        negative, positive = background * (1 - target), foreground * target
        loss = negative * F.softplus(logits) + positive * F.softplus(-logits)
        weight = negative + positive
        counted = weight if counted is None else weight * counted
    return _reduce(loss, counted, reduction)


def _focal(margin: Tensor, gamma: float) -> Tensor:
    """-(1 - p)^gamma log p, where p = sigmoid(margin) is the probability of the true class.

    softplus(-margin) is -log p, and softplus(margin) is -log(1 - p), so (1 - p)^gamma is written
    exp(gamma log(1 - p)). A plain power with gamma < 1 has an infinite gradient at p = 1.
    """
    return F.softplus(-margin) * torch.exp(-gamma * F.softplus(margin))


def focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    alpha: float | Tensor | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Focal loss: cross-entropy times (1 - p)^gamma, which makes easy pixels count less.

    K = 1: -alpha (1 - p)^gamma y log p - (1 - alpha) p^gamma (1 - y) log(1 - p).
    K > 1: -alpha_t (1 - p_t)^gamma log p_t for the true class t.
    Lin et al. 2017, arXiv 1708.02002, equations 4 and 5.

    Parameters
    ----------
    gamma : at least 0; with 0 and no alpha this is (binary) cross-entropy.
    alpha : weight of the positive class, in [0, 1]; the negative class has 1 - alpha (see
        `class_balance`). For K > 1: one weight per class, (K,). None: all weights are 1. "mean"
        divides by the number of pixels that count, not by the sum of their weights.

    >>> logits, target = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    >>> focal_loss(logits, target) / binary_cross_entropy(logits, target)  # (1 - 0.5)^2
    tensor(0.2500)
    """
    gamma = check_number("gamma", gamma, 0)
    logits, target, counted = _prepare(logits, target, ignore_index)
    if logits.shape[1] == 1:
        if alpha is None:
            positive = negative = 1.0
        else:
            positive = check_number("alpha (for K = 1)", alpha, 0, 1)
            negative = 1 - positive
        is_cpu = target.device.type == "cpu" and not torch.compiler.is_compiling()
        if is_cpu and torch.equal(target, target.round()):  # a GPU would have to wait for this
            # Only 0 and 1: each pixel has one of the two terms, which saves half of the work. The
            # sign of the logit turns p into 1 - p where the target is 0.
            loss = _focal((2 * target - 1) * logits, gamma)
            loss = loss * torch.where(target > 0, positive, negative)
        else:
            loss = positive * target * _focal(logits, gamma)
            loss = loss + negative * (1 - target) * _focal(-logits, gamma)
    else:
        # p_t = softmax_t = sigmoid(z_t - logsumexp of the other logits); -inf leaves z_t out.
        index = target.unsqueeze(1)
        others = logits.scatter(1, index, float("-inf")).logsumexp(1)
        loss = _focal(logits.gather(1, index).squeeze(1) - others, gamma)
        if alpha is not None:
            loss = loss * _per_class("alpha", alpha, logits)[target]
    return _reduce(loss, counted, reduction)


def tversky_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float,
    beta: float,
    smooth: float = 1.0,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth), counted with probabilities.

    Each image and class has a loss, the background included; to leave it out, use
    ``tversky_loss(..., reduction="none")[:, 1:].mean()``. An image whose pixels are all ignored
    does not count. Salehi et al. 2017, arXiv 1706.05721, equation 3.

    Parameters
    ----------
    alpha, beta : at least 0; alpha weighs false positives, beta false negatives.
    smooth : added to both sides of the fraction, in pixels, at least 1e-12. If the true mask is
        empty, the loss is 1 - smooth / (smooth + alpha FP), which falls to 0 with FP.

    >>> logits, target = torch.full((1, 1, 4, 4), 20.0), torch.zeros(1, 1, 4, 4)
    >>> target[..., :2] = 1  # 8 true positives, 8 false positives
    >>> tversky_loss(logits, target, alpha=0.5, beta=0.5)  # 1 - (8 + 1) / (8 + 4 + 1)
    tensor(0.3077)
    """
    alpha, beta = check_number("alpha", alpha, 0), check_number("beta", beta, 0)
    smooth = check_number("smooth", smooth, 1e-12)  # with 0 an empty mask gives 0 / 0
    logits, target, counted = _prepare(logits, target, ignore_index)
    if logits.shape[1] == 1:
        p, truth = logits.sigmoid(), target
    else:
        p = logits.softmax(1)
        truth = torch.zeros_like(p).scatter_(1, target.unsqueeze(1), 1)  # one-hot
    has_pixels = None
    if counted is not None:
        counted = counted.view_as(logits[:, :1])
        p, truth = p * counted, truth * counted  # `_prepare` made ignored pixels class 0
        has_pixels = counted.any(3).any(2).expand(logits.shape[:2])
    tp = (p * truth).sum((2, 3))  # (N, K), also below
    fp, fn = p.sum((2, 3)) - tp, truth.sum((2, 3)) - tp
    loss = 1 - (tp + smooth) / (tp + alpha * fp + beta * fn + smooth)
    return _reduce(loss, has_pixels, reduction)


def dice_loss(logits: Tensor, target: Tensor, **options) -> Tensor:
    """Dice loss, 1 - 2 TP / (2 TP + FP + FN): `tversky_loss` with alpha = beta = 0.5.

    `options` are smooth, ignore_index and reduction. The denominator has p, where Milletari et al.
    2016 (arXiv 1606.04797) have p^2.
    """
    return tversky_loss(logits, target, alpha=0.5, beta=0.5, **options)


def jaccard_loss(logits: Tensor, target: Tensor, **options) -> Tensor:
    """Jaccard (IoU) loss, 1 - TP / (TP + FP + FN): `tversky_loss` with alpha = beta = 1.

    `options` are smooth, ignore_index and reduction.
    """
    return tversky_loss(logits, target, alpha=1.0, beta=1.0, **options)


def compound_loss(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int | None = None,
) -> Tensor:
    """Dice loss plus cross-entropy (binary for K = 1), both averaged: the default in training.

    ``weight`` is that of the cross-entropy.
    """
    dice = dice_loss(logits, target, ignore_index=ignore_index)
    entropy = binary_cross_entropy if logits.shape[1] == 1 else cross_entropy
    return dice + entropy(logits, target, weight=weight, ignore_index=ignore_index)


def deep_supervision(
    loss: Loss,
    logits: Tensor | Sequence[Tensor],
    target: Tensor,
    *,
    weights: Sequence[float] | None = None,
) -> Tensor:
    """The average, weighted by ``weights`` if given, of a loss over the logits of several heads.

    All heads have the target's resolution, as in U-Net++ (Zhou et al. 2018, arXiv 1807.10165,
    section 3.2). For a single tensor of logits the result is loss(logits, target).

    >>> heads, target = [torch.zeros(1, 1, 2, 2)] * 3, torch.ones(1, 1, 2, 2)
    >>> deep_supervision(binary_cross_entropy, heads, target, weights=[1, 1, 2])
    tensor(0.6931)
    """
    if isinstance(logits, Tensor):
        return loss(logits, target)
    weights = [1.0] * len(logits) if weights is None else list(weights)
    if len(weights) != len(logits) or min(weights) < 0 or sum(weights) == 0:
        raise ValueError(
            f"weights needs {len(logits)} numbers, one per head, none negative and not all 0, "
            f"got {weights}"
        )
    return sum(w * loss(x, target) for w, x in zip(weights, logits, strict=True)) / sum(weights)


def class_balance(target: Tensor, *, ignore_index: int | None = None) -> float:
    """The share of negative pixels, N_neg / (N_pos + N_neg), of a binary mask of any shape.

    Used as alpha of the focal loss, it gives the rarer class the larger weight.

    ValueError for values outside [0, 1], or where no pixel counts.

    >>> class_balance(torch.tensor([0, 0, 0, 1, 255]), ignore_index=255)
    0.75
    """
    values = target.double()
    if ignore_index is not None:
        values = values[values != ignore_index]
    if not values.numel():
        raise ValueError("target needs a pixel that is not ignored by ignore_index, got none")
    return 1 - check_range("target", values, 0, 1, HINT).mean().item()


class _LossModule(nn.Module):
    """The loss function of the same name as a module; its keyword arguments are the options."""

    function: Callable[..., Tensor]

    def __init__(self, **options):
        super().__init__()
        self.options = options

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.function(logits, target, **self.options)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.options.items())


class CrossEntropyLoss(_LossModule):
    function = staticmethod(cross_entropy)


class BinaryCrossEntropyLoss(_LossModule):
    function = staticmethod(binary_cross_entropy)


class FocalLoss(_LossModule):
    function = staticmethod(focal_loss)


class TverskyLoss(_LossModule):
    function = staticmethod(tversky_loss)


class DiceLoss(_LossModule):
    function = staticmethod(dice_loss)


class JaccardLoss(_LossModule):
    function = staticmethod(jaccard_loss)


class CompoundLoss(_LossModule):
    function = staticmethod(compound_loss)


class DeepSupervision(nn.Module):
    """`deep_supervision` as a module: wraps a loss so that it takes the logits of several heads.

    >>> DeepSupervision(FocalLoss(gamma=2.0))
    DeepSupervision(
      (loss): FocalLoss(gamma=2.0)
    )
    """

    def __init__(self, loss: Loss, *, weights: Sequence[float] | None = None):
        super().__init__()
        self.loss, self.weights = loss, weights

    def forward(self, logits: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        return deep_supervision(self.loss, logits, target, weights=self.weights)

    def extra_repr(self) -> str:
        return "" if self.weights is None else f"weights={self.weights}"
