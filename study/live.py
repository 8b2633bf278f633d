"""Write `img/live.html`, the live network for the introduction, which is not a notebook.

    python -m study.live

Run it again after a change to the weights `unetpp-nuclei-tiny` or to `segedu/explorers`; for the
latter, `python -m study.stills` does it.
"""

from pathlib import Path

from segedu.explorers import LiveSegmentation
from segedu.files import atomic_path

PAGE = Path(__file__).parents[1] / "img" / "live.html"


def main() -> None:
    with atomic_path(PAGE) as temporary:
        page = LiveSegmentation().to_html() + "\n"
        temporary.write_text(page, encoding="utf-8", newline="\n")
    print(PAGE)


if __name__ == "__main__":
    main()
