// A task page: its steps, its keys, its draft, and how the answer leaves.
import { startKeys } from "./keys.js";
import { Ranking } from "./ranking.js";
import { startSpans } from "./spans.js";
import { Draft, Undo } from "./state.js";
import { Steps } from "./steps.js";

export function startTask(form, journal, words) {
  const problems = document.getElementById("problems");
  const draft = new Draft(form, words);
  draft.restore();
  startSpans(form);
  const ranking = new Ranking(form, words);
  const steps = new Steps(form, words);
  const undo = new Undo(form);
  const seconds = watch();
  let sending = false;

  const say = (text) => (problems.textContent = text);
  form.addEventListener("input", (event) => {
    if (["skip_reason", "doubt"].includes(event.target.name)) return;
    say("");
    draft.changed();
  });
  form.addEventListener("step", () => say(""));

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const action = event.submitter?.value ?? "save";
    if (action === "doubt") return ask(form, words, say);
    if (sending) return;
    const problem = action === "save" ? steps.problem() || (ranking.cards.length && ranking.contradiction()) : "";
    if (problem) return say(problem);
    sending = true;
    form.elements.seconds.value = seconds().toFixed(1);
    const body = new URLSearchParams(new FormData(form, event.submitter)).toString();
    clearTimeout(draft.timer);
    form.setAttribute("aria-busy", "true");
    journal.send({ key: form.elements.key.value, url: form.getAttribute("action"), body }, (outcome) => {
      sending = false;
      form.removeAttribute("aria-busy");
      if (!outcome.ok) return say(outcome.error);
      draft.forget();
      location.assign(outcome.next);
    });
  });

  const save = document.getElementById("save");
  const skipping = form.querySelector(".skipping");
  const guide = document.getElementById("guide");
  const doubt = document.getElementById("doubt");
  const act = {
    back: () => steps.show(steps.index - 1),
    forward: () => {
      const problem = steps.problem([steps.current]);
      if (problem) return say(problem);
      if (!steps.last) steps.show(steps.index + 1);
    },
    next: () => (steps.last ? save.click() : act.forward()),
    undo: () => undo.back() && (say(""), draft.changed()),
    skip: () => skipping.querySelector("button").click(),
    openSkip: () => ((skipping.open = true), skipping.querySelector("input").focus()),
    guideline: () => (guide.open = !guide.open),
    ask: () => form.querySelector("[value=doubt]").click(),
    doubt: () => ((doubt.open = true), doubt.querySelector("textarea").focus()),
    meanings: () => toggle(steps.current.querySelector(".meanings")),
    reason: () => steps.current.querySelector("[name=reason]")?.focus(),
    help: () => document.getElementById("help").showModal(),
  };
  for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", () => act[button.dataset.do]?.());
  startKeys(form, steps, ranking, act);
  const narrow = matchMedia("(max-width: 980px)").matches; // there the guideline would stand before the work
  const place = narrow ? "accord.guide.narrow" : "accord.guide";
  guide.open = (localStorage.getItem(place) ?? (narrow ? "closed" : "open")) === "open";
  guide.addEventListener("toggle", () => localStorage.setItem(place, guide.open ? "open" : "closed"));
  steps.begin();
}

// A note to the lead: it is added to the thread on this page, and the answer stays as it is.
async function ask(form, words, say) {
  const field = form.elements.doubt;
  const body = new URLSearchParams({ csrf: form.elements.csrf.value, doubt: field.value });
  const told = document.getElementById("doubt-sent");
  try {
    const response = await fetch(form.getAttribute("action").replace(/answer$/, "doubt"), { method: "POST", body, headers: { Accept: "application/json" } });
    if (!response.ok) return say((await response.json()).error);
  } catch {
    return (told.textContent = words.unsent);
  }
  const note = document.createElement("li");
  note.append(Object.assign(document.createElement("p"), { textContent: field.value.trim() }));
  note.className = "mine";
  form.querySelector(".thread").append(note);
  field.value = "";
  told.textContent = words.doubt;
  field.focus();
}

function toggle(details) {
  if (details) details.open = !details.open;
}

// Seconds for which the page was in view.
function watch() {
  let total = 0;
  let since = document.hidden ? 0 : performance.now();
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) total += performance.now() - since;
    else since = performance.now();
  });
  return () => (total + (document.hidden ? 0 : performance.now() - since)) / 1000;
}
