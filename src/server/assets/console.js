// Makes the console quicker to use. Every page works without it: nothing here decides anything.
"use strict";

const texts = document.body.dataset;
const PUBLIC_KEY_BYTES_MAX = 16 * 1024;
const COPIED_MS = 2000;

document.documentElement.classList.add("has-script");

// A button beside each command that copies it.
for (const box of navigator.clipboard ? document.querySelectorAll(".command") : []) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = texts.copy;
  button.setAttribute("aria-live", "polite");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(box.querySelector("code").textContent);
    button.textContent = texts.copied;
    setTimeout(() => { button.textContent = texts.copy; }, COPIED_MS);
  });
  box.classList.add("has-copy");
  box.append(button);
}

// A question that is open has a way back: a button, or Escape.
for (const question of document.querySelectorAll("details.confirm")) {
  const summary = question.querySelector("summary");
  const cancel = document.createElement("button");
  cancel.type = "button";
  cancel.textContent = texts.cancel;
  const close = () => { question.open = false; summary.focus(); };
  cancel.addEventListener("click", close);
  question.addEventListener("keydown", (event) => { if (event.key === "Escape" && question.open) close(); });
  question.addEventListener("toggle", () => { if (question.open) question.querySelector("button.danger").focus(); });
  question.querySelector(".row").append(cancel);
}

// A .pub file that is dropped on the form is read into it; a private key never leaves the disk.
const key = document.getElementById("key");
if (key) {
  const target = key.form;
  const mark = (isOver) => key.classList.toggle("dropping", isOver);
  target.addEventListener("dragover", (event) => { event.preventDefault(); mark(true); });
  target.addEventListener("dragleave", () => mark(false));
  target.addEventListener("drop", async (event) => {
    event.preventDefault();
    mark(false);
    const file = event.dataTransfer.files[0];
    const text = file ? await file.slice(0, PUBLIC_KEY_BYTES_MAX).text() : event.dataTransfer.getData("text/plain");
    const isPrivate = /PRIVATE KEY|PuTTY-User-Key-File/.test(text);
    key.setCustomValidity(isPrivate ? key.dataset.private : "");
    if (isPrivate) {
      key.reportValidity();
      return;
    }
    key.value = text.trim();
    const name = document.getElementById("name");
    if (!name.value) name.value = key.value.split(/\s+/).slice(2).join(" ");
  });
  key.addEventListener("input", () => {
    key.setCustomValidity(/PRIVATE KEY|PuTTY-User-Key-File/.test(key.value) ? key.dataset.private : "");
  });
}

// One click is one request.
for (const form of document.querySelectorAll('form[method="post"]')) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
}
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});
