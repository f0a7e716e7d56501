// What stands in the task's form, as data: for drafts, for undo, and to put it back.
const OURS = new Set(["csrf", "key", "revision", "version", "opened", "seconds", "questions", "doubt", "skip_reason"]);

export function read(form) {
  return [...new FormData(form)].filter(([name]) => !OURS.has(name));
}

export function write(form, state) {
  const has = new Set(state.map(([name, value]) => `${name}\n${value}`));
  const texts = new Map(state);
  for (const field of form.elements) {
    if (!field.name || OURS.has(field.name) || field.type === "submit") continue;
    if (field.type === "radio" || field.type === "checkbox") field.checked = has.has(`${field.name}\n${field.value}`);
    else if (field.matches("textarea, input")) field.value = texts.get(field.name) ?? "";
  }
  form.dispatchEvent(new CustomEvent("restored"));
}

// Every change is one step back; typing in one field within two seconds is one change.
export class Undo {
  constructor(form) {
    this.form = form;
    this.past = [];
    this.now = JSON.stringify(read(form));
    this.last = { name: "", at: 0 };
    form.addEventListener("input", (event) => this.note(event.target));
  }

  note(field) {
    const state = JSON.stringify(read(this.form));
    if (state === this.now) return;
    const typing = field?.matches?.("textarea:not([data-text])") && field.name === this.last.name && Date.now() - this.last.at < 2000;
    if (!typing) this.past.push(this.now);
    this.last = { name: field?.name, at: Date.now() };
    this.now = state;
  }

  back() {
    const state = this.past.pop();
    if (state === undefined) return false;
    this.now = state;
    this.last = { name: "", at: 0 };
    write(this.form, JSON.parse(state));
    return true;
  }
}

// Drafts go to the server a moment after the last change; until it has them they stand in the browser.
export class Draft {
  constructor(form, words) {
    this.form = form;
    this.words = words;
    this.place = `accord.draft.${document.body.dataset.account}.${form.getAttribute("action")}.${form.dataset.revision}`;
    this.said = document.getElementById("saved");
  }

  restore() {
    const kept = attempt(() => localStorage.getItem(this.place));
    if (kept) write(this.form, JSON.parse(kept));
  }

  changed() {
    attempt(() => localStorage.setItem(this.place, JSON.stringify(read(this.form))));
    this.said.textContent = "";
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.send(), 900);
  }

  async send() {
    const body = new URLSearchParams(new FormData(this.form));
    const sent = attempt(() => localStorage.getItem(this.place));
    try {
      const response = await fetch(this.form.getAttribute("action").replace(/answer$/, "draft"), { method: "POST", body, keepalive: body.toString().length < 60000, headers: { Accept: "application/json" } });
      if (!response.ok) return;
      if (sent === attempt(() => localStorage.getItem(this.place))) this.forget();
      this.said.textContent = this.words.draft;
    } catch {
      this.said.textContent = this.words.local;
    }
  }

  forget() {
    clearTimeout(this.timer);
    attempt(() => localStorage.removeItem(this.place));
  }
}

function attempt(action) {
  try {
    return action();
  } catch {
    return null; // no storage in this browser: the server's copy has to do
  }
}
