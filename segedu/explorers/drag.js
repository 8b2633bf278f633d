// Calls move(x) with the place on the x axis of a chart that one presses or drags over.
function dragAlong({ root, X }, move) {
  root.style.cursor = "ew-resize";
  root.style.touchAction = "pan-y"; // a finger that moves up or down still scrolls the page
  const take = ({ clientX }) => {
    const box = root.getBoundingClientRect();
    const place = ((clientX - box.left) / box.width) * root.viewBox.baseVal.width;
    move((place - X(0)) / (X(1) - X(0)));
  };
  let start;
  root.addEventListener("pointerdown", (event) => {
    start = event;
    root.setPointerCapture(event.pointerId);
    if (event.pointerType === "mouse") take(event);
  });
  root.addEventListener("pointermove", (event) => {
    if (!root.hasPointerCapture(event.pointerId)) return;
    const [right, down] = [event.clientX - start.clientX, event.clientY - start.clientY];
    if (event.pointerType === "mouse" || Math.abs(right) > Math.abs(down)) take(event);
  });
  root.addEventListener("click", take); // a finger that only taps
}
