"""Which images train a network, which ones choose its best state, and which ones test it."""

import hashlib
from collections.abc import Collection

SPLITS = ("train", "validation", "test")


def split_by_name(names: Collection[str]) -> dict[str, list[str]]:
    """Divide names into the three splits, in the order of a hash of each name.

    15 % (at least one) are for testing, as many for validation, the rest for training. Raises
    ValueError for fewer than three names.

    >>> split_by_name("abcdefgh")
    {'test': ['d'], 'validation': ['f'], 'train': ['c', 'b', 'e', 'h', 'a', 'g']}
    """
    if len(names) < len(SPLITS):
        raise ValueError(f"expected at least 3 images, one for each split, got {len(names)}")

    def mixing(name: str) -> bytes:
        # Bytes of a file's name that are no UTF-8 have become surrogates.
        return hashlib.sha256(name.encode(errors="surrogatepass")).digest()

    mixed = sorted(names, key=mixing)
    held_out = max(1, round(0.15 * len(mixed)))
    return {
        "test": mixed[:held_out],
        "validation": mixed[held_out : 2 * held_out],
        "train": mixed[2 * held_out :],
    }
