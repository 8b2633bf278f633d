"""Exercises of the chapter on losses."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import losses
from .answer import Answer, check

IGNORE = 255


def _random(shape: tuple, *, seed: int, scale: float = 2.0) -> Tensor:
    """Logits that are the same on every machine."""
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _mask(shape: tuple, *, seed: int, num_classes: int = 2) -> Tensor:
    """Class indices; background takes about half of the pixels."""
    labels = torch.randint(
        2 * num_classes - 2, shape, generator=torch.Generator().manual_seed(seed)
    )
    return (labels - num_classes + 2).clamp(min=0)


def _right(z: Tensor, y: Tensor) -> Tensor:
    """p_t, the probability that was given to the right one of two classes."""
    return ((2 * y - 1) * z).sigmoid()


def check_binary_cross_entropy(submission: Callable[[Tensor, Tensor], Tensor]) -> Answer:
    """Check a function of (z, y) that gives the binary cross-entropy of each pixel.

    z has logits, floats of any shape, sure ones among them; y has 0 or 1, of the same shape as z.
    It gives a tensor of that shape.

    >>> def entropy(z, y):
    ...     return F.binary_cross_entropy(z.sigmoid(), y, reduction="none")
    >>> check_binary_cross_entropy(entropy)
    not yet: probabilities are rounded to 0 and 1 and -log 0 is cut off at 100: compute from logits
    """
    entropy = F.binary_cross_entropy_with_logits

    def on_logits(z, y):
        return entropy(z, y, reduction="none")

    def from_formula(z, y):
        p = z.sigmoid()
        return -(y * p.log() + (1 - y) * (1 - p).log())

    sure = torch.tensor([-200.0, -100.0, -20.0, 0.0, 20.0, 100.0, 200.0])
    cases = [
        (torch.tensor([0.0]), torch.tensor([1.0])),
        (torch.tensor([2.0]), torch.tensor([1.0])),
        (torch.tensor([2.0]), torch.tensor([0.0])),
        (torch.tensor([-3.0, 1.0]), torch.tensor([1.0, 0.0])),
        (_random((2, 1, 4, 4), seed=1), _mask((2, 1, 4, 4), seed=2).float()),
        (_random((1, 1, 8, 8), seed=3), torch.ones(1, 1, 8, 8)),
        (sure, torch.zeros(7)),
        (sure, torch.ones(7)),
    ]
    return check(
        submission,
        on_logits,
        cases,
        {
            "sigmoid twice: this loss applies one itself, so hand it the logits": (
                lambda z, y: entropy(z.sigmoid(), y, reduction="none")
            ),
            "probabilities are rounded to 0 and 1 and -log 0 is cut off at 100: compute from "
            "logits": lambda z, y: F.binary_cross_entropy(z.sigmoid(), y, reduction="none"),
            "probabilities are rounded to 0 and 1, whose log is infinite: compute from logits": (
                from_formula
            ),
            "the sign is wrong: log p is below 0, and a loss has to fall as p rises": (
                lambda z, y: -on_logits(z, y)
            ),
            "background pixels have a loss too: the term with 1 - y is missing": (
                lambda z, y: y * on_logits(z, y)
            ),
            "the classes are swapped: y = 1 has to pull the logit up": (
                lambda z, y: on_logits(-z, y)
            ),
            "this is the mean: return the loss of each pixel": entropy,
        },
    )


def check_class_balance(submission: Callable[[Tensor], float]) -> Answer:
    """Check a function of a mask that gives the course's alpha, N_neg / (N_pos + N_neg).

    The mask has integers of any shape, 1 for foreground and 0 for background. It gives a number.

    >>> check_class_balance(lambda mask: mask.float().mean())
    not yet: this is the foreground's part: it weighs the rare class down, alpha weighs it up
    """
    cases = [
        (torch.tensor([0, 0, 0, 1]),),
        (torch.tensor([1, 1, 1, 0]),),
        (torch.zeros(4, 4, dtype=torch.long),),
        (torch.ones(2, 3, 3, dtype=torch.long),),
        (_mask((2, 16, 16), seed=1),),
        (_mask((1, 8, 8), seed=2) * _mask((1, 8, 8), seed=3),),
    ]
    return check(
        submission,
        losses.class_balance,
        cases,
        {
            "this is the foreground's part: it weighs the rare class down, alpha weighs it up": (
                lambda mask: mask.float().mean()
            ),
            "this is N_neg / N_pos, the pos_weight of PyTorch: divide by all pixels instead": (
                lambda mask: (mask == 0).sum() / (mask == 1).sum()
            ),
            "this is a count: divide by the number of pixels": lambda mask: (mask == 0).sum(),
        },
    )


def check_focal_loss(submission: Callable[[Tensor, Tensor, float, float], Tensor]) -> Answer:
    """Check a function of (z, y, gamma, alpha) that gives the mean focal loss.

    z has logits (N, 1, H, W); y has 0 or 1, (N, 1, H, W) floats. alpha weighs the pixels with
    y = 1, 1 - alpha the others. It gives a number.

    >>> def focal(z, y, gamma, alpha):
    ...     weight = (1 - alpha) * y + alpha * (1 - y)
    ...     entropy = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    ...     return (weight * (1 - (-entropy).exp()) ** gamma * entropy).mean()
    >>> check_focal_loss(focal)
    not yet: alpha is on the wrong class: it weighs y = 1, and 1 - alpha weighs y = 0
    """

    def each(z, y, gamma, alpha):
        return losses.focal_loss(z, y, gamma=gamma, alpha=alpha, reduction="none")

    def parts(z, y, alpha):
        """p_t, -log p_t, and the weight of each pixel."""
        p = _right(z, y)
        return p, -p.log(), alpha * y + (1 - alpha) * (1 - y)

    def foreground_only(z, y, gamma, alpha):
        _, entropy, weight = parts(z, y, alpha)
        return (weight * (1 - z.sigmoid()) ** gamma * entropy).mean()

    def of_the_right(z, y, gamma, alpha):
        p, entropy, weight = parts(z, y, alpha)
        return (weight * p**gamma * entropy).mean()

    def outside(z, y, gamma, alpha):
        p, entropy, weight = parts(z, y, alpha)
        return (weight * ((1 - p) * entropy) ** gamma).mean()

    def one_weight(z, y, gamma, alpha):
        return alpha * each(z, y, gamma, None).mean()

    shape = (2, 1, 4, 4)
    z, y = _random(shape, seed=1), _mask(shape, seed=2).float()
    rare = (torch.arange(32).view(shape) % 11 == 0).float()
    cases = [
        (torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), 2.0, 0.25),
        (torch.full((1, 1, 1, 1), 2.0), torch.zeros(1, 1, 1, 1), 2.0, 0.25),
        (z, y, 0.0, 0.5),
        (z, y, 0.0, 0.9),
        (z, y, 2.0, 0.5),
        (z, y, 2.0, 0.25),
        (_random(shape, seed=3), rare, 0.5, 0.9),
        (_random(shape, seed=4), rare, 5.0, 0.25),
    ]
    return check(
        submission,
        lambda *case: each(*case).mean(),
        cases,
        {
            "alpha is on the wrong class: it weighs y = 1, and 1 - alpha weighs y = 0": (
                lambda z, y, gamma, alpha: each(z, y, gamma, 1 - alpha).mean()
            ),
            "background pixels need p^gamma where foreground has (1 - p)^gamma: both are the "
            "probability of the wrong class": foreground_only,
            "p_t^gamma turns down what is wrong: take 1 - p_t": of_the_right,
            "gamma is outside: the power belongs to 1 - p_t alone, not to the logarithm": outside,
            "alpha weighs all pixels alike: background pixels get 1 - alpha": one_weight,
            "this is the sum: return the mean over pixels": lambda *case: each(*case).sum(),
            "this divides by the number of foreground pixels, as the paper does: the exercise "
            "asks for the mean over all": (
                lambda z, y, gamma, alpha: each(z, y, gamma, alpha).sum() / y.sum().clamp(min=1)
            ),
        },
    )


def check_cross_entropy(submission: Callable[[Tensor, Tensor, int], Tensor]) -> Answer:
    """Check a function of (logits, target, ignore_index) that gives the mean cross-entropy.

    Logits are (N, K, H, W), target is (N, H, W) class indices, or ignore_index. It gives the mean
    over the pixels that are not ignored, and 0 if all are.

    >>> check_cross_entropy(lambda z, y, i: F.cross_entropy(z, y, ignore_index=i, reduction="sum")
    ...     / y.numel())
    not yet: ignored pixels are still in the denominator: divide by the number of those that count
    """

    def of_all(logits, target, ignore_index):
        loss = F.cross_entropy(logits, target, ignore_index=ignore_index, reduction="sum")
        return loss / target.numel()

    def as_background(logits, target, ignore_index):
        return F.cross_entropy(logits, target.where(target != ignore_index, 0))

    def masked(logits, target, ignore_index):
        counted = target != ignore_index
        return F.cross_entropy(logits * counted[:, None], target * counted)

    def case(ignored: int, ignore_index: int, seed: int, num_classes: int = 3):
        """Two images of 4 x 4 whose first pixels are ignored."""
        target = _mask((2, 4, 4), seed=seed, num_classes=num_classes)
        target.view(-1)[:ignored] = ignore_index
        return _random((2, num_classes, 4, 4), seed=seed + 1), target, ignore_index

    cases = [
        case(0, IGNORE, 1),
        case(1, IGNORE, 2),
        case(8, IGNORE, 3),
        case(16, IGNORE, 4),  # the first image does not count at all
        case(31, -1, 5, num_classes=5),
        case(32, IGNORE, 6),
    ]
    return check(
        submission,
        lambda logits, target, index: losses.cross_entropy(logits, target, ignore_index=index),
        cases,
        {
            "ignored pixels are still in the denominator: divide by the number of those that "
            "count": of_all,
            "ignored pixels are trained as background: leave them out instead": as_background,
            "a pixel multiplied by 0 still costs log K: leave it out of sum and count": masked,
            "where every pixel is ignored this is 0 / 0: give 0": (
                lambda logits, target, index: F.cross_entropy(logits, target, ignore_index=index)
            ),
            "this is the mean over images of their means: pixels count alike, so pool them": (
                lambda logits, target, index: torch.stack(
                    [
                        losses.cross_entropy(z[None], y[None], ignore_index=index)
                        for z, y in zip(logits, target, strict=True)
                    ]
                ).mean()
            ),
        },
    )


def check_dice_loss(submission: Callable[[Tensor, Tensor, float], Tensor]) -> Answer:
    """Check a function of (logits, target, smooth) that gives the mean Dice loss.

    Logits are (N, K, H, W), target is (N, H, W) class indices. It gives the mean, over images and
    the classes 1 to K - 1, of 1 - (TP + s) / (TP + FP / 2 + FN / 2 + s), counted with softmax
    probabilities.

    >>> check_dice_loss(lambda z, y, s: losses.dice_loss(z, y, smooth=s))
    not yet: the background is included: average over the classes from 1 on
    """

    def counts(p, target):
        """TP and the sizes of prediction and truth, (N, K - 1) each."""
        truth = F.one_hot(target, p.shape[1]).movedim(-1, 1)
        return [x[:, 1:].sum((2, 3)) for x in (p * truth, p, truth)]

    def dice(tp, predicted, true, above, below):
        return (2 * tp + 2 * above) / (predicted + true + 2 * below)

    def of_softmax(logits, target, smooth):
        return losses.dice_loss(logits, target, smooth=smooth, reduction="none")[:, 1:].mean()

    def pooled(logits, target, smooth):
        sums = [count.sum(0) for count in counts(logits.softmax(1), target)]
        return 1 - dice(*sums, smooth, smooth).mean()

    def of_masks(logits, target, smooth):
        hard = F.one_hot(logits.argmax(1), logits.shape[1]).movedim(-1, 1).float()
        return 1 - dice(*counts(hard, target), smooth, smooth).mean()

    def jaccard(logits, target, smooth):
        return losses.jaccard_loss(logits, target, smooth=smooth, reduction="none")[:, 1:].mean()

    def case(shape: tuple, smooth: float, seed: int):
        n, k, h, w = shape
        return _random(shape, seed=seed), _mask((n, h, w), seed=seed + 1, num_classes=k), smooth

    uneven = case((3, 3, 8, 8), 1.0, 5)
    uneven[1][0, 2:] = 0  # little of it in the first image
    empty = _random((2, 3, 8, 8), seed=6), torch.zeros(2, 8, 8, dtype=torch.long), 1.0
    cases = [
        case((1, 2, 4, 4), 1.0, 1),
        case((1, 3, 8, 8), 1e-6, 2),
        case((2, 3, 8, 8), 1.0, 3),
        case((4, 4, 8, 8), 10.0, 4),
        uneven,
        empty,
    ]
    return check(
        submission,
        of_softmax,
        cases,
        {
            "the background is included: average over the classes from 1 on": (
                lambda logits, target, s: losses.dice_loss(logits, target, smooth=s)
            ),
            "the counts are pooled over the batch: make a loss for each image, then average": (
                pooled
            ),
            "smooth is in the denominator alone: without it above, an empty class always costs 1": (
                lambda logits, target, s: 1 - dice(*counts(logits.softmax(1), target), 0, s).mean()
            ),
            "this counts decided pixels, which have no gradient: count with probabilities": (
                of_masks
            ),
            "these are sigmoids, one class at a time: classes compete, so take softmax": (
                lambda logits, target, s: 1 - dice(*counts(logits.sigmoid(), target), s, s).mean()
            ),
            "this is the Jaccard (IoU) loss: Dice counts half of FP and FN": jaccard,
            "this is the Dice score, which rises as the network improves: return 1 minus it": (
                lambda *case: 1 - of_softmax(*case)
            ),
        },
    )


def check_balancing_alpha(submission: Callable[[Tensor, Tensor, float], Tensor]) -> Answer:
    """Check a function of (z, y, gamma) that gives the alpha at which both classes pull alike.

    z has logits (N, 1, H, W); y has 0 or 1, (N, 1, H, W) floats, both among them. A class pulls
    with the sum, over its pixels, of the size of the focal loss's gradient by the logit. It gives a
    number.

    >>> check_balancing_alpha(lambda z, y, gamma: losses.class_balance(y))
    not yet: this counts pixels: that is the balance at p = 0.5 only, later the gradients differ
    """

    def pulls(z, y, gamma):
        """Sum of the gradients of each class, without alpha."""
        z = z.clone().requires_grad_()
        loss = losses.focal_loss(z, y, gamma=gamma, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, z)
        return (gradient.abs() * y).sum(), (gradient.abs() * (1 - y)).sum()

    def balance(z, y, gamma):
        positive, negative = pulls(z, y, gamma)
        return negative / (positive + negative)

    def of_losses(z, y, gamma):
        loss = losses.focal_loss(z, y, gamma=gamma, reduction="none")
        return (loss * (1 - y)).sum() / loss.sum()

    def of_means(z, y, gamma):
        positive, negative = pulls(z, y, gamma)
        positive, negative = positive / y.sum(), negative / (1 - y).sum()
        return negative / (positive + negative)

    def rare(p_positive: float, p_negative: float):
        """One foreground pixel in ten."""
        y = (torch.arange(100).view(1, 1, 10, 10) % 10 == 0).float()
        return torch.tensor([p_negative, p_positive]).logit()[y.long()], y

    random = _random((2, 1, 8, 8), seed=1), _mask((2, 1, 8, 8), seed=2).float()
    cases = [
        (*rare(0.5, 0.5), 0.0),
        (*rare(0.5, 0.5), 2.0),
        (*rare(0.5, 0.1), 0.0),
        (*rare(0.5, 0.1), 2.0),
        (*rare(0.9, 0.3), 2.0),
        (*random, 0.5),
        (*random, 5.0),
    ]
    return check(
        submission,
        balance,
        cases,
        {
            "this counts pixels: that is the balance at p = 0.5 only, later the gradients differ": (
                lambda z, y, gamma: losses.class_balance(y)
            ),
            "alpha is on the wrong class: the more the background pulls, the larger it must be": (
                lambda *case: 1 - balance(*case)
            ),
            "this balances the losses: weights learn from gradients": of_losses,
            "this compares single pixels: each class pulls with the sum over its pixels": of_means,
        },
    )
