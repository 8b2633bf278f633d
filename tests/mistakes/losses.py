"""Exercises of the chapter on losses: mistakes as a learner makes them."""

import torch
import torch.nn.functional as F


def bce_sigmoid_twice(z, y):
    p = torch.sigmoid(z)
    return F.binary_cross_entropy_with_logits(p, y, reduction="none")


def bce_cut_off(z, y):
    return torch.nn.BCELoss(reduction="none")(torch.sigmoid(z), y)


def bce_formula(z, y):
    p = 1 / (1 + torch.exp(-z))
    return -y * torch.log(p) - (1 - y) * torch.log(1 - p)


def bce_sign(z, y):
    return y * F.logsigmoid(z) + (1 - y) * F.logsigmoid(-z)


def bce_one_term(z, y):
    return -y * F.logsigmoid(z)


def bce_swapped(z, y):
    return F.softplus(z) * y + F.softplus(-z) * (1 - y)


def bce_mean(z, y):
    return (F.softplus(z) - y * z).mean()


def balance_foreground(mask):
    return (mask == 1).sum().item() / mask.numel()


def balance_ratio(mask):
    return (mask.numel() - mask.sum()) / mask.sum()


def balance_count(mask):
    return mask.numel() - mask.sum()


def focal_swapped(z, y, gamma, alpha):
    p = z.sigmoid()
    positive = (1 - alpha) * (1 - p) ** gamma * y * p.log()
    negative = alpha * p**gamma * (1 - y) * (1 - p).log()
    return -(positive + negative).mean()


def focal_same_factor(z, y, gamma, alpha):
    p = z.sigmoid()
    weight = torch.where(y == 1, alpha, 1 - alpha)
    entropy = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    return ((1 - p) ** gamma * weight * entropy).mean()


def focal_upside_down(z, y, gamma, alpha):
    p = z.sigmoid()
    p_t = p * y + (1 - p) * (1 - y)
    return (-torch.where(y == 1, alpha, 1 - alpha) * p_t**gamma * p_t.log()).mean()


def focal_power_of_all(z, y, gamma, alpha):
    p = torch.where(y == 1, z.sigmoid(), (-z).sigmoid())
    return (torch.where(y == 1, alpha, 1 - alpha) * (-(1 - p) * p.log()) ** gamma).mean()


def focal_one_weight(z, y, gamma, alpha):
    entropy = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    return (alpha * (1 - torch.exp(-entropy)) ** gamma * entropy).mean()


def focal_each(z, y, gamma, alpha):
    entropy = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    weight = alpha * y + (1 - alpha) * (1 - y)
    return weight * (1 - torch.exp(-entropy)) ** gamma * entropy


def focal_sum(z, y, gamma, alpha):
    return focal_each(z, y, gamma, alpha).sum()


def focal_by_foreground(z, y, gamma, alpha):
    return focal_each(z, y, gamma, alpha).sum() / max(1, y.sum())


def ignore_denominator(logits, target, ignore_index):
    kept = target != ignore_index
    log_p = logits.log_softmax(1).gather(1, (target * kept)[:, None])[:, 0]
    return -(log_p * kept).mean()


def ignore_background(logits, target, ignore_index):
    target[target == ignore_index] = 0
    return F.cross_entropy(logits, target)


def ignore_multiplied(logits, target, ignore_index):
    kept = (target != ignore_index).long()
    return torch.nn.CrossEntropyLoss()(logits * kept.unsqueeze(1), target * kept)


def ignore_nan(logits, target, ignore_index):
    kept = target != ignore_index
    return F.cross_entropy(logits.movedim(1, -1)[kept], target[kept])


def ignore_by_image(logits, target, ignore_index):
    means = []
    for z, y in zip(logits, target, strict=True):
        kept = y != ignore_index
        loss = F.cross_entropy(z[:, kept].T, y[kept]) if kept.any() else torch.tensor(0.0)
        means.append(loss)
    return sum(means) / len(means)


def dice_by_hand(
    logits, target, above, below, first=1, dims=(2, 3), p=None, fp_weight=0.5, loss=True
):
    p = logits.softmax(1) if p is None else p
    y = torch.stack([target == k for k in range(logits.shape[1])], 1).float()
    tp, fp, fn = ((a * b).sum(dims) for a, b in ((p, y), (p, 1 - y), (1 - p, y)))
    score = (tp + above) / (tp + fp_weight * (fp + fn) + below)
    score = score[..., first:].mean()
    return 1 - score if loss else score


def dice_background(logits, target, smooth):
    return dice_by_hand(logits, target, smooth, smooth, first=0)


def dice_pooled(logits, target, smooth):
    return dice_by_hand(logits, target, smooth, smooth, dims=(0, 2, 3))


def dice_below_only(logits, target, smooth):
    return dice_by_hand(logits, target, 0, smooth)


def dice_of_masks(logits, target, smooth):
    best = logits == logits.amax(1, keepdim=True)
    return dice_by_hand(logits, target, smooth, smooth, p=best.float())


def dice_sigmoid(logits, target, smooth):
    return dice_by_hand(logits, target, smooth, smooth, p=logits.sigmoid())


def dice_jaccard(logits, target, smooth):
    return dice_by_hand(logits, target, smooth, smooth, fp_weight=1)


def dice_score(logits, target, smooth):
    return dice_by_hand(logits, target, smooth, smooth, loss=False)


def alpha_counts(z, y, gamma):
    return (y == 0).float().mean()


def alpha_pulls(z, y, gamma):
    z = z.detach().requires_grad_()
    focal_each(z, y, gamma, 0.5).sum().backward()
    return z.grad[y == 1].abs(), z.grad[y == 0].abs()


def alpha_swapped(z, y, gamma):
    positive, negative = alpha_pulls(z, y, gamma)
    return positive.sum() / (positive.sum() + negative.sum())


def alpha_losses(z, y, gamma):
    loss = focal_each(z, y, gamma, 0.5)
    return loss[y == 0].sum() / loss.sum()


def alpha_means(z, y, gamma):
    positive, negative = alpha_pulls(z, y, gamma)
    return negative.mean() / (positive.mean() + negative.mean())


MISTAKES = [
    ("binary_cross_entropy", bce_sigmoid_twice, "sigmoid twice"),
    ("binary_cross_entropy", bce_cut_off, "cut off at 100"),
    ("binary_cross_entropy", bce_formula, "log is infinite"),
    ("binary_cross_entropy", bce_sign, "sign is wrong"),
    ("binary_cross_entropy", bce_one_term, "1 - y is missing"),
    ("binary_cross_entropy", bce_swapped, "classes are swapped"),
    ("binary_cross_entropy", bce_mean, "this is the mean"),
    ("class_balance", balance_foreground, "foreground's part"),
    ("class_balance", balance_ratio, "pos_weight"),
    ("class_balance", balance_count, "this is a count"),
    ("focal_loss", focal_swapped, "alpha is on the wrong class"),
    ("focal_loss", focal_same_factor, "background pixels need p^gamma"),
    ("focal_loss", focal_upside_down, "turns down what is wrong"),
    ("focal_loss", focal_power_of_all, "gamma is outside"),
    ("focal_loss", focal_one_weight, "weighs all pixels alike"),
    ("focal_loss", focal_sum, "this is the sum"),
    ("focal_loss", focal_by_foreground, "number of foreground pixels"),
    ("cross_entropy", ignore_denominator, "still in the denominator"),
    ("cross_entropy", ignore_background, "trained as background"),
    ("cross_entropy", ignore_multiplied, "multiplied by 0"),
    ("cross_entropy", ignore_nan, "this is 0 / 0"),
    ("cross_entropy", ignore_by_image, "mean over images"),
    ("dice_loss", dice_background, "background is included"),
    ("dice_loss", dice_pooled, "pooled over the batch"),
    ("dice_loss", dice_below_only, "denominator alone"),
    ("dice_loss", dice_of_masks, "decided pixels"),
    ("dice_loss", dice_sigmoid, "take softmax"),
    ("dice_loss", dice_jaccard, "Jaccard"),
    ("dice_loss", dice_score, "Dice score"),
    ("balancing_alpha", alpha_counts, "this counts pixels"),
    ("balancing_alpha", alpha_swapped, "alpha is on the wrong class"),
    ("balancing_alpha", alpha_losses, "balances the losses"),
    ("balancing_alpha", alpha_means, "compares single pixels"),
]
