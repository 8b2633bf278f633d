"""What all explorers share: the traits that a reader changes, and the two ways to show them.

With a kernel, a control is an ipywidget, connected by `jslink` to the explorer, which is an
anywidget. Without one, `host.js` makes plain HTML inputs. Both are made from the same `Slider` and
`Choice` traits, and both drive the same JavaScript view. Where no script runs, as in a notebook
that was opened but not run, a still picture stands in their place.
"""

import json
import operator
import re
from collections.abc import Collection, Mapping
from html import escape
from pathlib import Path

try:
    import anywidget
    import ipywidgets
except ImportError as error:
    raise ImportError(
        "segedu.explorers needs anywidget and ipywidgets: pip install 'segedu[chapters]'"
    ) from error
from traitlets import Dict, TraitType

from ..checks import check_choice, check_number
from ..export import to_base64
from ..plotting import COLOURS

FOLDER = Path(__file__).parent


def read(name: str) -> str:
    """The text of a file in this folder, without indentation and lines of comments."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    return re.sub(r"^ +|^ *//.*\n", "", text, flags=re.MULTILINE)


PALETTE = "".join(f"--{name.replace(' ', '-')}: {colour}; " for name, colour in COLOURS.items())
STYLE = f".segedu-explorer {{ {PALETTE}}}\n{read('style.css')}"
SHARED, KERNEL, HOST = read("shared.js"), read("kernel.js"), read("host.js")
KERNEL_STYLE = read("kernel.css")
CAPTION = (
    "This is only a picture of the figure. To work with it, run this cell in a notebook, or "
    "open the page in a browser of 2024 or later that runs scripts."
)


class Slider(TraitType):
    """A number from `least` to `most`, rounded to the nearest step; a ValueError outside.

    As `percent`, 0.25 reads 25 % beside the slider.
    """

    linked = "value"  # the ipywidget's trait that holds the same value

    def __init__(
        self,
        default: float,
        least: float,
        most: float,
        step: float,
        label: str,
        *,
        percent: bool = False,
    ):
        super().__init__(default)
        self.least, self.most, self.step, self.label = least, most, step, label
        self.percent = percent
        self.digits = len(str(step).partition(".")[2])
        self.tag(sync=True)

    def validate(self, explorer: "Explorer", value) -> float:
        number = check_number(self.name, value, self.least, self.most)
        return round(self.least + self.step * round((number - self.least) / self.step), self.digits)

    def widget(self, value: float) -> ipywidgets.Widget:
        kind = ipywidgets.FloatSlider if self.digits else ipywidgets.IntSlider
        limits = {"min": self.least, "max": self.most, "step": self.step}
        readout = ".0%" if self.percent else f".{self.digits}f" if self.digits else "d"
        return kind(value, description=self.label, readout_format=readout, **limits)

    def describe(self) -> dict:
        names = ("name", "label", "least", "most", "step", "digits", "percent")
        return {"kind": "slider", **{name: getattr(self, name) for name in names}}


class Choice(TraitType):
    """One of `options`, a dict {value: text in the page}; a ValueError for anything else.

    In the page an option is its index, as it is in the JavaScript half of an ipywidget. In the
    page's address it is the value as text.
    """

    linked = "index"

    def __init__(self, default, options: Mapping, label: str):
        super().__init__(default)
        self.options, self.label = options, label
        self.tag(
            sync=True,
            to_json=lambda value, _: list(options).index(value),
            from_json=lambda index, _: list(options)[index],
        )

    def validate(self, explorer: "Explorer", value):
        check_choice(self.name, value, self.options)
        return value

    def widget(self, value) -> ipywidgets.Widget:
        options = [(text, option) for option, text in self.options.items()]
        return ipywidgets.Dropdown(options=options, value=value, description=self.label)

    def describe(self) -> dict:
        return {
            "kind": "choice",
            "name": self.name,
            "label": self.label,
            "keys": list(map(str, self.options)),
            "texts": list(self.options.values()),
        }


class Place(TraitType):
    """A tuple of integers out of `places`, set by pointing at it in the figure.

    The ValueError for any other value says what the trait `must` be or hold.
    """

    kind = "place"

    def __init__(self, default, places: Collection, must: str):
        super().__init__(default)
        self.places, self.must = places, must
        self.tag(sync=True)

    def validate(self, explorer: "Explorer", value) -> tuple[int, ...]:
        try:
            place = tuple(map(operator.index, value))
        except TypeError:
            place = None
        if place not in self.places:
            raise ValueError(f"{self.name} must {self.must}, got {value!r}")
        return place

    def describe(self) -> dict:
        """With the smallest and the largest number at each position."""
        columns = list(zip(*filter(None, self.places), strict=True))
        limits = {"least": list(map(min, columns)), "most": list(map(max, columns))}
        return {"kind": self.kind, "name": self.name, **limits}


class Explorer(anywidget.AnyWidget):
    """An interactive figure. A subclass has its controls as traits.

    After its `name` are called its view (name.js), its style (name.css), its picture where no
    script runs (name.png, which `alt` describes), and its part of the page's address. `needs` names
    more files with JavaScript and CSS that it uses.

    To show an explorer, end a cell with it. Its controls can be set (`explorer.gamma = 3`) and
    observed like the traits of any widget.
    """

    name: str
    alt: str
    needs: tuple[str, ...] = ()
    largest_page = 60_000  # bytes of its HTML, without the picture
    start = Dict().tag(sync=True)  # what the controls are reset to
    _ipython_display_ = None  # with it ipywidgets 7, as in Colab, shows the view without controls

    def __init_subclass__(cls, **options):
        if "name" in vars(cls):
            cls.style = f"{STYLE}\n{cls._files('.css')}"
            cls._css = f"{cls.style}\n{KERNEL_STYLE}"
            cls._esm = "\n".join([SHARED, cls.source(), KERNEL])
        super().__init_subclass__(**options)

    @classmethod
    def _files(cls, suffix: str) -> str:
        names = (*cls.needs, f"{cls.name}{suffix}")
        return "\n".join(read(name) for name in names if name.endswith(suffix))

    @classmethod
    def source(cls) -> str:
        """The JavaScript of the view and of what it needs."""
        return cls._files(".js")

    @classmethod
    def still(cls) -> bytes:
        """The still picture, a PNG that `python -m study.stills` makes."""
        return (FOLDER / f"{cls.name}.png").read_bytes()

    def __init__(self, **values):
        if unknown := set(values) - set(self.trait_names()):
            raise TypeError(
                f"{type(self).__name__} has no {', '.join(sorted(unknown))}, only the controls "
                + ", ".join(control.name for control in self.controls)
            )
        super().__init__(**values)
        self.start = self.get_state([setting.name for setting in self.settings])
        size = len(self.to_html().encode()) - len(to_base64(self.still()))
        if size > self.largest_page:
            raise ValueError(
                f"this {type(self).__name__} would add {size:,} bytes to its page, but at most "
                f"{self.largest_page:,} are allowed: pass a smaller part of the data"
            )

    @property
    def settings(self) -> list[Slider | Choice | Place]:
        """All that a reader can set."""
        return [
            trait
            for kind in reversed(type(self).__mro__)
            for trait in vars(kind).values()
            if isinstance(trait, Slider | Choice | Place)
        ]

    @property
    def controls(self) -> list[Slider | Choice]:
        """The controls from top to bottom."""
        return [setting for setting in self.settings if isinstance(setting, Slider | Choice)]

    def to_widget(self) -> ipywidgets.Widget:
        """The figure with its controls as ipywidgets."""
        widgets = []
        for control in self.controls:
            widget = control.widget(getattr(self, control.name))
            widget.add_class(f"control-{control.name}")  # the same name as in host.js
            # The explorer comes first because its value is the one that both start with.
            ipywidgets.jslink((self, control.name), (widget, control.linked))
            widgets.append(widget)
        box = ipywidgets.VBox([*widgets, self])
        box.add_class("segedu-explorer")
        box.add_class(f"segedu-{self.name}")
        return box

    def to_html(self) -> str:
        """The figure for a page without a kernel; a picture of it where no script runs."""
        own = set(self.trait_names()) - set(anywidget.AnyWidget.class_trait_names())
        page = {
            "name": self.name,
            "settings": [setting.describe() for setting in self.settings],
            "state": self.get_state([name for name in own if not name.startswith("_")]),
        }
        data = json.dumps(page, sort_keys=True).replace("<", r"\u003c")
        picture = f"data:image/png;base64,{to_base64(self.still())}"
        return (
            f'<div class="segedu-explorer segedu-{self.name}"><style>{self.style}</style>\n'
            f'<figure><img alt="{escape(self.alt)}" src="{picture}">'
            f"<figcaption>{CAPTION}</figcaption></figure>\n"
            f"<script>(() => {{\n{SHARED}\n{self.source()}\n{HOST}\n"
            f"host(document.currentScript.parentElement, {data});\n}})();</script></div>"
        )

    def _repr_mimebundle_(self, **options):
        data, metadata = super()._repr_mimebundle_(**options)
        view = data["application/vnd.jupyter.widget-view+json"]
        view["model_id"] = self.to_widget().model_id
        data["text/html"] = self.to_html()
        data["image/png"] = to_base64(self.still())  # for viewers that show no HTML
        return data, metadata

    def __repr__(self) -> str:
        values = (f"{control.name}={getattr(self, control.name)!r}" for control in self.controls)
        return f"{type(self).__name__}({', '.join(values)})"
