// The ranking step: the cards stay where they are, the ladder above shows the order that the ranks make.
export class Ranking {
  constructor(form, words) {
    this.form = form;
    this.words = words;
    this.ladder = document.getElementById("ladder");
    this.said = document.getElementById("ranked");
    this.cards = [...form.querySelectorAll(".ranking .card")];
    if (!this.cards.length) return;
    form.addEventListener("input", () => this.draw());
    form.addEventListener("restored", () => this.draw());
    form.addEventListener("step", () => this.suggest());
    this.hint = form.querySelector(".suggested");
    this.suggested = null;
    this.asked = new Set();
    form.addEventListener("click", (event) => {
      const move = event.target.closest("[data-move]");
      if (move) this.move(move.closest(".card"), Number(move.dataset.move));
    });
    this.draw();
  }

  radio(card, rank) {
    return card.querySelector(`input[value="${rank}"][name^=rank]`);
  }

  rank(card) {
    return Number(card.querySelector("input[name^=rank]:checked")?.value ?? 0);
  }

  card() {
    return document.activeElement.closest?.(".ranking .card");
  }

  set(card, rank) {
    const radio = this.radio(card, rank);
    if (!radio) return;
    radio.checked = true;
    this.given = true;
    radio.dispatchEvent(new Event("input", { bubbles: true }));
    this.said.textContent = this.words.ranked.replace("{letter}", card.dataset.letter).replace("{rank}", rank);
  }

  quality(card) {
    return Number(this.form.querySelector(`[name="quality-${card.dataset.place}"]:checked`)?.value ?? 0);
  }

  // On the way in, the ratings give the order, and equal ratings a tie; never over ranks that somebody gave.
  suggest() {
    const ranks = this.cards.map((card) => this.rank(card));
    const open = ranks.every((rank) => !rank) && !this.suggested;
    const untouched = this.suggested && String(ranks) === String(this.suggested);
    const qualities = this.cards.map((card) => this.quality(card));
    if (this.given || this.cards[0].closest(".step").hidden || !(open || untouched) || qualities.includes(0)) return;
    const order = [...new Set(qualities)].sort((one, other) => other - one);
    this.suggested = qualities.map((quality) => 1 + order.indexOf(quality));
    this.hint.hidden = false;
    if (String(ranks) === String(this.suggested)) return;
    this.cards.forEach((card, index) => (this.radio(card, this.suggested[index]).checked = true));
    this.radio(this.cards[0], this.suggested[0]).dispatchEvent(new Event("input", { bubbles: true }));
  }

  // Two responses whose ranks say the opposite of their ratings, in words; what is kept is not asked about again.
  contradiction() {
    const found = [];
    for (const better of this.cards)
      for (const worse of this.cards) if (this.quality(better) > this.quality(worse) && this.rank(better) > this.rank(worse)) found.push([better, worse]);
    const name = ([better, worse]) => `${better.dataset.letter} ${worse.dataset.letter}`;
    const first = found.find((pair) => !this.asked.has(name(pair)));
    for (const pair of found) this.asked.add(name(pair));
    if (!first) return "";
    const [better, worse] = first;
    const values = { better: better.dataset.letter, high: this.quality(better), worse: worse.dataset.letter, low: this.quality(worse) };
    return this.words.contradiction.replace(/\{(\w+)\}/g, (_, key) => values[key]);
  }

  // A number ranks the card in hand and goes on to the next one without a rank, or to the next one when all have theirs.
  number(rank) {
    const card = this.card() ?? this.cards[0];
    if (!this.radio(card, rank)) return;
    this.set(card, rank);
    const at = this.cards.indexOf(card);
    const rest = [...this.cards.slice(at + 1), ...this.cards.slice(0, at)].find((other) => !this.rank(other));
    (rest ?? this.cards[at + 1] ?? card).focus();
  }

  step(by) {
    const at = this.cards.indexOf(this.card());
    const next = this.cards[at < 0 ? 0 : Math.max(0, Math.min(at + by, this.cards.length - 1))];
    next.focus();
  }

  move(card, by) {
    if (!card) return;
    const rank = this.rank(card);
    const worst = Math.max(0, ...this.cards.map((other) => this.rank(other)));
    this.set(card, rank ? Math.max(1, Math.min(rank + by, this.cards.length)) : by < 0 ? Math.max(1, worst) : Math.min(worst + 1, this.cards.length));
  }

  draw() {
    const rungs = this.cards.map((_, index) => this.rung(index + 1));
    const rest = this.rung(0);
    if (!this.cards.some((card) => !this.rank(card))) rest.hidden = true;
    this.ladder.replaceChildren(...rungs, rest);
    for (const card of this.cards) {
      const quality = this.form.querySelector(`[name="quality-${card.dataset.place}"]:checked`)?.value;
      const flags = this.form.querySelectorAll(`[name="flags-${card.dataset.place}"]:checked`).length;
      card.querySelector("[data-given]").textContent = [quality && `${quality}/7`, flags && `⚑ ${flags}`].filter(Boolean).join(" · ");
    }
  }

  rung(rank) {
    const rung = Object.assign(document.createElement("span"), { className: rank ? "rung" : "rung rest" });
    const here = this.cards.filter((card) => this.rank(card) === rank);
    rung.classList.toggle("filled", rank > 0 && here.length > 0);
    rung.append(rank === 0 ? this.ladder.dataset.unranked : rank === 1 ? `1 ${this.ladder.dataset.best}` : String(rank), ...here.map((card) => this.chip(card)));
    if (rank) {
      rung.ondragover = (event) => (event.preventDefault(), rung.classList.add("over"));
      rung.ondragleave = () => rung.classList.remove("over");
      rung.ondrop = (event) => {
        event.preventDefault();
        const card = this.cards.find((c) => c.dataset.letter === event.dataTransfer.getData("text/plain"));
        if (card) this.set(card, rank);
      };
    }
    return rung;
  }

  chip(card) {
    const chip = Object.assign(document.createElement("span"), { className: "letter", textContent: card.dataset.letter, draggable: true });
    chip.ondragstart = (event) => event.dataTransfer.setData("text/plain", card.dataset.letter);
    chip.onclick = () => card.focus();
    return chip;
  }
}
