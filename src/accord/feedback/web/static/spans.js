// Marking passages of a text by mouse or by keyboard. The field holds them as JSON, [start, end, kind], counted in characters.
export function startSpans(form) {
  for (const box of form.querySelectorAll("[data-spans]")) new Spans(box, form);
}

class Spans {
  constructor(box, form) {
    this.box = box;
    this.field = box.querySelector("textarea");
    this.view = box.querySelector(".marked");
    this.list = box.querySelector(".marks");
    this.kinds = [...box.querySelectorAll("[data-kind]")];
    this.characters = [...this.field.dataset.text]; // not UTF-16 units: the server counts characters
    this.words = this.segments();
    this.cursor = this.anchor = 0;
    this.marks = [];
    this.draw();
    this.read(this.field.value.startsWith("[") ? this.field.value : this.field.dataset.marks);
    form.addEventListener("restored", () => this.read(this.field.value || "[]"));
    this.view.addEventListener("keydown", (event) => this.key(event));
    this.view.addEventListener("focus", () => this.show());
    document.addEventListener("selectionchange", () => this.dragged());
    this.kinds.forEach((button, index) => (button.onclick = () => this.mark(index)));
  }

  segments() {
    const text = this.field.dataset.text;
    const parts = globalThis.Intl?.Segmenter
      ? [...new Intl.Segmenter(document.documentElement.lang, { granularity: "word" }).segment(text)].map((part) => part.segment)
      : text.split(/(\s+)/);
    let at = 0;
    return parts.filter(Boolean).map((word) => {
      const start = at;
      at += [...word].length;
      return { word, start, end: at, blank: !word.trim() };
    });
  }

  draw() {
    this.spans = this.words.map(({ word }, index) => {
      const span = Object.assign(document.createElement("span"), { textContent: word });
      span.dataset.index = index;
      return span;
    });
    this.view.replaceChildren(...this.spans);
  }

  read(written) {
    this.marks = JSON.parse(written || "[]");
    this.write(false);
  }

  write(changed = true) {
    this.marks.sort((one, other) => one[0] - other[0] || one[1] - other[1]);
    this.field.value = JSON.stringify(this.marks);
    if (changed) this.field.dispatchEvent(new Event("input", { bubbles: true }));
    this.show();
  }

  // The words from the anchor to the cursor, without blanks at the ends.
  chosen() {
    let [first, last] = [Math.min(this.anchor, this.cursor), Math.max(this.anchor, this.cursor)];
    while (first < last && this.words[first].blank) first++;
    while (last > first && this.words[last].blank) last--;
    return [first, last];
  }

  mark(index) {
    if (!this.kinds[index] || !this.words.length) return;
    const [first, last] = this.chosen();
    const mark = [this.words[first].start, this.words[last].end, this.kinds[index].dataset.kind];
    if (!this.marks.some((other) => String(other) === String(mark))) this.marks.push(mark);
    this.anchor = this.cursor = last;
    getSelection().removeAllRanges();
    this.write();
  }

  remove() {
    const [first, last] = this.chosen();
    const [start, end] = [this.words[first].start, this.words[last].end];
    this.marks = this.marks.filter(([from, to]) => to <= start || from >= end);
    this.write();
  }

  key(event) {
    const digit = /^[1-9]$/.test(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey;
    const to = { ArrowRight: () => this.beside(1), ArrowLeft: () => this.beside(-1), ArrowDown: () => this.line(1), ArrowUp: () => this.line(-1), Home: () => 0, End: () => this.words.length - 1 }[event.key];
    if (to && this.words.length && !event.ctrlKey && !event.metaKey) {
      this.cursor = to();
      if (!event.shiftKey) this.anchor = this.cursor;
      this.show();
    } else if (digit) this.mark(Number(event.key) - 1);
    else if (event.key === "Delete" || event.key === "Backspace") this.remove();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  beside(by) {
    let at = this.cursor + by;
    while (this.words[at]?.blank) at += by;
    return this.words[at] ? at : this.cursor;
  }

  line(by) {
    const here = this.spans[this.cursor].getBoundingClientRect();
    let best = this.cursor;
    let row = null;
    for (let at = this.cursor + by; this.words[at]; at += by) {
      const there = this.spans[at].getBoundingClientRect();
      if (this.words[at].blank || Math.abs(there.top - here.top) < 4) continue;
      row ??= there.top;
      if (Math.abs(there.top - row) >= 4) break;
      if (best === this.cursor || Math.abs(there.left - here.left) < Math.abs(this.spans[best].getBoundingClientRect().left - here.left)) best = at;
    }
    return best;
  }

  dragged() {
    const { anchorNode, focusNode } = getSelection();
    const [one, other] = [anchorNode, focusNode].map((node) => (node?.nodeType === 3 ? node.parentElement : node)?.closest?.("[data-index]"));
    if (!one || !other || !this.view.contains(one) || !this.view.contains(other)) return;
    this.anchor = Number(one.dataset.index);
    this.cursor = Number(other.dataset.index);
    this.show();
  }

  show() {
    const [first, last] = this.chosen();
    this.spans.forEach((span, index) => {
      const { start, end } = this.words[index];
      const on = this.marks.filter(([from, to]) => from < end && to > start);
      span.className = [...new Set(on.map(([, , kind]) => `k${this.number(kind)}`)), index >= first && index <= last && "at"].filter(Boolean).join(" ");
    });
    this.list.replaceChildren(...(this.marks.length ? this.marks.map((mark) => this.item(mark)) : [Object.assign(document.createElement("li"), { textContent: this.box.dataset.none })]));
    if (document.activeElement === this.view) this.spans[this.cursor]?.scrollIntoView({ block: "nearest" });
  }

  number(kind) {
    return this.kinds.findIndex((button) => button.dataset.kind === kind) + 1;
  }

  item(mark) {
    const item = document.createElement("li");
    const words = this.characters.slice(mark[0], mark[1]).join("");
    const kind = this.kinds[this.number(mark[2]) - 1];
    const name = [...(kind?.childNodes ?? [])].filter((node) => node.nodeType === 3).map((node) => node.textContent).join("");
    const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "×", className: "plain" });
    remove.setAttribute("aria-label", `${this.box.dataset.remove}: ${words}`);
    remove.onclick = () => ((this.marks = this.marks.filter((other) => other !== mark)), this.write());
    item.append(Object.assign(document.createElement("b"), { textContent: name, className: `k${this.number(mark[2])}` }), ` ${words} `, remove);
    return item;
  }
}
