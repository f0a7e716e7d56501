// Entry. Every page works without scripts; these make the task page quick, safe against a cut line, and usable by keyboard alone.
import { Journal } from "./journal.js";
import { startTask } from "./task.js";

const words = JSON.parse(document.body.dataset.words || "{}");
const journal = new Journal(document.body.dataset.account, words, document.getElementById("journal"));
const form = document.getElementById("task");
if (form) startTask(form, journal, words);
const start = document.getElementById("start");
if (start)
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && [document.body, document.getElementById("main")].includes(event.target)) start.click();
  });
journal.flush();
