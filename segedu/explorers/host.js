// Where no kernel runs: plain HTML inputs take the place of the ipywidgets, an object that of the
// model, and the page's address holds what the reader has set.

const host = (() => {
  const WAIT = 300; // milliseconds from a change to the address that holds it

  function makeModel(state) {
    const listeners = {};
    return {
      get: (name) => state[name],
      set(name, value) {
        if (isSame(state[name], value)) return;
        state[name] = value;
        for (const listener of listeners[`change:${name}`] ?? []) listener();
      },
      on: (event, listener) => (listeners[event] ??= []).push(listener),
      save_changes() {},
    };
  }

  // -- the controls ------------------------------------------------------------------------------

  function slider({ name, label, least, most, step, digits, percent: isShare }, model) {
    const limits = { min: least, max: most, step };
    const input = html("input", { type: "range", name, ...limits });
    const output = html("output", { "aria-hidden": "true" });
    input.addEventListener("input", () => model.set(name, Number(input.value)));
    follow(model, [name], () => {
      const value = model.get(name);
      const text = isShare ? `${Math.round(100 * value)}\u00a0%` : value.toFixed(digits);
      input.value = value;
      output.value = text;
      set(input, { "aria-valuetext": text });
    });
    return html(`label.control-${name}`, html("span", label), input, output);
  }

  function choice({ name, label, texts }, model) {
    const inputs = texts.map((_, value) => html("input", { type: "radio", name, value }));
    inputs.forEach((input, index) =>
      input.addEventListener("input", () => model.set(name, index)),
    );
    follow(model, [name], () => (inputs[model.get(name)].checked = true));
    const buttons = inputs.map((input, index) => html("label", input, html("span", texts[index])));
    return html(`fieldset.control-${name}`, html("legend", label), html("div", buttons));
  }

  const CONTROLS = { slider, choice }; // what else can be set is set in the figure

  // -- the address -------------------------------------------------------------------------------

  const isNumber = (text) => text.trim() !== "" && Number.isFinite(Number(text));
  const isBetween = (value, least, most) => least <= value && value <= most;

  function readSlider(text, { least, most, step, digits }) {
    if (!isNumber(text) || !isBetween(Number(text), least, most)) return undefined;
    return Number((least + step * Math.round((Number(text) - least) / step)).toFixed(digits));
  }

  function readPlace(text, { least, most }) {
    const place = text.split(".");
    const isPlace =
      place.length === least.length &&
      place.every((part, k) => /^\d+$/.test(part) && isBetween(Number(part), least[k], most[k]));
    return isPlace ? place.map(Number) : undefined;
  }

  function readPlaces(text, setting) {
    const places = text ? text.split("_").map((part) => readPlace(part, setting)) : [];
    return places.includes(undefined) ? undefined : places;
  }

  // How a value is written in the address, and read from it: undefined if it is none.
  const FORMS = {
    slider: { write: (value, { digits }) => value.toFixed(digits), read: readSlider },
    choice: {
      write: (index, { keys }) => keys[index],
      read: (text, { keys }) => (keys.includes(text) ? keys.indexOf(text) : undefined),
    },
    place: { write: (place) => place.join("."), read: readPlace },
    places: { write: (places) => places.map((p) => p.join(".")).join("_"), read: readPlaces },
  };

  // The explorer's name, for the second of its kind on the page with -2, and so on.
  function addressName(root, name) {
    const number = [...document.querySelectorAll(`.segedu-${name}`)].indexOf(root) + 1;
    return number > 1 ? `${name}-${number}` : name;
  }

  // Sets what the address says of this explorer, and all else to the start; returns whether it
  // speaks of it.
  function readAddress(own, settings, model) {
    const [name, query] = location.hash.slice(1).split("?");
    if (name !== own || query === undefined) return false;
    const texts = new URLSearchParams(query);
    for (const setting of settings) {
      const text = texts.get(setting.name);
      const value = text === null ? undefined : FORMS[setting.kind].read(text, setting);
      model.set(setting.name, value ?? model.get("start")[setting.name]);
    }
    return true;
  }

  // Only what differs from the start is written.
  function writeAddress(own, settings, model) {
    const start = model.get("start");
    const changed = settings.filter(({ name }) => !isSame(model.get(name), start[name]));
    const texts = changed.map((setting) => [
      setting.name,
      FORMS[setting.kind].write(model.get(setting.name), setting),
    ]);
    const hash = `#${own}?${new URLSearchParams(texts)}`;
    try {
      const address = texts.length ? hash : location.pathname + location.search;
      history.replaceState(history.state, "", address);
    } catch {
      // a page inside another page may have no address of its own
    }
  }

  function useAddress(root, name, settings, model) {
    const own = addressName(root, name);
    const goThere = () => root.scrollIntoView({ block: "start" });
    if (readAddress(own, settings, model)) {
      if (document.readyState === "complete") goThere();
      else addEventListener("load", goThere);
    }
    addEventListener("hashchange", () => {
      if (readAddress(own, settings, model)) goThere();
    });
    let isWaiting = false;
    for (const setting of settings) {
      model.on(`change:${setting.name}`, () => {
        if (isWaiting) return;
        isWaiting = true;
        const before = location.hash;
        setTimeout(() => {
          isWaiting = false;
          // Somebody may have followed a link, which is about to be read.
          if (location.hash === before) writeAddress(own, settings, model);
        }, WAIT);
      });
    }
  }

  return (root, { name, settings, state }) => {
    const model = makeModel(state);
    const view = html("div");
    const form = html("form", { autocomplete: "off" });
    form.addEventListener("submit", (event) => event.preventDefault());
    useAddress(root, name, settings, model);
    for (const setting of settings) form.append(CONTROLS[setting.kind]?.(setting, model) ?? "");
    for (const input of form.elements) input.dataset.lmSuppressShortcuts = "true"; // JupyterLab's
    const figure = root.querySelector(":scope > figure");
    if (render({ model, el: view }) === false) figure.after(view); // says why it cannot run
    else figure.replaceWith(form, view);
  };
})();
