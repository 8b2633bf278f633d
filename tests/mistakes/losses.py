"""Exercises of the chapter on losses: other ways to get them right, and wrong."""

import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss


def cross_entropy_in_place(z, y):
    z[y == 0] *= -1
    return F.softplus(-z)


def ignoring_in_place(logits, target, ignore_index):
    ignored = target == ignore_index
    target[ignored] = 0
    each = F.cross_entropy(logits, target, reduction="none")[~ignored]
    return each.sum() / max(len(each), 1)


def class_weights(target, num_classes):
    counts = F.one_hot(target, num_classes).sum((0, 1, 2))
    return torch.where(counts > 0, target.numel() / (num_classes * counts.clamp(min=1)), 0.0)


def weights(y, alpha):
    return torch.where(y == 1, alpha, 1 - alpha)


def focal_loss(z, y, gamma, alpha):
    log_right, log_wrong = F.logsigmoid((2 * y - 1) * z), F.logsigmoid((1 - 2 * y) * z)
    return -(weights(y, alpha) * (gamma * log_wrong).exp() * log_right).mean()


def focal_two_terms(z, y, gamma, alpha):
    """The formula as it is written, with a probability: its gradient is NaN for a sure pixel."""
    p = z.sigmoid()
    positive = alpha * (1 - p) ** gamma * F.logsigmoid(z)
    negative = (1 - alpha) * p**gamma * F.logsigmoid(-z)
    return -torch.where(y == 1, positive, negative).mean()


def focal_weighted_mean(z, y, gamma, alpha):
    return focal_loss(z, y, gamma, alpha) / weights(y, alpha).mean()


def focal_detached(z, y, gamma, alpha):
    bce = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    with torch.no_grad():
        focus = (1 - torch.exp(-bce)) ** gamma
    return (weights(y, alpha) * focus * bce).mean()


def focal_of_mean(z, y, gamma, alpha):
    """The class that is copied most often."""
    bce = F.binary_cross_entropy_with_logits(z, y)
    return alpha * (1 - torch.exp(-bce)) ** gamma * bce


def focal_of_mean_entropy(z, y, gamma, alpha):
    bce = F.binary_cross_entropy_with_logits(z, y)
    p = z.sigmoid()
    p_wrong = torch.where(y == 1, 1 - p, p)
    return (weights(y, alpha) * p_wrong**gamma * bce).mean()


def cross_entropy(logits, target, ignore_index):
    kept = target != ignore_index
    log_p = logits.log_softmax(1).gather(1, (target * kept)[:, None])[:, 0]
    return -(log_p * kept).sum() / max(kept.sum(), 1)


def zero_if_nothing_counts(logits, target, ignore_index):
    kept = target != ignore_index
    if not kept.any():
        return 0 * logits.sum()
    return F.cross_entropy(logits.movedim(1, -1)[kept], target[kept])


def zero_without_gradient(zero):
    def loss(logits, target, ignore_index):
        is_empty = (target == ignore_index).all()
        return zero if is_empty else cross_entropy(logits, target, ignore_index)

    return loss


def of_softmax(change):
    """-log of the right class's probability, by hand."""

    def loss(logits, target, ignore_index):
        kept = target != ignore_index
        p = change(logits.softmax(1).gather(1, (target * kept)[:, None])[:, 0])
        return -p[kept].log().sum() / kept.sum().clamp(min=1)

    return loss


def in_place_background(logits, target, ignore_index):
    target[target == ignore_index] = 0
    return F.cross_entropy(logits, target)


def nan_to_zero(logits, target, ignore_index):
    return F.cross_entropy(logits, target, ignore_index=ignore_index).nan_to_num(0)


def dice_background_zeroed(logits, target, smooth):
    counts = torch.arange(logits.shape[1]).view(-1, 1, 1) > 0
    p = logits.softmax(1) * counts
    y = F.one_hot(target, p.shape[1]).movedim(-1, 1) * counts
    tp, both = (p * y).sum((2, 3)), (p + y).sum((2, 3)) / 2
    return (1 - (tp + smooth) / (both + smooth)).mean()


def dice_of_squares(logits, target, smooth):
    p, y = logits.softmax(1)[:, 1:], F.one_hot(target, logits.shape[1]).movedim(-1, 1)[:, 1:]
    tp, both = (p * y).sum((2, 3)), (p * p + y * y).sum((2, 3)) / 2
    return 1 - ((tp + smooth) / (both + smooth)).mean()


def dice_of_one_pool(logits, target, smooth):
    p, y = logits.softmax(1)[:, 1:], F.one_hot(target, logits.shape[1]).movedim(-1, 1)[:, 1:]
    return 1 - ((p * y).sum() + smooth) / ((p + y).sum() / 2 + smooth)


def dice_of_occurring(logits, target, smooth):
    p, y = logits.softmax(1)[:, 1:], F.one_hot(target).movedim(-1, 1)[:, 1:]
    tp, both = (p * y).sum((2, 3)), (p + y).sum((2, 3)) / 2
    return (1 - (tp + smooth) / (both + smooth)).mean()


def dice_loop(logits, target, smooth):
    """The sum over classes is not divided."""
    p, total = logits.softmax(1), 0
    for image, truth in zip(p, target, strict=True):
        for k in range(1, p.shape[1]):
            y = (truth == k).float()
            half = (image[k].sum() + y.sum()) / 2
            total = total + 1 - ((image[k] * y).sum() + smooth) / (half + smooth)
    return total


def dice_loss(logits, target, smooth, factor=2, axis=1):
    p = logits.softmax(axis)
    y = torch.stack([target == k for k in range(logits.shape[1])], 1).float()
    tp, fp, fn = ((a * b).sum((2, 3)) for a, b in ((p, y), (p, 1 - y), (1 - p, y)))
    score = (2 * tp + factor * smooth) / (2 * tp + fp + fn + factor * smooth)
    return 1 - score[:, 1:].mean()


def alpha_by_backward(z, y, gamma):
    z.requires_grad_()
    (2 * focal_loss(z, y, gamma, 0.5)).backward()
    pulls = z.grad.abs()
    return pulls[y == 0].sum() / pulls.sum()


def alpha_by_autograd(z, y, gamma, *, alpha=0.5, leaf="z", size=torch.abs):
    p = z.sigmoid().requires_grad_()
    z = p.logit() if leaf == "p" else z.requires_grad_()
    loss = 2 * y.numel() * focal_loss(z, y, gamma, alpha)
    (gradient,) = torch.autograd.grad(loss, {"z": z, "p": p}[leaf])
    positive, negative = size(gradient)[y == 1].sum(), size(gradient)[y == 0].sum()
    return negative / (positive + negative)


def alpha_of(loss):
    """The answer with another implementation of the focal loss, one value per pixel."""

    def alpha(z, y, gamma):
        (gradient,) = torch.autograd.grad(loss(z.requires_grad_(), y, gamma).sum(), z)
        return gradient[y == 0].abs().sum() / gradient.abs().sum()

    return alpha


def focal_of_p(z, y, gamma, small=0.0):
    p = z.sigmoid().clamp(small, 1 - small)
    return -y * (1 - p) ** gamma * p.log() - (1 - y) * p**gamma * (1 - p).log()


def focal_of_p_t(z, y, gamma):
    p_t = torch.where(y == 1, z.sigmoid(), 1 - z.sigmoid())
    return -((1 - p_t) ** gamma) * p_t.log()


def focal_of_bce(z, y, gamma):
    bce = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    return (1 - torch.exp(-bce)) ** gamma * bce


def alpha_without_nan(z, y, gamma):
    (gradient,) = torch.autograd.grad(focal_of_p(z.requires_grad_(), y, gamma).sum(), z)
    gradient = gradient.nan_to_num().abs()
    return gradient[y == 0].sum() / gradient.sum()


def alpha_of_bce_times_factor(z, y, gamma):
    """By hand, and without the product rule."""
    p = z.sigmoid()
    pull = (p - y).abs() * (1 - torch.where(y == 1, p, 1 - p)) ** gamma
    return pull[y == 0].sum() / pull.sum()


def focal_softplus(z, y, gamma):
    margin = (2 * y - 1) * z
    return torch.exp(-gamma * F.softplus(margin)) * F.softplus(-margin)


def alpha_by_backward_twice(z, y, gamma, *, clear=False):
    z.requires_grad_()
    pulls = []
    for k in (1, 0):
        if clear:
            z.grad = None
        focal_softplus(z, y, gamma)[y == k].sum().backward()
        pulls.append(z.grad.abs().sum())
    return pulls[1] / sum(pulls)


RIGHT = {
    "binary_cross_entropy": [
        lambda z, y: F.softplus(z) - y * z,
        lambda z, y: -F.logsigmoid((2 * y - 1) * z),
        lambda z, y: torch.logaddexp(torch.zeros(()), (1 - 2 * y) * z),
    ],
    "class_balance": [lambda mask: 1 - mask.double().mean().item()],
    "class_weights": [class_weights, lambda *case: list(class_weights(*case))],
    "focal_loss": [focal_loss],
    "cross_entropy": [cross_entropy, zero_if_nothing_counts, nan_to_zero],
    "dice_loss": [dice_loss],
    "balancing_alpha": [
        alpha_by_backward,
        alpha_by_autograd,
        alpha_of(focal_softplus),
        lambda *case: alpha_by_backward_twice(*case, clear=True).item(),
    ],
}

WRONG = [
    ("binary_cross_entropy", cross_entropy_in_place, "what the function was given has changed"),
    ("binary_cross_entropy", lambda z, y: torch.where(y == 1, -z.sigmoid().log(), F.softplus(z)),
     "expected [200, 100, 20"),
    ("binary_cross_entropy", lambda z, y: (1 + torch.exp(z)).log() - y * z, "exp(z) overflows:"),
    ("binary_cross_entropy", lambda z, y: y * torch.log1p(torch.exp(-z))
     + (1 - y) * torch.log1p(torch.exp(z)), "0 times infinity is NaN"),
    ("binary_cross_entropy", lambda z, y: (F.softplus(z) - y * z).tolist(), "the gradient is 0"),
    ("binary_cross_entropy", lambda z, y: -torch.where(
        y == 1, (z.sigmoid() + 1e-7).log(), (1 - z.sigmoid() + 1e-7).log()), "with + 1e-07"),
    ("binary_cross_entropy", lambda z, y: F.binary_cross_entropy(
        z.sigmoid().clamp(1e-6, 1 - 1e-6), y, reduction="none"), "clamp at 1e-06"),
    ("binary_cross_entropy", lambda z, y: (F.softplus(z) - y * z).sum(), "this is the sum"),
    ("binary_cross_entropy", lambda z, y: y * F.softplus(z) + (1 - y) * F.softplus(z),
     "both terms"),
    ("binary_cross_entropy", lambda z, y: z.clamp(min=0) - z * y + torch.log1p(
        torch.exp(-torch.abs(z))), "clamp(min=0) and abs have a kink"),
    ("binary_cross_entropy", lambda z, y: z.relu() - z * y + (1 + torch.exp(-z.abs())).log(),
     "relu and abs have a kink"),
    ("binary_cross_entropy", lambda z, y: (1 - y) * F.softplus(z), "the term with y"),
    ("binary_cross_entropy", lambda z, y: F.softplus(z) - z, "both terms are softplus(-z)"),
    ("binary_cross_entropy", lambda z, y: F.softplus(z) + y * z, "y z has the wrong sign"),
    ("binary_cross_entropy", lambda z, y: F.softplus(-z) - z * y, "wrong sign in softplus"),
    ("class_balance", lambda mask: mask.sum() / (mask.numel() - mask.sum()), "N_pos / N_neg"),
    ("class_balance", lambda mask: torch.mean((~mask).float()), "write mask == 0"),
    ("class_balance", lambda mask: (1 - mask).sum() / (mask.shape[-1] * mask.shape[-2]),
     "mask.numel() counts its pixels"),
    ("class_balance", lambda mask: 1 - mask.float().mean((-1, -2)), ".mean() without axes"),
    ("class_balance", lambda mask: len(mask.flatten()) / mask.count_nonzero(), "no upper limit"),
    ("class_balance", lambda mask: 1 - torch.mean(mask), "mask.float().mean()"),
    ("class_balance", lambda mask: (mask < 1).sum() / len(mask), "len(mask) counts rows"),
    ("class_balance", lambda mask: (mask < 1).sum() / (mask.shape[0] * mask.shape[1]),
     "any shape"),
    ("class_balance", lambda mask: (mask.numel() - mask.sum()) / mask.sum(), "pos_weight"),
    ("class_balance", lambda mask: max(mask.sum(), (1 - mask).sum()) / mask.numel(),
     "the larger share"),
    ("class_weights", lambda y, k: y.numel() / (k * torch.bincount(y.flatten(), minlength=k)),
     "infinite weight: give it 0"),
    ("class_weights", lambda y, k: y.numel() / (k * torch.bincount(y.flatten(), minlength=k))
     * (torch.bincount(y.flatten(), minlength=k) > 0), "choose its weight with torch.where"),
    ("class_weights", lambda y, k: class_weights(y, k)[: y.max() + 1], "minlength=num_classes"),
    ("class_weights", lambda y, k: y.numel() / (k * y.unique(return_counts=True)[1]),
     "the others need their places"),
    ("class_weights", lambda y, k: y.numel() / (
        k * (torch.bincount(y.flatten(), minlength=k) + 1e-6)), "a huge weight: give it 0"),
    ("class_weights", lambda y, k: y.numel() / (
        k * (torch.bincount(y.flatten(), minlength=k) + 1)), "1 is added to each count"),
    ("class_weights", lambda y, k: torch.where(
        torch.bincount(y.flatten(), minlength=k) > 0,
        len(y) / (k * torch.bincount(y.flatten(), minlength=k)), 0), "target.numel()"),
    ("class_weights", lambda y, k: class_weights(y, k) / len(y), "pixels of one image"),
    ("class_weights", lambda y, k: class_weights(y, k)[y], "one weight per pixel"),
    ("class_weights", lambda y, k: torch.stack([class_weights(one[None], k) for one in y]),
     "one row per image"),
    ("class_weights", lambda y, k: torch.where(
        torch.bincount(y.flatten(), minlength=k) > 0,
        y.numel() // (k * torch.bincount(y.flatten(), minlength=k).clamp(min=1)), 0.0),
     "the decimals are cut off"),
    ("class_weights", lambda y, k: class_weights(y, k) * k / 4, "divides by 4"),
    ("class_weights", lambda y, k: class_weights(y, k) / class_weights(y, k).sum(),
     "these sum to 1"),
    ("class_weights", lambda y, k: class_weights(y, k) / class_weights(y, k).mean(),
     "these sum to the number of classes"),
    ("class_weights", lambda y, k: 1 / torch.bincount(y.flatten(), minlength=k).clamp(min=1),
     "not yet"),
    ("class_weights", lambda y, k: torch.bincount(y.flatten(), minlength=k) / y.numel(), "shares"),
    ("class_weights", lambda y, k: torch.nan_to_num(
        y.numel() / (k * torch.bincount(y.flatten(), minlength=k)), nan=0), "the largest float"),
    ("class_weights", lambda y, k: y.numel() / k * torch.bincount(y.flatten(), minlength=k),
     "with brackets"),
    ("class_weights", lambda y, k: torch.where(
        torch.bincount(y.flatten(), minlength=k) > 0, class_weights(y, k), 1.0),
     "gets 1: give it 0"),
    ("class_weights", lambda y, k: class_weights(y, k) * k / (y.max() + 1), "K is num_classes"),
    ("class_weights", lambda y, k: class_weights(y[:1], k), "only the first image"),
    ("class_weights", lambda y, k: torch.stack([class_weights(one[None], k) for one in y]).mean(0),
     "the mean of the weights of each image"),
    ("focal_loss", focal_two_terms, "the gradient is NaN where the probability of the wrong"),
    ("focal_loss", lambda z, y, gamma, alpha: (
        weights(y, alpha) * F.logsigmoid((1 - 2 * y) * z).exp() ** gamma
        * -F.logsigmoid((2 * y - 1) * z)).mean(), "multiply its logarithm, from F.logsigmoid"),
    ("focal_loss", lambda z, y, gamma, alpha: -(
        weights(y, alpha) * (gamma * F.logsigmoid((2 * y - 1) * z)).exp()
        * F.logsigmoid((1 - 2 * y) * z)).mean(), "the right and the wrong class are exchanged"),
    ("focal_loss", lambda z, y, gamma, alpha: -(
        alpha * y * (gamma * F.logsigmoid(-z)).exp() * F.logsigmoid(z)).mean(), "the second term"),
    ("focal_loss", lambda z, y, gamma, alpha: -(
        alpha * y * (1 - z.sigmoid()) ** gamma * (z.sigmoid() + 1e-8).log()
        + (1 - alpha) * (1 - y) * z.sigmoid() ** gamma * (1 - z.sigmoid() + 1e-8).log()).mean(),
     "with + 1e-08"),
    ("focal_loss", focal_weighted_mean, "the sum of the weights"),
    ("focal_loss", focal_detached, "the power is cut off from the gradient"),
    ("focal_loss", focal_of_mean_entropy, 'reduction="none"'),
    ("focal_loss", focal_of_mean, "share one probability and one weight"),
    ("focal_loss", lambda z, y, gamma, alpha: focal_loss(-z, 1 - y, gamma, alpha),
     "alpha is on the wrong class"),
    ("focal_loss", lambda *case: focal_loss(*case).item(), "the gradient is 0"),
    ("focal_loss", lambda z, *rest: focal_loss(z.detach().requires_grad_(), *rest),
     "the gradient is 0"),
    ("focal_loss", lambda z, y, gamma, alpha: focal_loss(z, y, 2, alpha), "gamma is always 2"),
    ("focal_loss", lambda z, y, gamma, alpha: focal_loss(z, y, alpha, gamma),
     "gamma and alpha are exchanged"),
    ("focal_loss", lambda z, y, gamma, alpha: (
        weights(y, alpha) * gamma * (1 - ((2 * y - 1) * z).sigmoid())
        * F.binary_cross_entropy_with_logits(z, y, reduction="none")).mean(), "gamma is a factor"),
    ("focal_loss", lambda z, y, gamma, alpha: focal_loss(torch.sigmoid(z), y, gamma, alpha),
     "sigmoid is applied twice"),
    ("cross_entropy", ignoring_in_place, "what the function was given has changed"),
    ("cross_entropy", in_place_background, "trained as background"),
    ("cross_entropy", zero_without_gradient(0), "does not get from this 0"),
    ("cross_entropy", zero_without_gradient(torch.tensor(0)), "does not get from this 0"),
    ("cross_entropy", zero_without_gradient(torch.tensor(0.0, requires_grad=True)),
     "does not get from this 0"),
    ("cross_entropy", of_softmax(lambda p: p), "log 0 is infinite"),
    ("cross_entropy", of_softmax(lambda p: p + 1e-8), "with + 1e-08"),
    ("cross_entropy", of_softmax(lambda p: p.clamp(min=1e-7)), "with + 1e-07, or a clamp"),
    ("cross_entropy", lambda *case: cross_entropy(*case).item(), "the gradient is 0"),
    ("cross_entropy", lambda z, y, i: F.cross_entropy(z, y, i), "must be Tensor, not int"),
    ("cross_entropy", lambda z, y, i: -z.log_softmax(1).gather(1, y).mean(), "raised RuntimeError"),
    ("cross_entropy", lambda z, y, i: F.cross_entropy(z[y != i], y[y != i]), "raised IndexError"),
    ("cross_entropy", lambda z, y, i: F.cross_entropy(z, y, ignore_index=i, reduction="none"),
     "this is the loss of each pixel"),
    ("cross_entropy", lambda z, y, i: F.nll_loss(z.log_softmax(1), y), "pass ignore_index"),
    ("cross_entropy", lambda z, y, i: (-F.one_hot(y, z.shape[1]).movedim(-1, 1)
     * z.log_softmax(1)).sum(1).mean(), "has no probability"),
    ("cross_entropy", lambda z, y, i: F.cross_entropy(z, y, ignore_index=i, reduction="sum")
     / (y >= 0).sum().clamp(min=1), "a pixel with a positive number may be ignored"),
    ("cross_entropy", lambda z, y, i: cross_entropy(z, y, i) / z.shape[1],
     "divides by the number of classes"),
    ("cross_entropy", lambda z, y, i: F.nll_loss(z.log_softmax(-1), y, ignore_index=i),
     "softmax runs over the last axis"),
    ("dice_loss", lambda *case: dice_loss(*case, factor=1), "smooth needs a factor of 2"),
    ("dice_loss", lambda z, y, s: dice_loss((z == z.amax(1, keepdim=True)) * 1e4, y, s),
     "a hard mask"),
    ("dice_loss", lambda z, y, s: dice_loss(z.transpose(2, 3), y, s), "rows and columns exchanged"),
    ("dice_loss", dice_background_zeroed, "is divided by K"),
    ("dice_loss", lambda z, y, s: dice_loss(z.flip(1), z.shape[1] - 1 - y, s),
     "the last class is left out"),
    ("dice_loss", dice_of_squares, "V-Net's denominator"),
    ("dice_loss", dice_loop, "this is the sum over images and classes"),
    ("dice_loss", dice_of_one_pool, "of all images and classes are pooled"),
    ("dice_loss", dice_of_occurring, "pass it their number, K"),
    ("dice_loss", lambda *case: dice_loss(*case, axis=-1), "softmax runs over the last axis"),
    ("dice_loss", lambda *case: dice_loss(*case, axis=0), "softmax runs over axis 0"),
    ("dice_loss", lambda z, y, s: dice_loss(z, y, 1), "smooth is always 1"),
    ("balancing_alpha", lambda z, y, gamma: (y == 0).float().mean(), "this counts pixels"),
    ("balancing_alpha", lambda *case: alpha_by_autograd(*case, size=lambda g: g), "opposite signs"),
    ("balancing_alpha", lambda *case: alpha_by_autograd(*case, leaf="p"), "with respect to p"),
    ("balancing_alpha", lambda *case: alpha_by_autograd(*case, alpha=0.25), "still in the loss"),
    ("balancing_alpha", lambda z, y, gamma: alpha_by_autograd(z, y, 2), "gamma is always 2"),
    ("balancing_alpha", lambda *case: alpha_by_autograd(*case)[None], "shape (1,)"),
    ("balancing_alpha", lambda *case: [alpha_by_autograd(*case).item()], "or a list"),
    ("balancing_alpha", alpha_by_backward_twice, "z.grad still holds"),
    ("balancing_alpha", lambda z, y, gamma: sum(
        alpha_by_autograd(z[k : k + 1], y[k : k + 1], gamma) for k in range(len(z))
    ) / len(z), "the alphas of each image"),
    ("balancing_alpha", lambda z, y, gamma: alpha_by_autograd(
        z, y, gamma, alpha=1 - y.mean()), "class_balance(y) in the loss"),
    ("balancing_alpha", alpha_of(lambda z, y, gamma: sigmoid_focal_loss(z, y, gamma=gamma)),
     "torchvision's focal loss has an alpha"),
    ("balancing_alpha", alpha_of(lambda z, y, gamma: sigmoid_focal_loss(z, y, -1, gamma)),
     "1 - p is rounded to 0"),
    ("balancing_alpha", alpha_of(focal_of_bce), "1 - p is rounded to 0"),
    ("balancing_alpha", alpha_of(focal_of_p_t), "sigmoid rounds to 0 or 1"),
    ("balancing_alpha", alpha_of(focal_of_p), "sigmoid rounds to 0 or 1"),
    ("balancing_alpha", alpha_of(lambda *case: focal_of_p(*case, 1e-7)), "a clamp or an epsilon"),
    ("balancing_alpha", alpha_without_nan, "where 0 replaces NaN"),
    ("balancing_alpha", alpha_of_bce_times_factor, "the factor depends on the logit, too"),
]  # fmt: skip
