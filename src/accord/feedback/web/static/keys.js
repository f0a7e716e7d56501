// The keyboard. Single keys can be turned off (WCAG 2.1.4); Tab, arrows within a group, and Enter work as everywhere.
const OFF = "accord.keys.off";

export function startKeys(form, steps, ranking, act) {
  const help = document.getElementById("help");
  const toggle = document.getElementById("keys-on");
  toggle.checked = localStorage.getItem(OFF) !== "yes";
  toggle.onchange = () => localStorage.setItem(OFF, toggle.checked ? "no" : "yes");
  for (const event of ["step", "input", "focusin", "restored"]) form.addEventListener(event, () => mark(steps.current));
  document.addEventListener("keydown", (event) => {
    if (help.open || event.isComposing) return;
    const typing = event.target.matches?.("textarea, input:not([type]), input[type=text]");
    if (event.key === "Enter") return enter(event, typing, act);
    if (event.key === "Escape") return escape(event);
    if (typing || event.altKey) return;
    const done = (event.ctrlKey || event.metaKey) && event.key === "z" ? act.undo : pick(event, steps, ranking, act, toggle.checked);
    if (!done) return;
    event.preventDefault();
    done();
  });
}

function enter(event, typing, act) {
  const target = event.target;
  if (typing && target.name === "doubt") return (event.ctrlKey || event.metaKey) && (event.preventDefault(), act.ask());
  if (typing && target.name === "skip_reason") return event.preventDefault(), act.skip();
  if (typing && target.form?.matches(".transcribe")) return (event.ctrlKey || event.metaKey) && (event.preventDefault(), target.form.requestSubmit());
  const free = !typing && !target.closest("button, a, summary");
  if (!free && !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  act.next();
}

function escape(event) {
  const skipping = event.target.closest?.(".skipping[open]");
  if (skipping) skipping.open = false;
  if (event.target.matches?.("textarea, input")) event.target.blur();
}

function pick(event, steps, ranking, act, singles) {
  if (event.ctrlKey || event.metaKey) return null;
  const group = event.target.matches?.("input[type=radio]");
  const ranks = steps.current.dataset.keys === "rank";
  if (ranks && !group && event.key.startsWith("Arrow") && ["ArrowUp", "ArrowDown"].includes(event.key)) {
    const by = event.key === "ArrowUp" ? -1 : 1;
    return () => (event.shiftKey ? ranking.move(ranking.card(), by) : ranking.step(by));
  }
  if (!group && event.key === "ArrowLeft") return act.back;
  if (!group && event.key === "ArrowRight") return act.forward;
  if (!singles) return null;
  if (/^[0-9]$/.test(event.key)) return () => number(steps.current, Number(event.key), ranking);
  const named = { z: act.undo, x: act.openSkip, v: act.guideline, r: act.reason, i: act.meanings, n: act.doubt, "?": act.help }[event.key.toLowerCase()];
  if (named) return named;
  const flag = steps.current.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  return flag && (() => flag.click());
}

let last = null; // the group that a digit answered last

// The group of radios that the next digit answers: the one reached by Tab, else the first that is open, else the last one answered.
function active(step) {
  const groups = [...step.querySelectorAll("fieldset:has(input[type=radio])")];
  const focused = document.activeElement.matches(":focus-visible") && document.activeElement.closest("fieldset");
  if (groups.includes(focused)) return focused;
  const open = groups.find((group) => !group.querySelector(":checked"));
  return open ?? (groups.includes(last) ? last : groups[0]);
}

function number(step, value, ranking) {
  if (step.dataset.keys === "rank") return ranking.number(value);
  const group = active(step);
  if (!group) return;
  const radios = [...group.querySelectorAll("input[type=radio]")];
  const radio = group.classList.contains("choices") ? radios[value - 1] : radios.find((r) => Number(r.value) === value);
  if (!radio) return;
  last = group;
  radio.click();
}

// Several groups in one step: the one that the next digit answers is marked.
function mark(step) {
  for (const group of step.querySelectorAll(".active")) group.classList.remove("active");
  if (step.dataset.keys !== "rank" && step.querySelectorAll("fieldset:has(input[type=radio])").length > 1) active(step).classList.add("active");
}
