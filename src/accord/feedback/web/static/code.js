// Adds to every block of code a button that copies it. The page is complete without.
const words = JSON.parse(document.body.dataset.words || "{}");

function dress(within) {
  for (const frame of within.querySelectorAll?.(".code:not(:has(.copy))") ?? []) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "copy", textContent: words.copy });
    frame.append(button);
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.(".code .copy");
  if (!button) return;
  const code = button.parentElement.querySelector("pre");
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = words.copied;
  } catch {
    getSelection().selectAllChildren(code); // a page without https may not write to the clipboard: the keys do it
  }
  setTimeout(() => (button.textContent = words.copy), 1500);
});

dress(document);
// Answers come in while the page is open; each renewed part is one addition.
new MutationObserver((changes) => {
  if (changes.some((change) => change.addedNodes.length)) dress(document);
}).observe(document.body, { childList: true, subtree: true });
