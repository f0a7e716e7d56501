// Answers that the server has not acknowledged yet. An answer is written here before it is sent and leaves when a 2xx came back, so a
// cut line, a closed tab or a restarted server loses none. It is sent again with the same key: the server keeps it once.
const WAITS = [2000, 4000, 8000, 15000, 30000];

export class Journal {
  constructor(account, words, banner) {
    this.place = `accord.journal.${account}`;
    this.words = words;
    this.banner = banner;
    this.memory = [];
    this.tries = 0;
    this.flushing = null;
    this.listeners = new Map();
    addEventListener("online", () => this.flush());
  }

  entries() {
    try {
      return JSON.parse(localStorage.getItem(this.place) || "[]");
    } catch {
      return this.memory;
    }
  }

  keep(entries) {
    this.memory = entries;
    try {
      localStorage.setItem(this.place, JSON.stringify(entries));
    } catch {
      // private mode or a full disk: the page's own memory has to do
    }
  }

  // Writes an answer down and sends it. `settled(outcome)` is called once the server has spoken: {ok, next} or {error, status}.
  send(entry, settled) {
    this.keep([...this.entries().filter((other) => other.key !== entry.key), entry]);
    this.listeners.set(entry.key, settled);
    return this.flush();
  }

  flush() {
    this.flushing ??= this.sendAll().finally(() => (this.flushing = null));
    return this.flushing;
  }

  async sendAll() {
    clearTimeout(this.timer);
    for (let entry = this.entries().find((e) => !e.refused); entry; entry = this.entries().find((e) => !e.refused)) {
      const outcome = await deliver(entry);
      if (outcome.retry) return this.wait(outcome);
      this.tries = 0;
      const settled = this.listeners.get(entry.key);
      const refused = !outcome.ok && !settled; // nobody shows it on a form any more: keep it where it can be read
      this.keep(this.entries().flatMap((e) => (e.key !== entry.key ? [e] : refused ? [{ ...e, refused: outcome.error }] : [])));
      this.listeners.delete(entry.key);
      settled?.(outcome);
    }
    this.show();
  }

  wait(outcome) {
    const delay = WAITS[Math.min(this.tries++, WAITS.length - 1)];
    this.timer = setTimeout(() => this.flush(), delay);
    this.show(outcome.login);
  }

  show(login = false) {
    const entries = this.entries();
    const waiting = entries.filter((e) => !e.refused);
    const refused = entries.filter((e) => e.refused);
    this.banner.replaceChildren();
    this.banner.classList.toggle("failed", refused.length > 0);
    if (waiting.length) this.banner.append((login ? this.words.login : this.words.waiting).replace("{count}", waiting.length));
    for (const entry of refused) {
      const button = Object.assign(document.createElement("button"), { type: "button", className: "plain", textContent: this.words.dismiss });
      button.onclick = () => (this.keep(this.entries().filter((e) => e.key !== entry.key)), this.show());
      this.banner.append(`${this.words.refused} ${entry.refused} `, button);
    }
  }
}

async function deliver(entry) {
  const body = new URLSearchParams(entry.body);
  const current = document.querySelector("input[name=csrf]");
  if (current) body.set("csrf", current.value);
  try {
    const response = await fetch(entry.url, { method: "POST", body, headers: { Accept: "application/json" }, signal: AbortSignal.timeout(20000) });
    const said = await response.json().catch(() => ({}));
    if (response.ok && said.next) return { ok: true, ...said };
    if (response.ok || response.status >= 500 || response.status === 429) return { retry: true };
    if (response.status === 401 || said.key === "csrf") return { retry: true, login: true };
    return { error: said.error || response.statusText, status: response.status };
  } catch {
    return { retry: true };
  }
}
