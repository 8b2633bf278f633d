"""BCE and focal loss, and which class dominates their gradients."""

from .base import Explorer, Slider


class LossExplorer(Explorer):
    """Curves of BCE and focal loss, their gradients, and each class's share of the gradient.

    Two buttons set alpha to the paper's 0.25 or to the class balance N_neg / (N_pos + N_neg), which
    is 1 - foreground. The shares are those of the absolute gradient with respect to the logit, at
    p = 0.5 everywhere, and with an easy background, at p = 0.1.

    Parameters
    ----------
    gamma : 0 to 5.
    foreground : fraction of the pixels that is foreground, 0.01 to 0.5.
    alpha : weight of the foreground, 0 to 1; the background's weight is 1 - alpha.

    Sources: Lin et al. 2017, arXiv 1708.02002, equations 4 and 5.

    >>> LossExplorer(alpha=1.5)
    Traceback (most recent call last):
    ValueError: alpha must be a number from 0 to 1, got 1.5
    """

    name = "loss"
    alt = (
        "Curves of the focal loss and BCE, and of their gradients, over the predicted "
        "probability; below them bars with the foreground's share of the gradient."
    )
    gamma = Slider(2.0, 0.0, 5.0, 0.1, "gamma (focusing)")
    foreground = Slider(0.1, 0.01, 0.5, 0.01, "foreground")
    alpha = Slider(0.25, 0.0, 1.0, 0.01, "alpha (weight)")
