/** Copies the answer to the clipboard, or saves it as a file. */

import { curl } from "./client.js";
import { make } from "./panel.js";
import { client } from "./requests.js";
import { options, state } from "./state.js";
import { attempt, setStatus } from "./status.js";

/** The JSON exactly as the service sent it. */
export const copyJson = () => state.reply && copy(state.reply.text, "JSON");
export const copyCurl = () => copy(curl(state.file.name, options(), client.key !== ""), "curl command");
export const saveImage = () => save(state.file.blob, state.file.name);

export function saveJson() {
  const stem = state.file.name.replace(/\.[^.]*$/, "");
  save(new Blob([state.reply.text], { type: "application/json" }), `${stem}.landmarks.json`);
}

async function copy(text, what) {
  await attempt(async () => {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else copyWithoutClipboard(text);
    setStatus(`${what} copied.`);
  });
}

/** Browsers give a page no clipboard over plain HTTP from another machine. */
function copyWithoutClipboard(text) {
  const before = document.activeElement;
  const area = document.body.appendChild(make("textarea", { value: text, className: "offscreen" }));
  area.select();
  const isDone = document.execCommand("copy");
  area.remove();
  before?.focus();
  if (!isDone) throw new Error("the browser does not allow this page to copy; download the answer instead");
}

function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
