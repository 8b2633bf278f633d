"""Write the live network for the introduction, which is no notebook: `img/live.html`.

    python -m study.live

Run it again after a change of the weights `unetpp-nuclei-tiny` or of `segedu/explorers`.
"""

from pathlib import Path

from segedu.explorers import LiveSegmentation
from segedu.files import atomic_path

PAGE = Path(__file__).parents[1] / "img" / "live.html"


def main() -> None:
    with atomic_path(PAGE) as temporary:
        temporary.write_text(LiveSegmentation().to_html() + "\n", encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
