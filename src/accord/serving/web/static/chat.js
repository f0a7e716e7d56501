// Entry. Every page works without scripts; these show an answer while it is written and keep the place on the page.
const words = JSON.parse(document.body.dataset.words || "{}");
const stage = () => document.getElementById("stage");
// What is being typed, who was chosen to answer, and how, stay while the page is renewed around them.
const STAYS = new Set(["text", "model", "against", "temperature", "top_p", "top_k", "repetition_penalty", "max_tokens"]);
const AGAIN = 3000; // milliseconds until a page whose line was refused looks again
let source = null;

// A form that says something: the server stores it, tells where the answer can be followed, and the page goes there.
// A form that adds files or removes one: the page is shown anew, with what is being typed in it.
// A form that keeps what is said of an answer: the page is fetched again and what changed is put in its place.
document.addEventListener("submit", async (event) => {
  const form = event.target;
  const says = form.hasAttribute("data-say");
  const shows = form.hasAttribute("data-shows");
  if (!says && !shows && !form.hasAttribute("data-keep") && !form.classList.contains("stopping")) return;
  event.preventDefault();
  const fields = new FormData(form, event.submitter);
  const files = form.enctype === "multipart/form-data";
  const body = files ? fields : new URLSearchParams(fields);
  tell("");
  if (files) status(words.reading);
  form.querySelectorAll("button").forEach((button) => (button.disabled = true));
  const said = await post(form.getAttribute("action"), body);
  form.querySelectorAll("button").forEach((button) => (button.disabled = false));
  if (said.error) return tell(said.error);
  if (says && form.id === "composer") form.elements.text.value = "";
  if (shows) {
    await show(said.next);
    if (said.problem) tell(said.problem);
    return status(words.kept);
  }
  if (says) return show(said.next);
  await renew(said.next, form.closest("article")?.id);
  status(words.kept);
});

async function post(url, body) {
  try {
    const response = await fetch(url, { method: "POST", body, headers: { Accept: "application/json" } });
    const said = await response.json().catch(() => ({}));
    return response.ok ? said : { error: said.error || response.statusText };
  } catch {
    return { error: words.lost };
  }
}

async function fetched(url) {
  const response = await fetch(url.split("#")[0], { headers: { Accept: "text/html" } }).catch(() => null);
  if (!response?.ok) return void location.assign(url);
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

// Goes to another page of the chat without leaving this one: a new key, a new place, and the models and settings as they were.
async function show(url) {
  const page = await fetched(url);
  if (!page) return;
  const kept = [...document.getElementById("composer").elements].filter((field) => STAYS.has(field.name)).map((field) => [field.name, field.value]);
  put(page, "stage");
  put(page, "talks");
  document.title = page.title;
  if (stage().dataset.at !== location.pathname) history.pushState(null, "", stage().dataset.at);
  const text = document.getElementById("text");
  for (const [name, value] of kept) if (value && text.form.elements[name]) text.form.elements[name].value = value;
  text.focus({ preventScroll: true });
  follow();
}

// Renews what was said. The field below, and what is being typed in it, is left alone.
async function renew(url, place) {
  const page = await fetched(url);
  if (!page) return;
  const within = document.getElementById("thread").contains(document.activeElement) || document.activeElement === document.body;
  put(page, "thread");
  const parent = (from) => from.querySelector("#composer [name=parent]");
  parent(document).value = parent(page).value;
  stage().dataset.live = page.getElementById("stage").dataset.live;
  if (place && within) document.getElementById(place)?.querySelector("button, summary")?.focus({ preventScroll: true });
}

const put = (page, id) => document.getElementById(id).replaceWith(document.adoptNode(page.getElementById(id)));

function follow() {
  source?.close();
  source = null;
  const live = stage()?.dataset.live;
  if (!live) return;
  bottom(true);
  status(words.writing);
  source = new EventSource(live);
  source.addEventListener("text", (event) => {
    const { slot, html } = JSON.parse(event.data);
    const near = nearBottom();
    const shown = stage().querySelector(`[data-slot="${slot}"]`);
    if (shown) shown.innerHTML = html; // made by the server's safe Markdown; the policy lets nothing in it run
    if (near) bottom();
  });
  source.addEventListener("error", () => {
    // The browser takes a cut line up again by itself, a refusal it does not.
    if (source?.readyState === EventSource.CLOSED) setTimeout(() => show(stage().dataset.at), AGAIN);
  });
  source.addEventListener("done", async (event) => {
    source.close();
    source = null;
    const { problem } = JSON.parse(event.data);
    const near = nearBottom();
    await renew(stage().dataset.at);
    if (near) bottom();
    problem ? tell(problem) : status(words.done);
  });
}

// A picture that is pasted into the message goes the way of the form for pictures.
document.addEventListener("paste", (event) => {
  const form = document.getElementById("showing");
  const pasted = [...(event.clipboardData?.files || [])].filter((file) => file.type.startsWith("image/"));
  if (!form || !pasted.length || event.target.id !== "text") return;
  event.preventDefault();
  const held = new DataTransfer();
  for (const file of pasted) held.items.add(file);
  form.elements.files.files = held.files;
  form.requestSubmit();
});

const nearBottom = () => innerHeight + scrollY > document.documentElement.scrollHeight - 160;
const bottom = () => scrollTo(0, document.documentElement.scrollHeight);
const tell = (text) => (document.getElementById("problems").textContent = text);
const status = (text) => (document.getElementById("status").textContent = text);

document.addEventListener("click", async (event) => {
  const copy = event.target.closest?.("[data-copy]");
  if (copy) {
    const said = copy.textContent;
    await navigator.clipboard.writeText(copy.dataset.copy).catch(() => null);
    copy.textContent = words.copied;
    setTimeout(() => (copy.textContent = said), 1500);
  }
  const drawer = document.querySelector(".settings[open]");
  if (drawer && !drawer.contains(event.target)) drawer.open = false;
});

document.addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  const text = document.getElementById("text");
  const typing = event.target.matches?.("textarea, input, select");
  if (event.key === "Enter" && event.target === text && !event.shiftKey) {
    event.preventDefault();
    if (text.value.trim()) text.form.requestSubmit();
  } else if (event.key === "Escape") {
    const open = event.target.closest?.("details[open]") || document.querySelector(".settings[open]");
    if (open) open.open = false;
    else document.querySelector(".stopping")?.requestSubmit();
  } else if (event.key === "/" && !typing && text) {
    event.preventDefault();
    text.focus();
  }
});

addEventListener("popstate", () => location.reload());
if (stage()) {
  follow();
  const talking = Boolean(stage().dataset.stop); // a conversation that has begun
  if (talking) document.getElementById("text")?.focus({ preventScroll: true });
  if (talking && !location.hash && !location.search) bottom();
}
