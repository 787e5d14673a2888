/** Copies the answer to the clipboard, or saves it as a file. */

import { curl } from "./client.js";
import { csvOf } from "./csv.js";
import { make } from "./panel.js";
import { pngFile, svgFile } from "./picture.js";
import { client } from "./requests.js";
import { viewer } from "./stage.js";
import { faces, optionsFor, show, state } from "./state.js";
import { attempt, setStatus } from "./status.js";

/** The JSON exactly as the service sent it. */
export const copyJson = () => state.file?.reply && copy(state.file.reply.text, "JSON");
export const copyCurl = () => copy(curl(state.file.name, optionsFor(state.file), client.key !== ""), "curl command");
export const saveImage = () => save(state.file.blob, state.file.name);

export const saveJson = () => saveText(state.file.reply.text, "application/json", `${stem()}.landmarks.json`);

/** The answers to all images of the list, or to the one that is shown. */
export function saveCsv() {
  const images = state.images.includes(state.file) ? state.images : [state.file];
  const answers = images.filter(({ reply }) => reply).map(({ name, reply: { answer } }) => ({ name, answer }));
  saveText(csvOf(answers), "text/csv", images.length > 1 ? "landmarks.csv" : `${stem()}.landmarks.csv`);
}

/** The answers to all frames of the video. */
export function saveTracks() {
  const { name, source, tracks } = state.video;
  const blob = new Blob(tracks.json({ name, ...source.size, duration: source.duration }), { type: "application/json" });
  save(blob, `${name.replace(/\.[^.]*$/, "")}.landmarks.json`);
}

export const savePng = () => attempt(async () => save(await pngFile(...picture()), `${stem()}.landmarks.png`));
export const saveSvg = () => attempt(async () => save(await svgFile(...picture()), `${stem()}.landmarks.svg`));

/** The image that is shown and its drawing, for `picture.js`. */
function picture() {
  const { blob, reply } = state.file;
  const { width, height } = reply.answer.image;
  return [{ bitmap: viewer.bitmap, type: blob?.type, width, height }, [state.layout, faces(), state.face, show]];
}

/** The name of the image's file, without its folders and suffix. */
const stem = () => state.file.name.replace(/^.*\//, "").replace(/\.[^.]*$/, "");
const saveText = (text, type, name) => save(new Blob([text], { type }), name);

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
