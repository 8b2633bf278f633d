"""What all explorers share: the traits that a reader changes, and the two ways to show them.

With a kernel, a control is an ipywidget, connected by `jslink` to the explorer, which is an
anywidget. Without one, a control is a plain HTML input, connected by `host.js`. Both are made from
the same `Slider` and `Choice` traits, and both drive the same JavaScript view.
"""

import json
import operator
from collections.abc import Container, Mapping
from html import escape
from pathlib import Path

try:
    import anywidget
    import ipywidgets
except ImportError as error:
    raise ImportError(
        "segedu.explorers needs anywidget and ipywidgets: pip install 'segedu[book]'"
    ) from error
from traitlets import TraitType

from ..checks import check_choice, check_number
from ..plotting import COLOURS


def read(name: str) -> str:
    """The text of a file in this folder."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


PALETTE = "".join(f"--{name.replace(' ', '-')}: {colour}; " for name, colour in COLOURS.items())
STYLE = f".segedu-explorer {{ {PALETTE}}}\n{read('style.css')}"
SHARED, KERNEL, HOST = read("shared.js"), read("kernel.js"), read("host.js")


class Slider(TraitType):
    """A number from `least` to `most`, rounded to the nearest step; a ValueError outside."""

    linked = "value"  # the ipywidget's trait that holds the same value

    def __init__(self, default: float, least: float, most: float, step: float, label: str):
        super().__init__(default)
        self.least, self.most, self.step, self.label = least, most, step, label
        self.digits = len(str(step).partition(".")[2])
        self.tag(sync=True)

    def validate(self, explorer: "Explorer", value) -> float:
        number = check_number(self.name, value, self.least, self.most)
        return round(self.least + self.step * round((number - self.least) / self.step), self.digits)

    def widget(self, value: float) -> ipywidgets.Widget:
        kind = ipywidgets.FloatSlider if self.digits else ipywidgets.IntSlider
        limits = {"min": self.least, "max": self.most, "step": self.step}
        readout = f".{self.digits}f" if self.digits else "d"
        return kind(value, description=self.label, readout_format=readout, **limits)

    def html(self, value: float) -> str:
        return (
            f'<label><span>{escape(self.label)}</span><input type="range" name="{self.name}" '
            f'min="{self.least}" max="{self.most}" step="{self.step}" value="{value}">'
            f'<output data-digits="{self.digits}" aria-hidden="true"></output></label>'
        )


class Choice(TraitType):
    """One of `options`, a dict {value: text in the page}; a ValueError for anything else.

    In the page an option is its index, as it is in the JavaScript half of an ipywidget.
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

    def html(self, value) -> str:
        inputs = "".join(
            f'<label><input type="radio" name="{self.name}" value="{index}"'
            f"{' checked' if option == value else ''}><span>{escape(text)}</span></label>"
            for index, (option, text) in enumerate(self.options.items())
        )
        return f"<fieldset><legend>{escape(self.label)}</legend><div>{inputs}</div></fieldset>"


class Place(TraitType):
    """A tuple of integers out of `places`, set by pointing at it in the figure.

    The ValueError for any other value says what the trait `must` be or hold.
    """

    def __init__(self, default, places: Container, must: str):
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


class Explorer(anywidget.AnyWidget):
    """An interactive figure. A subclass has its controls as traits and a JavaScript file, `view`.

    `needs` names the files with functions that the view uses, and `style` is the CSS. The page
    shows `still` until the view runs, and keeps it where scripts cannot run.

    To show an explorer, end a cell with it. Its controls can be set (`explorer.gamma = 3`) and
    observed like the traits of any widget.
    """

    view: str
    needs: tuple[str, ...] = ()
    style = STYLE
    still = ""
    largest_page = 60_000  # bytes of its HTML
    _ipython_display_ = None  # with it ipywidgets 7, as in Colab, shows the view without controls

    def __init_subclass__(cls, **options):
        if "view" in vars(cls):
            cls._css = cls.style
            cls._esm = "\n".join([SHARED, cls.source(), KERNEL])
        super().__init_subclass__(**options)

    @classmethod
    def source(cls) -> str:
        """The JavaScript of the view and of what it needs."""
        return "\n".join(map(read, (*cls.needs, cls.view)))

    def __init__(self, **values):
        if unknown := set(values) - set(self.trait_names()):
            raise TypeError(
                f"{type(self).__name__} has no {', '.join(sorted(unknown))}, only the controls "
                + ", ".join(control.name for control in self.controls)
            )
        super().__init__(**values)
        size = len(self.to_html().encode())
        if size > self.largest_page:
            raise ValueError(
                f"this {type(self).__name__} would add {size:,} bytes to its page, but at most "
                f"{self.largest_page:,} are allowed: pass a smaller part of the data"
            )

    @property
    def controls(self) -> list[Slider | Choice]:
        """The controls from top to bottom."""
        return [
            trait
            for kind in reversed(type(self).__mro__)
            for trait in vars(kind).values()
            if isinstance(trait, Slider | Choice)
        ]

    def to_widget(self) -> ipywidgets.Widget:
        """The figure with its controls as ipywidgets."""
        widgets = []
        for control in self.controls:
            widget = control.widget(getattr(self, control.name))
            # The explorer comes first because its value is the one that both start with.
            ipywidgets.jslink((self, control.name), (widget, control.linked))
            widgets.append(widget)
        box = ipywidgets.VBox([*widgets, self])
        box.add_class("segedu-explorer")
        return box

    def to_html(self) -> str:
        """The figure with its controls as plain HTML, for a page without a kernel."""
        controls = "".join(control.html(getattr(self, control.name)) for control in self.controls)
        own = set(self.trait_names()) - set(anywidget.AnyWidget.class_trait_names())
        state = self.get_state([name for name in own if not name.startswith("_")])
        data = json.dumps(state, sort_keys=True).replace("<", r"\u003c")
        return (
            f'<div class="segedu-explorer"><style>{self.style}</style>\n'
            f'<form autocomplete="off">{controls}</form><div>{self.still}</div>\n'
            f"<script>(() => {{\n{SHARED}\n{self.source()}\n{HOST}\n"
            f"host(document.currentScript.parentElement, {data});\n}})();</script></div>"
        )

    def _repr_mimebundle_(self, **options):
        data, metadata = super()._repr_mimebundle_(**options)
        view = data["application/vnd.jupyter.widget-view+json"]
        view["model_id"] = self.to_widget().model_id
        data["text/html"] = self.to_html()
        return data, metadata

    def __repr__(self) -> str:
        values = (f"{control.name}={getattr(self, control.name)!r}" for control in self.controls)
        return f"{type(self).__name__}({', '.join(values)})"
