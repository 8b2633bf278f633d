"""What the commands of `segedu` do; their options are in `segedu.cli`."""


def first_three(names: list[str]) -> str:
    """The first three names, and how many more there are.

    >>> first_three(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
