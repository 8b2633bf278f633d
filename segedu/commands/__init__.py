"""What the commands of `segedu` do; their options are in `segedu.cli`."""


def showable(name: str) -> str:
    r"""A file's name without what Unicode cannot show: bytes that are no UTF-8.

    >>> showable("caf\udce9.png")
    'caf\\udce9.png'
    """
    return name.encode(errors="backslashreplace").decode()
