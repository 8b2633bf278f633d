"""Exercises of the chapter on losses."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import losses
from .answer import Answer, check

IGNORE = 255
NO_GRADIENT = (
    "the gradient is 0, so nothing can be learned: float(...), .item() and .detach() cut it off"
)
SMALL = 1e-6, 1e-7, 1e-8  # what is commonly added to a probability, or cut off at both ends of it


def check_binary_cross_entropy(submission: Callable[[Tensor, Tensor], Tensor]) -> Answer:
    """Check a function of (z, y) that returns the binary cross-entropy of each pixel.

    z has logits, floats of any shape and up to 200 in size; y has 0 or 1, as floats of the same
    shape. The result has that shape too.

    >>> def entropy(z, y):
    ...     return F.binary_cross_entropy(z.sigmoid(), y, reduction="none")
    >>> check_binary_cross_entropy(entropy)
    not yet: sigmoid rounds to 0 or 1, and this loss cuts -log 0 off at 100: compute from logits
    """
    of_logits = F.binary_cross_entropy_with_logits

    def solution(z, y):
        return of_logits(z, y, reduction="none")

    def from_formula(z, y):
        p = z.sigmoid()
        return -(y * p.log() + (1 - y) * (1 - p).log())

    def overflowing(z, y):
        return y * (1 + (-z).exp()).log() + (1 - y) * (1 + z.exp()).log()

    def added(small):
        return lambda z, y: (
            -(y * (z.sigmoid() + small).log() + (1 - y) * (1 - z.sigmoid() + small).log())
        )

    def cut_off(small):
        return lambda z, y: F.binary_cross_entropy(
            z.sigmoid().clamp(small, 1 - small), y, reduction="none"
        )

    def textbook(positive):
        return lambda z, y: positive(z) - y * z + torch.log1p((-z.abs()).exp())

    sure = torch.tensor([-200.0, -100.0, -20.0, 0.0, 20.0, 100.0, 200.0])
    cases = [
        (torch.tensor([0.0]), torch.tensor([1.0])),
        (torch.tensor([2.0]), torch.tensor([1.0])),
        (torch.tensor([2.0]), torch.tensor([0.0])),
        (torch.tensor([-3.0, 1.0]), torch.tensor([1.0, 0.0])),
        (_logits((2, 1, 4, 4), seed=1), _labels((2, 1, 4, 4), seed=2).float()),
        (_logits((1, 1, 8, 8), seed=3), torch.ones(1, 1, 8, 8)),
        (sure, torch.zeros(7)),
        (sure, torch.ones(7)),
    ]
    misconceptions = {
        "sigmoid is applied twice: this loss applies one itself, so pass it the logits": (
            lambda z, y: of_logits(z.sigmoid(), y, reduction="none")
        ),
        "sigmoid rounds to 0 or 1, and this loss cuts -log 0 off at 100: compute from logits": (
            lambda z, y: F.binary_cross_entropy(z.sigmoid(), y, reduction="none")
        ),
        "sigmoid rounds to 0 or 1, and log 0 is infinite: compute from logits": from_formula,
        "exp(z) overflows, and 0 times infinity is NaN: F.softplus(z) is log(1 + exp(z)) without "
        "overflow": overflowing,
        "exp(z) overflows: F.softplus(z) is log(1 + exp(z)) without overflow": (
            lambda z, y: (1 + z.exp()).log() - y * z
        ),
        "clamp(min=0) and abs have a kink at z = 0, where the slope is not p - y: F.softplus has "
        "none": textbook(lambda z: z.clamp(min=0)),
        "relu and abs have a kink at z = 0, where the slope is not p - y: F.softplus has none": (
            textbook(F.relu)
        ),
        "the sign is wrong: a loss has to fall as p rises": lambda *case: -solution(*case),
        "background pixels need the term with 1 - y": lambda z, y: y * solution(z, y),
        "nuclei need the term with y": lambda z, y: (1 - y) * solution(z, y),
        "the classes are swapped: y = 1 has to pull the logit up": lambda z, y: solution(-z, y),
        "both terms are softplus(z): that of y = 1 needs softplus(-z)": lambda z, y: F.softplus(z),
        "both terms are softplus(-z): that of y = 0 needs softplus(z)": lambda z, y: F.softplus(-z),
        "y z has the wrong sign: softplus(z) - y z": lambda z, y: F.softplus(z) + y * z,
        "z has the wrong sign in softplus: softplus(z) - y z": lambda z, y: F.softplus(-z) - y * z,
        "this is the mean: return the loss of each pixel": of_logits,
        "this is the sum: return the loss of each pixel": (
            lambda z, y: of_logits(z, y, reduction="sum")
        ),
        NO_GRADIENT: lambda *case: solution(*case).detach(),
    }
    for small in SMALL:
        misconceptions |= {
            f"with + {small:g} the logarithm is finite, but a pixel that is certain and wrong has "
            "gradient 0: compute from logits": added(small),
            f"where the probability is cut off (clamp at {small:g}), a pixel that is certain and "
            "wrong has gradient 0: compute from logits": cut_off(small),
        }
    return check(submission, solution, cases, misconceptions, also="gradient")


def check_class_balance(submission: Callable[[Tensor], float]) -> Answer:
    """Check a function of a mask that returns the course's alpha, N_neg / (N_pos + N_neg).

    The mask has integers of any shape, 1 for nucleus and 0 for background.

    >>> check_class_balance(lambda mask: mask.float().mean())
    not yet: this is the share of nuclei, which gives the rare class less weight, not more
    """
    masks = [
        torch.tensor([0, 0, 0, 1]),
        torch.tensor([1, 1, 1, 0]),
        torch.zeros(4, 4, dtype=torch.long),
        torch.ones(2, 3, 3, dtype=torch.long),
        _labels((2, 16, 16), seed=1),
        _labels((1, 8, 8), seed=2) * _labels((1, 8, 8), seed=3),
    ]
    misconceptions = {
        "this is the share of nuclei, which gives the rare class less weight, not more": (
            lambda mask: mask.float().mean()
        ),
        "this is the larger share: alpha is that of background, also where nuclei are common": (
            lambda mask: max((mask == 0).float().mean(), (mask == 1).float().mean())
        ),
        "this is N_neg / N_pos, PyTorch's pos_weight: divide by the number of all pixels": (
            lambda mask: (mask == 0).sum() / (mask == 1).sum()
        ),
        "this is N_pos / N_neg: count the background above the fraction bar, all pixels below": (
            lambda mask: (mask == 1).sum() / (mask == 0).sum()
        ),
        "this is a number of pixels: divide it by their total": lambda mask: (mask == 0).sum(),
        "this is 1 / the share of nuclei, which has no upper limit: alpha is the share of "
        "background": lambda mask: mask.numel() / mask.sum(),
        "len(mask) counts rows: mask.numel() counts pixels": (
            lambda mask: (mask == 0).sum() / len(mask)
        ),
        "the mask may have any shape: mask.numel() counts its pixels": (
            lambda mask: (mask == 0).sum() / (mask.shape[0] * mask.shape[1])
        ),
        "the mask may have one axis, or more than two: mask.numel() counts its pixels": (
            lambda mask: (mask == 0).sum() / (mask.shape[-2] * mask.shape[-1])
        ),
        "the mask may have one axis, or more than two: .mean() without axes is over all pixels": (
            lambda mask: (mask == 0).float().mean((-2, -1))
        ),
        "~ turns the integers 0 and 1 into -1 and -2: write mask == 0": (
            lambda mask: (~mask).sum() / mask.numel()
        ),
        "integers have no mean in PyTorch: write mask.float().mean()": (
            lambda mask: 1 - mask.mean()
        ),
    }
    return check(submission, losses.class_balance, [(mask,) for mask in masks], misconceptions)


def check_focal_loss(submission: Callable[[Tensor, Tensor, float, float], Tensor]) -> Answer:
    """Check a function of (z, y, gamma, alpha) that returns the mean focal loss.

    z has logits (N, 1, H, W); y has 0 or 1, (N, 1, H, W) floats. alpha weights the pixels with
    y = 1, and 1 - alpha the others. The gradient must be finite, for sure pixels and gamma < 1 too.

    >>> def focal(z, y, gamma, alpha):
    ...     weight = (1 - alpha) * y + alpha * (1 - y)
    ...     entropy = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    ...     return (weight * (1 - (-entropy).exp()) ** gamma * entropy).mean()
    >>> check_focal_loss(focal)
    not yet: alpha is on the wrong class: it belongs to y = 1, and 1 - alpha to y = 0
    """

    def each(z, y, gamma, alpha=None):
        return losses.focal_loss(z, y, gamma=gamma, alpha=alpha, reduction="none")

    def solution(z, y, gamma, alpha):
        return each(z, y, gamma, alpha).mean()

    def weights(y, alpha):
        return alpha * y + (1 - alpha) * (1 - y)

    def with_power(power):
        """The loss by its formula; `power` is given p_t, -log p_t, gamma and p."""

        def loss(z, y, gamma, alpha):
            margin = (2 * y - 1) * z
            values = power(margin.sigmoid(), -F.logsigmoid(margin), gamma, z.sigmoid())
            return (weights(y, alpha) * values).mean()

        return loss

    def of_wrong_class(z, y, gamma, alpha):
        margin = (2 * y - 1) * z
        return (weights(y, alpha) * (-margin).sigmoid() ** gamma * -F.logsigmoid(margin)).mean()

    def exchanged(z, y, gamma, alpha):
        return (weights(y, gamma) * each(z, y, alpha)).mean()

    def from_probability(p, y, gamma, alpha, small=0.0):
        positive = -alpha * (1 - p) ** gamma * y * (p + small).log()
        return (positive - (1 - alpha) * p**gamma * (1 - y) * (1 - p + small).log()).mean()

    def as_printed(z, y, gamma, alpha):
        return from_probability(z.sigmoid(), y, gamma, alpha)

    def clamped(small):
        return lambda z, *rest: from_probability(z.sigmoid().clamp(small, 1 - small), *rest)

    def added(small):
        return lambda z, *rest: from_probability(z.sigmoid(), *rest, small)

    def of_mean(z, y, gamma):
        entropy = F.binary_cross_entropy_with_logits(z, y)
        return (1 - (-entropy).exp()) ** gamma * entropy

    shape = (2, 1, 4, 4)
    z, y = _logits(shape, seed=1), _labels(shape, seed=2).float()
    rare = (torch.arange(32).view(shape) % 11 == 0).float()
    cases = [
        (torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), 2.0, 0.25),
        (torch.full((1, 1, 1, 1), 2.0), torch.zeros(1, 1, 1, 1), 2.0, 0.25),
        (z, y, 0.0, 0.5),
        (z, y, 0.0, 0.9),
        (z, y, 2.0, 0.5),
        (z, y, 2.0, 0.25),
        (_logits(shape, seed=3), rare, 0.5, 0.9),
        (_logits(shape, seed=4), rare, 5.0, 0.25),
        (torch.full(shape, 20.0), torch.ones(shape), 0.5, 0.25),  # so sure that p_t is 1
        (torch.full(shape, 20.0), torch.zeros(shape), 2.0, 0.25),  # as sure, and wrong
        (torch.full(shape, -200.0), torch.ones(shape), 2.0, 0.9),
        (200 * (2 * y - 1), y, 0.5, 0.25),  # right, and the wrong class has p = 0
    ]
    misconceptions = {
        "alpha is on the wrong class: it belongs to y = 1, and 1 - alpha to y = 0": (
            lambda z, y, gamma, alpha: solution(z, y, gamma, 1 - alpha)
        ),
        "alpha weights all pixels alike: background pixels need the weight 1 - alpha": (
            lambda z, y, gamma, alpha: alpha * each(z, y, gamma).mean()
        ),
        "background pixels have the weight 1: they need 1 - alpha": (
            lambda z, y, gamma, alpha: ((alpha * y + 1 - y) * each(z, y, gamma)).mean()
        ),
        "background pixels need p^gamma where nuclei have (1 - p)^gamma: the base is the "
        "probability of the wrong class": with_power(lambda p_t, h, gamma, p: (1 - p) ** gamma * h),
        "the base of the power is the probability of the right class, which gives the most weight "
        "to what is already right: take that of the wrong class": with_power(
            lambda p_t, h, gamma, p: p_t**gamma * h
        ),
        "the right and the wrong class are exchanged: nuclei have p in the logarithm, background "
        "has 1 - p": lambda z, *rest: solution(-z, *rest),
        "background pixels need the second term of equation (focal)": (
            lambda z, y, gamma, alpha: alpha * (y * each(z, y, gamma)).mean()
        ),
        "the power includes the logarithm: it belongs to the probability alone": with_power(
            lambda p_t, h, gamma, p: ((1 - p_t) * h) ** gamma
        ),
        "the cross-entropy was averaged first, so all pixels share one probability: average last": (
            lambda z, y, gamma, alpha: weights(y, alpha).mean() * of_mean(z, y, gamma)
        ),
        "the cross-entropy was averaged before each pixel got its factor: PyTorch averages unless "
        'you pass reduction="none"': with_power(
            lambda p_t, h, gamma, p: (1 - p_t) ** gamma * h.mean()
        ),
        "the cross-entropy was averaged first, so all pixels share one probability and one weight: "
        "average last": lambda z, y, gamma, alpha: alpha * of_mean(z, y, gamma),
        "this is the sum: return the mean over pixels": lambda *case: each(*case).sum(),
        "this is the loss of each pixel: return the mean over pixels": each,
        "this divides by the number of nucleus pixels, as the paper does: take the mean over "
        "all": lambda z, y, *options: each(z, y, *options).sum() / y.sum().clamp(min=1),
        "this divides by the sum of the weights, as PyTorch does with weight=: divide by the "
        "number of pixels": lambda z, y, gamma, alpha: (
            each(z, y, gamma, alpha).sum() / weights(y, alpha).sum()
        ),
        "the power is cut off from the gradient: no .detach(), no torch.no_grad()": with_power(
            lambda p_t, h, gamma, p: (1 - p_t).detach() ** gamma * h
        ),
        "the gradient is NaN where the probability of the wrong class is rounded to 0, because a "
        "power below 1 is infinitely steep there: compute the power from the logit, with "
        "F.logsigmoid": with_power(lambda p_t, h, gamma, p: (1 - p_t) ** gamma * h),
        "the gradient is NaN where the probability of the wrong class is too small for float32: "
        "multiply its logarithm, from F.logsigmoid, by gamma before exp": of_wrong_class,
        "sigmoid rounds to 0 or 1, so a pixel that is certain and wrong has no finite loss: use "
        "F.logsigmoid of the logit": as_printed,
        "sigmoid is applied twice: F.logsigmoid and the losses of PyTorch that take logits apply "
        "one themselves": lambda z, *rest: solution(z.sigmoid(), *rest),
        "gamma and alpha are exchanged: gamma is the exponent, alpha the weight": exchanged,
        "gamma is a factor here: it is the exponent": with_power(
            lambda p_t, h, gamma, p: (1 - p_t) * gamma * h
        ),
        "gamma is always 2: use the argument": (
            lambda z, y, gamma, alpha: solution(z, y, 2.0, alpha)
        ),
        "gamma has no effect: multiply each term by the probability of the wrong class to the "
        "power of gamma": lambda z, y, gamma, alpha: solution(z, y, 0.0, alpha),
        "alpha has no effect: nuclei need alpha, background 1 - alpha": (
            lambda z, y, gamma, alpha: each(z, y, gamma).mean()
        ),
        "the sign is wrong: log p is negative": lambda *case: -solution(*case),
        NO_GRADIENT: lambda *case: solution(*case).detach(),
    }
    for small in SMALL:
        misconceptions |= {
            f"where the probability is cut off (clamp at {small:g}), a pixel that is certain and "
            "wrong has gradient 0: use F.logsigmoid of the logit": clamped(small),
            f"with + {small:g} the logarithm is finite, but a pixel that is certain and wrong has "
            "gradient 0: use F.logsigmoid of the logit": added(small),
        }
    return check(submission, solution, cases, misconceptions, also="gradient")


def check_cross_entropy(submission: Callable[[Tensor, Tensor, int], Tensor]) -> Answer:
    """Check a function of (logits, target, ignore_index) that returns the mean cross-entropy.

    Logits are (N, K, H, W), target is (N, H, W) class indices, or ignore_index. The mean is over
    the pixels that are not ignored, and 0 if all are. It is a tensor with a gradient, also then.

    >>> check_cross_entropy(lambda z, y, i: F.cross_entropy(z, y, ignore_index=i, reduction="sum")
    ...     / y.numel())
    not yet: ignored pixels are still in the denominator: divide by the number of the others
    """

    def solution(logits, target, ignore_index):
        return losses.cross_entropy(logits, target, ignore_index=ignore_index)

    def zero_without_gradient(logits, target, ignore_index):
        counted = (target != ignore_index).any()
        return solution(logits, target, ignore_index) if counted else torch.tensor(0.0)

    def of_images(logits, target, ignore_index):
        pairs = zip(logits, target, strict=True)
        return torch.stack([solution(z[None], y[None], ignore_index) for z, y in pairs]).mean()

    def multiplied(logits, target, ignore_index):
        counted = target != ignore_index
        return F.cross_entropy(logits * counted[:, None], target * counted)

    def mean_of(log_p, target, ignore_index):
        total = F.nll_loss(log_p, target, ignore_index=ignore_index, reduction="sum")
        return total / (target != ignore_index).sum().clamp(min=1)

    def of_columns(logits, *rest):
        return mean_of(logits.log_softmax(-1), *rest)

    def clamped(small):
        return lambda z, *rest: mean_of(z.softmax(1).clamp(min=small).log(), *rest)

    def case(ignored: int, ignore_index: int, seed: int, num_classes: int = 3):
        """Two images of 4 x 4 whose first pixels are ignored."""
        target = _labels((2, 4, 4), seed=seed, num_classes=num_classes)
        target.view(-1)[:ignored] = ignore_index
        return _logits((2, num_classes, 4, 4), seed=seed + 1), target, ignore_index

    cases = [
        case(0, IGNORE, 1),
        case(1, IGNORE, 2),
        case(8, IGNORE, 3),
        case(16, IGNORE, 4),  # the first image does not count at all
        case(31, -1, 5, num_classes=5),
        case(32, IGNORE, 6),
        (200.0 * _labels((1, 3, 4, 4), seed=7), _labels((1, 4, 4), seed=8, num_classes=3), IGNORE),
    ]
    misconceptions = {
        "ignored pixels are still in the denominator: divide by the number of the others": (
            lambda z, y, i: F.cross_entropy(z, y, ignore_index=i, reduction="sum") / y.numel()
        ),
        "a pixel with a positive number may be ignored: count where target differs from "
        "ignore_index": lambda z, y, i: (
            F.cross_entropy(z, y, ignore_index=i, reduction="sum") / (y >= 0).sum()
        ),
        "softmax runs over the last axis, which is the columns: the classes are axis 1": of_columns,
        "this divides by the number of classes, too: take the sum over classes, and the mean over "
        "pixels": lambda z, *rest: solution(z, *rest) / z.shape[1],
        "ignored pixels are trained as background: leave them out instead": (
            lambda z, y, i: F.cross_entropy(z, y.where(y != i, 0))
        ),
        "a pixel multiplied by 0 still costs log K: leave it out of sum and count": multiplied,
        "where every pixel is ignored this is 0 / 0: return 0": (
            lambda z, y, i: F.cross_entropy(z, y, ignore_index=i)
        ),
        "where every pixel is ignored .backward() does not get from this 0 to the logits: compute "
        "it from them, such as a sum of nothing divided by at least 1": zero_without_gradient,
        "softmax rounds to 0, and log 0 is infinite: use F.cross_entropy or log_softmax": (
            clamped(0)
        ),
        "F.cross_entropy takes the number of an ignored pixel for a class: pass ignore_index": (
            lambda z, y, i: F.cross_entropy(z, y)
        ),
        "the number of an ignored pixel is no class, so it has no probability: put a class in its "
        "place, such as 0, and leave the pixel out of the sum": (
            lambda z, y, i: -z.log_softmax(1).gather(1, y[:, None]).mean()
        ),
        "this is the mean of the means of the images, but every pixel counts the same: pool the "
        "pixels of all images": of_images,
        "this is the loss of each pixel: return the mean over those that count": (
            lambda z, y, i: F.cross_entropy(z, y, ignore_index=i, reduction="none")
        ),
        "this is the sum: divide it by the number of pixels that count": (
            lambda z, y, i: F.cross_entropy(z, y, ignore_index=i, reduction="sum")
        ),
        "the sign is wrong: the loss is -log p": lambda *case: -solution(*case),
        "F.cross_entropy takes logits and applies softmax itself: a softmax before it is one too "
        "many": lambda z, y, i: solution(z.softmax(1), y, i),
        NO_GRADIENT: lambda *case: solution(*case).detach(),
    }
    for small in SMALL:
        misconceptions[
            f"with + {small:g}, or a clamp there, the logarithm is finite, but a pixel that is "
            "certain and wrong has gradient 0: use F.cross_entropy or log_softmax"
        ] = clamped(small)
    return check(submission, solution, cases, misconceptions, also="gradient", run=_trainable)


def check_dice_loss(submission: Callable[[Tensor, Tensor, float], Tensor]) -> Answer:
    """Check a function of (logits, target, smooth) that returns the mean Dice loss.

    Logits are (N, K, H, W), target is (N, H, W) class indices. The mean is over images and the
    classes 1 to K - 1 of 1 - (TP + s) / (TP + FP / 2 + FN / 2 + s), counted with softmax
    probabilities.

    >>> check_dice_loss(lambda z, y, s: losses.dice_loss(z, y, smooth=s))
    not yet: the background is included: average over the classes from 1 on
    """

    def classes_first(one_hot):
        return one_hot.movedim(-1, 1)

    def dice(
        logits,
        target,
        above,
        below,
        *,
        activation=Tensor.softmax,
        dim=(2, 3),
        order=classes_first,
        power=1,
    ):
        """The loss with a smooth of its own above and below, or with another mistake."""
        p = activation(logits, 1)
        truth = order(F.one_hot(target, p.shape[1]))
        tp, predicted, true = (x[:, 1:].sum(dim) for x in (p * truth, p**power, truth))
        return 1 - ((2 * tp + 2 * above) / (predicted + true + 2 * below)).mean()

    def each(logits, target, smooth):
        return losses.dice_loss(logits, target, smooth=smooth, reduction="none")[:, 1:]

    def of_present(logits, target, smooth):
        present = F.one_hot(target, logits.shape[1]).sum((1, 2))[:, 1:] > 0
        return each(logits, target, smooth)[present].mean()

    def solution(logits, target, smooth):
        return dice(logits, target, smooth, smooth)

    def hard(logits, _):
        return F.one_hot(logits.argmax(1), logits.shape[1]).movedim(-1, 1).float()

    def without_background(logits, _):
        rest = logits[:, 1:].softmax(1)
        return torch.cat([torch.zeros_like(logits[:, :1]), rest], 1)

    def jaccard(logits, target, smooth):
        return losses.jaccard_loss(logits, target, smooth=smooth, reduction="none")[:, 1:].mean()

    def case(shape: tuple, smooth: float, seed: int):
        n, k, h, w = shape
        return _logits(shape, seed=seed), _labels((n, h, w), seed=seed + 1, num_classes=k), smooth

    uneven = case((3, 3, 8, 8), 1.0, 5)
    uneven[1][0, 2:] = 0  # little of it in the first image
    empty = _logits((2, 3, 8, 8), seed=6), torch.zeros(2, 8, 8, dtype=torch.long), 1.0
    cases = [
        case((1, 2, 4, 4), 1.0, 1),
        case((1, 3, 8, 8), 1e-6, 2),
        case((2, 3, 8, 8), 1.0, 3),
        case((4, 4, 8, 8), 10.0, 4),
        uneven,
        empty,
    ]
    misconceptions = {
        "the background is included: average over the classes from 1 on": (
            lambda z, y, s: losses.dice_loss(z, y, smooth=s)
        ),
        "the last class is left out: it is class 0, the background, that does not count": (
            lambda z, y, s: losses.dice_loss(z, y, smooth=s, reduction="none")[:, :-1].mean()
        ),
        "the counts are pooled over the batch: compute the loss of each image, then average": (
            lambda z, y, s: dice(z, y, s, s, dim=(0, 2, 3))
        ),
        "the counts of all images and classes are pooled: compute the loss of each image and "
        "class, then average": lambda z, y, s: dice(z, y, s, s, dim=(0, 1, 2, 3)),
        "F.one_hot has only the classes that occur, up to the highest: pass it their number, K": (
            lambda z, y, s: dice(
                z, y, s, s, order=lambda hot: classes_first(F.one_hot(hot.argmax(-1)))
            )
        ),
        "smooth is in the denominator alone, so a class that is absent from the truth always costs "
        "1: add it to the numerator too": lambda z, y, s: dice(z, y, 0, s),
        "the formula is doubled but smooth is not: where TP becomes 2 TP, smooth needs a factor "
        "of 2 too": lambda z, y, s: dice(z, y, s / 2, s / 2),
        "this counts the pixels of a hard mask, which has no gradient: count with probabilities": (
            lambda z, y, s: dice(z, y, s, s, activation=hard)
        ),
        "sigmoid treats each class by itself, but the classes compete: take softmax": (
            lambda z, y, s: dice(z, y, s, s, activation=lambda z, _: z.sigmoid())
        ),
        "these are logits: turn them into probabilities by softmax": (
            lambda z, y, s: dice(z, y, s, s, activation=lambda z, _: z)
        ),
        "softmax runs over the last axis, which is the columns: the classes are axis 1": (
            lambda z, y, s: dice(z, y, s, s, activation=lambda z, _: z.softmax(-1))
        ),
        "softmax runs over axis 0, which is the images: the classes are axis 1": (
            lambda z, y, s: dice(z, y, s, s, activation=lambda z, _: z.softmax(0))
        ),
        "the truth has its rows and columns exchanged: .movedim(-1, 1) keeps their order": (
            lambda z, y, s: dice(z, y, s, s, order=lambda hot: hot.permute(0, 3, 2, 1))
        ),
        "view and reshape keep the numbers in the order of memory, so they mix classes and places: "
        "move the axis, .movedim(-1, 1)": (
            lambda z, y, s: dice(z, y, s, s, order=lambda hot: hot.reshape(z.shape))
        ),
        "a class that is absent from the truth was left out: it counts too, by smooth": of_present,
        "this is the loss of each image and class: return the mean": each,
        "this is the sum over images and classes: return the mean": (
            lambda *case: each(*case).sum()
        ),
        "the sum of K - 1 losses is divided by K: the background does not count": (
            lambda z, *rest: solution(z, *rest) * (z.shape[1] - 1) / z.shape[1]
        ),
        "this is V-Net's denominator, which has squares: equation (Tversky) sums p and y": (
            lambda z, y, s: dice(z, y, s, s, power=2)
        ),
        "FP and FN count whole in the denominator, and TP twice: halve the sum of both masks": (
            lambda z, y, s: (1 + dice(z, y, s, s / 2)) / 2
        ),
        "smooth is always 1: use the argument": lambda z, y, s: solution(z, y, 1.0),
        "smooth is missing: add it above and below the fraction bar": (
            lambda z, y, s: dice(z, y, 0, 1e-12)
        ),
        "smooth is in the numerator alone: add it to the denominator too": (
            lambda z, y, s: dice(z, y, s, 1e-12)
        ),
        "the counts of all classes are pooled: compute the loss of each class, then average": (
            lambda z, y, s: dice(z, y, s, s, dim=(1, 2, 3))
        ),
        "softmax has to see all classes: leave the background out after it, not before": (
            lambda z, y, s: dice(z, y, s, s, activation=without_background)
        ),
        "this is the Jaccard (IoU) loss: Dice counts only half of FP and FN": jaccard,
        "this is the Dice score, which rises as the network improves: return 1 minus it": (
            lambda *case: 1 - solution(*case)
        ),
        NO_GRADIENT: lambda *case: solution(*case).detach(),
    }
    return check(submission, solution, cases, misconceptions, also="gradient")


def check_class_weights(submission: Callable[[Tensor, int], Tensor]) -> Answer:
    """Check a function of (target, num_classes) that returns the balanced weight of each class.

    target has class indices, (N, H, W) integers. The weight of a class is the number of all pixels
    divided by (num_classes times the pixels of the class), 0 for a class without pixels; all
    together a float tensor (num_classes,). The same as scikit-learn's "balanced" where no class is
    absent.

    >>> def shares(target, num_classes):
    ...     return torch.bincount(target.flatten(), minlength=num_classes) / target.numel()
    >>> check_class_weights(shares)
    not yet: these are the shares, so the common classes weigh most: divide by the share
    """

    def share(target, num_classes):
        return torch.bincount(target.flatten(), minlength=num_classes) / target.numel()

    def with_infinity(target, num_classes):
        return 1 / (num_classes * share(target, num_classes))

    def solution(*case):
        return with_infinity(*case).nan_to_num(posinf=0.0)

    def of_present(target, num_classes):
        """Balanced over the classes that occur."""
        weights = solution(target, num_classes)
        return weights * num_classes / (weights > 0).sum()

    def of_bincount(target, num_classes):
        """Without minlength: the classes after the last one that occurs have no weight."""
        return solution(target, num_classes)[: target.max() + 1]

    def of_unique(target, num_classes):
        weights = solution(target, num_classes)
        return weights[weights > 0]

    def of_images(pixels):
        """With another number of pixels instead of that of all images."""
        return lambda y, k: pixels(y) / y.numel() * solution(y, k)

    cases = [
        (torch.tensor([[[0, 0, 0, 1]]]), 2),
        (torch.tensor([[[0, 0, 0, 2]]]), 3),
        (torch.tensor([[[0, 1, 1, 0]]]), 4),
        (_labels((2, 8, 8), seed=1, num_classes=3), 3),
        (_labels((3, 8, 4), seed=2, num_classes=4), 5),
        (_labels((1, 16, 16), seed=3, num_classes=5), 5),
    ]
    misconceptions = {
        "these are the shares, so the common classes weigh most: divide by the share": share,
        "that is 1 - share, which hardly differs between two rare classes: divide by the share": (
            lambda *case: 1 - share(*case)
        ),
        "a class without pixels gets an infinite weight: give it 0": with_infinity,
        "a class without pixels gets NaN, because infinity times 0 is NaN: choose its weight with "
        "torch.where": lambda *case: with_infinity(*case) * (share(*case) > 0),
        "nan_to_num turns infinity into the largest float: choose 0 with torch.where": (
            lambda *case: with_infinity(*case).nan_to_num()
        ),
        "a class without pixels gets 1: give it 0": (
            lambda *case: torch.where(share(*case) > 0, solution(*case), 1.0)
        ),
        "the classes after the last one that occurs have no weight: pass minlength=num_classes": (
            of_bincount
        ),
        "a class without pixels has no weight, but the others need their places: give it 0": (
            of_unique
        ),
        "the number of classes is missing: divide by it": (
            lambda target, num_classes: num_classes * solution(target, num_classes)
        ),
        "counts are only made at least 1, so a class without pixels gets a weight: give it 0": (
            lambda target, k: (
                target.numel() / (k * torch.bincount(target.flatten(), minlength=k).clamp(min=1))
            )
        ),
        "1 is added to each count, which changes all weights: add nothing; give a class without "
        "pixels 0": lambda y, k: y.numel() / (k * (share(y, k) * y.numel() + 1)),
        "N / K is multiplied by the number of pixels of the class: write N / (K * N_k), with "
        "brackets": lambda y, k: share(y, k) * y.numel() ** 2 / k,
        "K is taken from the highest class that occurs: K is num_classes": (
            lambda y, k: k / (y.max() + 1) * solution(y, k)
        ),
        "only the first image is counted: count the pixels of all images": (
            lambda y, k: solution(y[:1], k)
        ),
        "this is the mean of the weights of each image: count the pixels of all images first": (
            lambda y, k: torch.stack([solution(image, k) for image in y]).mean(0)
        ),
        "this is the share times the number of classes: turn the fraction over": (
            lambda target, num_classes: num_classes * share(target, num_classes)
        ),
        "1 / pixels is right up to a factor: times all pixels / number of classes": (
            lambda target, num_classes: num_classes * solution(target, num_classes) / target.numel()
        ),
        "these sum to 1: leave the weights as equation (weights) gives them": (
            lambda *case: solution(*case) / solution(*case).sum()
        ),
        "these sum to the number of classes: leave the weights as equation (weights) gives them": (
            lambda y, k: solution(y, k) / solution(y, k).sum() * k
        ),
        "len(target) is the number of images: N is the number of all pixels, target.numel()": (
            of_images(len)
        ),
        "N is the number of pixels of one image: take that of all images, target.numel()": (
            of_images(lambda target: target[0].numel())
        ),
        "this is one weight per pixel: return one per class": lambda y, k: solution(y, k)[y],
        "this has one row per image: count the pixels of all images together": (
            lambda y, k: torch.stack([solution(image, k) for image in y])
        ),
        "the decimals are cut off: by //, or because the weights stand in an integer tensor, as "
        "from zeros_like(counts): use / and floats": (lambda y, k: solution(y, k).floor()),
        "this divides by 4, but K is num_classes": lambda y, k: k / 4 * solution(y, k),
        "this divides by the number of classes that occur, not by num_classes": of_present,
        "this is relative to the most frequent class: N / K belongs above the fraction bar": (
            lambda *case: (share(*case).max() / share(*case)).nan_to_num(posinf=0.0)
        ),
    }
    for small in SMALL:
        misconceptions |= {
            f"with + {small:g} a class without pixels gets a huge weight: give it 0": (
                lambda y, k, small=small: y.numel() / (k * (share(y, k) * y.numel() + small))
            )
        }
    return check(submission, solution, cases, misconceptions, also="dtype")


def check_balancing_alpha(submission: Callable[[Tensor, Tensor, float], Tensor]) -> Answer:
    """Check a function of (z, y, gamma) that returns the alpha at which both classes pull equally.

    z has logits (N, 1, H, W); y has 0 or 1, (N, 1, H, W) floats, with both classes among them. The
    pull of a class is the sum, over its pixels, of the absolute gradient of the focal loss with
    respect to the logit.

    >>> check_balancing_alpha(lambda z, y, gamma: losses.class_balance(y))
    not yet: this counts pixels, which balances only where both classes are equally wrong
    """

    def each(z, y, gamma):
        return losses.focal_loss(z, y, gamma=gamma, reduction="none")

    def pulls(z, y, gamma, loss=each):
        """The sum of the absolute gradients of each class, without alpha."""
        z = z.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(z, y, gamma).sum(), z)
        return (gradient.abs() * y).sum(), (gradient.abs() * (1 - y)).sum()

    def balance(positive, negative):
        return negative / (positive + negative)

    def with_signs(*case):
        positive, negative = pulls(*case)
        return balance(-positive, negative)

    def by_probability(z, *rest):
        of_p = pulls(z.sigmoid(), *rest, lambda p, *rest: each(p.logit(), *rest))
        return balance(*of_p)

    def with_alpha(*case, loss=each):
        positive, negative = pulls(*case, loss)
        return balance(0.25 * positive, 0.75 * negative)

    def of_means(z, y, gamma):
        positive, negative = pulls(z, y, gamma)
        return balance(positive / y.sum(), negative / (1 - y).sum())

    def of_losses(z, y, gamma):
        loss = each(z, y, gamma)
        return balance((loss * y).sum(), (loss * (1 - y)).sum())

    def of_images(z, y, gamma):
        images = zip(z[:, None], y[:, None], strict=True)
        return torch.stack([balance(*pulls(*image, gamma)) for image in images]).mean()

    def added_up(*case):
        positive, negative = pulls(*case)
        return balance(positive, positive + negative)

    def with_power(z, y, gamma):
        entropy = F.binary_cross_entropy_with_logits(z, y, reduction="none")
        return (1 - (-entropy).exp()) ** gamma * entropy

    def as_printed(z, y, gamma, small=0.0):
        p = z.sigmoid().clamp(small, 1 - small)
        p_t = torch.where(y == 1, p, 1 - p)
        return -((1 - p_t) ** gamma) * p_t.log()

    def clamped(*case):
        return as_printed(*case, small=1e-6)

    def without_nan(z, *rest):
        z.register_hook(torch.nan_to_num)
        return as_printed(z, *rest)

    def with_constant_factor(z, y, gamma):
        factor = ((1 - 2 * y) * z).sigmoid().detach() ** gamma
        return factor * F.binary_cross_entropy_with_logits(z, y, reduction="none")

    def rare(p_positive: float, p_negative: float):
        """One foreground pixel in ten."""
        y = (torch.arange(100).view(1, 1, 10, 10) % 10 == 0).float()
        return torch.tensor([p_negative, p_positive]).logit()[y.long()], y

    def certain(logit: float):
        """Every third pixel has this logit for its class, the others have 1."""
        third = torch.arange(128).view(2, 1, 8, 8) % 3 == 0
        return (2 * random[1] - 1) * torch.where(third, logit, 1.0), random[1]

    random = _logits((2, 1, 8, 8), seed=1), _labels((2, 1, 8, 8), seed=2).float()
    cases = [
        (*rare(0.5, 0.5), 0.0),
        (*rare(0.5, 0.5), 2.0),
        (*rare(0.5, 0.1), 0.0),
        (*rare(0.5, 0.1), 2.0),
        (*rare(0.9, 0.3), 2.0),
        (*random, 0.5),
        (*random, 5.0),
        (*certain(50.0), 0.5),  # so sure that p is rounded to 0 or 1
        (*certain(-50.0), 2.0),  # as sure, and wrong
    ]
    misconceptions = {
        "this counts pixels, which balances only where both classes are equally wrong": (
            lambda z, y, gamma: losses.class_balance(y)
        ),
        "alpha is on the wrong class: the stronger the background pulls, the larger alpha must "
        "be": lambda *case: 1 - balance(*pulls(*case)),
        "gamma has no effect: the gradients are those of the focal loss with this gamma": (
            lambda z, y, gamma: balance(*pulls(z, y, 0.0))
        ),
        "gamma is always 2: take the one that is given": (
            lambda z, y, gamma: balance(*pulls(z, y, 2.0))
        ),
        "gradients of the two classes have opposite signs: take the absolute value of each": (
            with_signs
        ),
        "these are the gradients with respect to p: take those with respect to the logit": (
            by_probability
        ),
        "an alpha of 0.25 is still in the loss: compute the gradients without alpha": with_alpha,
        "torchvision's focal loss has an alpha of 0.25 unless you pass another, and a gradient of "
        "NaN below gamma 1: use losses.focal_loss without alpha": (
            lambda *case: with_alpha(*case, loss=with_power)
        ),
        "that is the ratio of the two pulls: divide by their sum": (
            lambda *case: pulls(*case)[1] / pulls(*case)[0]
        ),
        "this balances the losses, but weights are updated by gradients": of_losses,
        "this balances the mean gradients, or has alpha=class_balance(y) in the loss, which comes "
        "to the same: the pull of a class is the sum over its pixels, without alpha": of_means,
        "z.grad still holds the gradients of the first backward() when the second adds its own: "
        "set it to None in between, or use torch.autograd.grad": added_up,
        "this is the mean of the alphas of each image: sum over the pixels of all images": (
            of_images
        ),
        "this is a tensor of shape (1,), or a list: return the number in it": (
            lambda *case: balance(*pulls(*case)).view(1)
        ),
        "the gradient is NaN where a pixel is certain and right, because 1 - p is rounded to 0 and "
        "a power below 1 is infinitely steep there: use losses.focal_loss": (
            lambda *case: balance(*pulls(*case, with_power))
        ),
        "sigmoid rounds to 0 or 1, and the gradient is NaN where a pixel is so certain: use "
        "losses.focal_loss": lambda *case: balance(*pulls(*case, as_printed)),
        "with a clamp or an epsilon on the probability, a pixel that is certain and wrong has a "
        "gradient near 0: use losses.focal_loss": lambda *case: balance(*pulls(*case, clamped)),
        "where 0 replaces NaN, a pixel that is certain and wrong has gradient 0: use "
        "losses.focal_loss": lambda *case: balance(*pulls(*case, without_nan)),
        "this is the gradient of BCE times the factor, but the factor depends on the logit, too: "
        "take the gradient of the whole focal loss": (
            lambda *case: balance(*pulls(*case, with_constant_factor))
        ),
    }
    return check(submission, lambda *case: balance(*pulls(*case)), cases, misconceptions)


def _trainable(loss: Callable, logits: Tensor, *rest) -> Tensor | None:
    """The result of a loss, from which .backward() has to reach the logits."""
    result = loss(logits.requires_grad_().clone(), *rest)  # the copy may be changed in place
    if result is None or result is ...:
        return None
    if isinstance(result, Tensor) and result.requires_grad:
        (gradient,) = torch.autograd.grad(result.sum(), logits, allow_unused=True)
        if gradient is not None:
            return result
    raise TypeError("expected a tensor from which .backward() reaches the logits")


def _logits(shape: tuple, *, seed: int) -> Tensor:
    """Logits that are the same on every machine."""
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _labels(shape: tuple, *, seed: int, num_classes: int = 2) -> Tensor:
    """Class indices; background takes about half of the pixels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2 * num_classes - 2, shape, generator=generator)
    return (labels - num_classes + 2).clamp(min=0)
