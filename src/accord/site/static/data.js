// The data page with scripts: drag a file in, watch it go up, and follow what runs. Without scripts the forms do the same.

const drop = document.getElementById("drop");
const problems = document.getElementById("problems");

function send(file) {
  const progress = document.getElementById("progress");
  const request = new XMLHttpRequest();
  const failed = (text) => {
    progress.hidden = true;
    for (const button of drop.querySelectorAll("button, input")) button.disabled = false;
    problems.textContent = text;
  };
  request.open("POST", `${drop.action}&name=${encodeURIComponent(file.name)}`);
  request.setRequestHeader("Accept", "application/json");
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.upload.addEventListener("progress", (event) => {
    if (event.lengthComputable) progress.value = event.loaded / event.total;
  });
  request.addEventListener("load", () => {
    let said = {};
    try {
      said = JSON.parse(request.responseText);
    } catch {
      const page = new DOMParser().parseFromString(request.responseText, "text/html");
      said = { error: page.getElementById("problems")?.textContent || request.responseText.slice(0, 200) };
    }
    if (said.next) location.assign(said.next);
    else failed(said.error || String(request.status));
  });
  request.addEventListener("error", () => failed(drop.dataset.broken));
  problems.textContent = "";
  progress.hidden = false;
  progress.value = 0;
  for (const button of drop.querySelectorAll("button, input")) button.disabled = true;
  request.send(file);
}

if (drop) {
  drop.addEventListener("submit", (event) => {
    const file = document.getElementById("file").files[0];
    if (!file) return;
    event.preventDefault();
    send(file);
  });
  for (const name of ["dragenter", "dragover"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) send(event.dataTransfer.files[0]);
  });
}

// What runs is looked at again; the page waits on the server until it has ended or a few seconds are over.
async function again() {
  if (!document.querySelector("[data-running]")) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const main = page.getElementById("main");
    if (answer.ok && main) document.getElementById("main").replaceWith(document.adoptNode(main));
  } catch {
    // no connection: the next look may have one
  }
  setTimeout(again, 1000);
}
setTimeout(again, 500);
