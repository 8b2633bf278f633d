// Calls move(x) with the place on the x axis of a chart that one presses or drags over.
function dragAlong({ root, X }, move) {
  root.style.cursor = "ew-resize";
  root.style.touchAction = "pan-y"; // a finger that moves up or down still scrolls the page
  const take = ({ clientX }) => {
    const box = root.getBoundingClientRect();
    const place = ((clientX - box.left) / box.width) * root.viewBox.baseVal.width;
    move((place - X(0)) / (X(1) - X(0)));
  };
  root.addEventListener("pointerdown", (event) => {
    root.setPointerCapture(event.pointerId);
    take(event);
  });
  root.addEventListener("pointermove", (event) => {
    if (root.hasPointerCapture(event.pointerId)) take(event);
  });
}
