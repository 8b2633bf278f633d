"""A convolution, its window and its weights, number by number."""

from .base import Choice, Explorer, Slider


class ConvExplorer(Explorer):
    """A convolution or a transposed convolution: its window slides, multiplies and adds.

    Window w of a row covers the pixels w * stride - padding to w * stride - padding + kernel - 1.
    A convolution multiplies these pixels by the weights and writes their sum to pixel w; a
    transposed convolution multiplies pixel w by the weights and adds the products to these pixels.
    The map shows how many windows cover each pixel.

    Parameters
    ----------
    operation : "convolution" or "transposed".
    weights : "mean", all the same; "edge", right minus left; "sharpen", the pixel and its
        difference from the others; or "tent", larger towards the middle.
    size : side of the input, 1 to 12 pixels.
    kernel : 1 to 7.
    stride : 1 to 4.
    padding : 0 to 3; a transposed convolution cuts as much off its output.

    Sources: Dumoulin and Visin 2016, arXiv 1603.07285; Odena et al., Distill 2016.

    >>> ConvExplorer(operation="transposed", kernel=3, stride=2)
    ConvExplorer(operation='transposed', weights='mean', size=6, kernel=3, stride=2, padding=0)
    """

    name = "conv"
    alt = (
        "A 3 x 3 window of nine numbers over a 6 x 6 input; the products of both, their "
        "sum, and the output that this sum belongs to."
    )
    operation = Choice(
        "convolution", {"convolution": "convolution", "transposed": "transposed"}, "operation"
    )
    weights = Choice(
        "mean", {name: name for name in ("mean", "edge", "sharpen", "tent")}, "weights"
    )
    size = Slider(6, 1, 12, 1, "input size")
    kernel = Slider(3, 1, 7, 1, "kernel")
    stride = Slider(1, 1, 4, 1, "stride")
    padding = Slider(0, 0, 3, 1, "padding")
