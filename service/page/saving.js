/** The answer taken along: copied, or saved as a file. */

import { client } from "./asking.js";
import { curl } from "./client.js";
import { attempt, say } from "./notices.js";
import { make } from "./panel.js";
import { options, state } from "./state.js";

/** The JSON as the service wrote it, to the last digit. */
export const copyJson = () => state.reply && copy(state.reply.text, "JSON");
export const copyCurl = () => copy(curl(state.file.name, options(), client.key !== ""), "curl line");
export const savePicture = () => save(state.file.blob, state.file.name);

export function saveJson() {
  const stem = state.file.name.replace(/\.[^.]*$/, "");
  save(new Blob([state.reply.text], { type: "application/json" }), `${stem}.landmarks.json`);
}

async function copy(text, what) {
  await attempt(async () => {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else copyWithoutClipboard(text);
    say(`${what} copied.`);
  });
}

/** Over plain http from another machine a page is given no clipboard. */
function copyWithoutClipboard(text) {
  const before = document.activeElement;
  const area = document.body.appendChild(make("textarea", { value: text, className: "offscreen" }));
  area.select();
  const isDone = document.execCommand("copy");
  area.remove();
  before?.focus();
  if (!isDone) throw new Error("the browser does not let this page copy; download the answer instead");
}

function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
