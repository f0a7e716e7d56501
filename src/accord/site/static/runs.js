// A run's page without scripts shows the state as it is; this keeps it up to date, and shows the values of a curve under the pointer.
const SVG = "http://www.w3.org/2000/svg";
const live = document.getElementById("live");

/** Return a number in few digits. */
const short = (value) => Number(value.toPrecision(4)).toString();

/** Show the values of each curve at the step that is nearest to the pointer. */
function hover(svg) {
  const { lines, left, right } = JSON.parse(svg.dataset.curves);
  const steps = [...new Set(lines.flatMap((line) => line.points.map(([x]) => x)))].sort((a, b) => a - b);
  if (!steps.length) return;
  const first = steps[0];
  const width = steps[steps.length - 1] - first || 1;
  const hair = svg.appendChild(document.createElementNS(SVG, "line"));
  const said = svg.appendChild(document.createElementNS(SVG, "text"));
  hair.setAttribute("class", "hair");
  hair.setAttribute("y1", "10");
  hair.setAttribute("y2", "146");
  said.setAttribute("class", "said");
  said.setAttribute("y", "20");
  const hide = () => [hair, said].forEach((part) => part.setAttribute("visibility", "hidden"));
  hide();
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * 360;
    const wanted = first + ((at - left) / (right - left)) * width;
    const step = steps.reduce((best, one) => (Math.abs(one - wanted) < Math.abs(best - wanted) ? one : best));
    const x = left + ((step - first) / width) * (right - left);
    const values = lines.map((line) => {
      const point = line.points.find(([one]) => one === step);
      return point ? `${lines.length > 1 ? `${line.name} ` : ""}${short(point[1])}` : "";
    });
    hair.setAttribute("x1", x);
    hair.setAttribute("x2", x);
    said.textContent = `${short(step)}: ${values.filter(Boolean).join(" · ")}`;
    said.setAttribute("x", x);
    said.setAttribute("text-anchor", x > (left + right) / 2 ? "end" : "start");
    [hair, said].forEach((part) => part.setAttribute("visibility", "visible"));
  });
}

/** Put the newer content in place; what is unfolded, scrolled or focused stays so. */
function replace(html) {
  const folds = new Map([...live.querySelectorAll("details[id]")].map((fold) => [fold.id, fold.open]));
  const logs = new Map([...live.querySelectorAll("details[id] > pre")].map((pre) => [pre.parentElement.id, pre.scrollTop]));
  const focused = live.contains(document.activeElement) ? document.activeElement.closest("details[id]")?.id : "";
  const inLog = document.activeElement?.tagName === "PRE";
  const pressed = live.contains(document.activeElement) ? document.activeElement.closest("form")?.getAttribute("action") : "";
  live.innerHTML = html;
  for (const [id, open] of folds) {
    const fold = document.getElementById(id);
    if (fold) fold.open = open;
  }
  for (const [id, top] of logs) {
    const pre = document.getElementById(id)?.querySelector("pre");
    if (pre) pre.scrollTop = top;
  }
  if (focused) document.getElementById(focused)?.querySelector(inLog ? "pre" : "summary")?.focus({ preventScroll: true });
  if (pressed) [...live.querySelectorAll("form")].find((form) => form.getAttribute("action") === pressed)?.querySelector("button").focus({ preventScroll: true });
  live.querySelectorAll(".curve").forEach(hover);
}

async function look() {
  const facts = live.querySelector(".facts");
  const wait = Number(facts.dataset.wait);
  if (!wait) return;
  await new Promise((done) => setTimeout(done, wait * 1000));
  try {
    if (!document.hidden) {
      const answer = await fetch(`${live.dataset.from}?seen=${facts.dataset.version}`, { headers: { Accept: "text/html" } });
      if (answer.status === 200) {
        const before = facts.dataset.state;
        replace(await answer.text());
        const state = live.querySelector(".facts").dataset.state;
        if (state !== before) document.getElementById("told").textContent = state;
      } else if (answer.status === 401 || answer.status === 403) return;
    }
  } catch {
    // no connection: the next look tries again
  }
  look();
}

/** Wait for the memory that a training takes, where it was not computed with the page. */
async function plan(place) {
  for (let tries = 0; tries < 60; tries++) {
    await new Promise((done) => setTimeout(done, 1500));
    const answer = await fetch(place.dataset.from, { headers: { Accept: "text/html" } });
    if (answer.status === 204) continue;
    if (answer.ok) place.innerHTML = await answer.text();
    return;
  }
}

document.querySelectorAll(".curve").forEach(hover);
if (live) look();
const planned = document.querySelector("#plan[data-from]");
if (planned) plan(planned).catch(() => {});
