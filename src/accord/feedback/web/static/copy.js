// Copies the text of a field by a button; without scripts, or without permission, the field is there to copy by hand.
for (const button of document.querySelectorAll("[data-copies]"))
  button.addEventListener("click", async () => {
    const field = document.getElementById(button.dataset.copies);
    field.focus();
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      document.execCommand("copy"); // plain http, where browsers have no clipboard for scripts
    }
    button.textContent = button.dataset.copied;
  });
