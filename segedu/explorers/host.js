// Where no kernel runs: plain HTML inputs take the place of the ipywidgets, and this of the model.

function host(root, state) {
  const listeners = {};
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
  const model = {
    get: (name) => state[name],
    set(name, value) {
      if (same(state[name], value)) return;
      state[name] = value;
      for (const listener of listeners[`change:${name}`] ?? []) listener();
    },
    on: (event, listener) => (listeners[event] ??= []).push(listener),
    save_changes() {},
  };

  const [form, view] = root.querySelectorAll(":scope > form, :scope > div");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", ({ target }) => model.set(target.name, Number(target.value)));
  for (const name of new Set([...form.elements].map((input) => input.name).filter(Boolean))) {
    const control = form.elements[name]; // one slider, or all the buttons of a choice
    const show = () => {
      control.value = model.get(name);
      const output = control.nextElementSibling;
      if (output) output.value = model.get(name).toFixed(output.dataset.digits);
    };
    model.on(`change:${name}`, show);
    show();
  }
  for (const input of form.elements) input.dataset.lmSuppressShortcuts = "true"; // JupyterLab's
  render({ model, el: view });
}
