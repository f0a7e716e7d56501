// One step at a time: the prompt, each response by itself, the ranking.
export class Steps {
  constructor(form, words) {
    this.form = form;
    this.words = words;
    this.passages = "[data-kind=mark] .marked"; // where the work is to mark passages, it begins in the text
    this.parts = [...form.querySelectorAll(".step")];
    this.nav = document.getElementById("steps");
    this.buttons = this.parts.map((part, index) => {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: part.dataset.step });
      button.onclick = () => this.show(index);
      return button;
    });
    this.nav.append(...this.buttons);
    this.nav.hidden = this.parts.length < 2;
    this.seen = new Set();
    form.addEventListener("input", () => this.mark());
    form.addEventListener("restored", () => this.mark());
  }

  get current() {
    return this.parts[this.index];
  }

  get last() {
    return this.index === this.parts.length - 1;
  }

  // A page that was begun goes on where the first answer is missing; a fresh one starts at the top.
  begin() {
    const open = this.parts.findIndex((part) => this.missing(part));
    const begun = this.parts.some((part) => part.dataset.needs && !this.missing(part)) || this.form.querySelector("[name=prompt_flags]:checked");
    if (begun) this.parts.slice(0, open < 0 ? undefined : open).forEach((_, index) => this.seen.add(index));
    const start = begun ? (open < 0 ? this.parts.length - 1 : open) : 0;
    this.show(start, Boolean(this.parts[start].querySelector(`textarea.long, ${this.passages}`)));
  }

  show(index, focus = true) {
    this.index = Math.max(0, Math.min(index, this.parts.length - 1));
    this.seen.add(this.index);
    this.parts.forEach((part, i) => (part.hidden = i !== this.index));
    document.getElementById("next").hidden = this.last;
    document.getElementById("save").hidden = !this.last;
    document.querySelector("[data-do=back]").disabled = this.index === 0;
    this.mark();
    this.form.dispatchEvent(new CustomEvent("step"));
    // On a telephone the prompt was read in the first step; from then on the response begins at the top, the prompt above it.
    const top = this.index && matchMedia("(max-width: 620px)").matches ? this.form.getBoundingClientRect().top + scrollY : 0;
    scrollTo({ top });
    if (focus) this.focus();
  }

  focus() {
    const target = this.current.querySelector(`[data-first], .card[tabindex], textarea.long, ${this.passages}`) ?? this.current.querySelector("h2");
    if (target.matches("h2")) target.tabIndex = -1;
    target.focus({ preventScroll: true });
  }

  missing(part) {
    const data = new FormData(this.form);
    if (part.classList.contains("ranking")) return [...part.querySelectorAll(".card")].some((card) => !data.get(`rank-${card.dataset.place}`));
    return this.lacks(data, part.dataset.needs) || Boolean(this.open(part, data));
  }

  lacks(data, name) {
    return Boolean(name) && !String(data.get(name) ?? "").trim();
  }

  // The first question of a step that must be answered and is not.
  open(part, data = new FormData(this.form)) {
    return [...part.querySelectorAll("[data-required]")].find((question) => this.lacks(data, question.dataset.required));
  }

  mark() {
    this.buttons.forEach((button, index) => {
      button.classList.toggle("done", this.seen.has(index) && index !== this.index && !this.missing(this.parts[index]));
      button.toggleAttribute("aria-current", index === this.index);
      if (index === this.index) button.setAttribute("aria-current", "step");
    });
  }

  // The first thing that keeps the answer from being sent, in words; empty when it may go.
  problem(parts = this.parts) {
    for (const part of parts) {
      if (!this.missing(part)) continue;
      this.show(this.parts.indexOf(part));
      if (this.lacks(new FormData(this.form), part.dataset.needs)) return part.dataset.missing;
      const question = this.open(part);
      if (question) return question.querySelector("textarea")?.focus(), question.dataset.missing;
      const left = [...part.querySelectorAll(".card")].filter((card) => !this.form.querySelector(`[name="rank-${card.dataset.place}"]:checked`));
      left[0].focus();
      return this.words.unranked.replace("{letters}", left.map((card) => card.dataset.letter).join(", "));
    }
    return "";
  }
}
