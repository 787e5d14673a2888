/** The list of the images that were opened together, and which files are images. */

import { byId, make } from "./panel.js";
import { isVideo } from "./video.js";

const rows = new Map(); // of the images

/** Lists images, unless there is only one. `select` is called with the one that the user chooses. */
export function listImages(images, select) {
  rows.clear();
  for (const image of images) {
    const text = make("span", { class: "figure quiet" });
    const button = make("button", { type: "button", title: image.name, onclick: () => select(image) });
    button.append(make("span", { class: "name" }, image.name), text);
    rows.set(image, { item: make("li", {}, button), button, text });
  }
  byId("images").replaceChildren(...[...rows.values()].map(({ item }) => item));
  byId("images-section").hidden = images.length < 2;
  updateList(images, null);
}

/** Shows how far each image is. */
export function updateList(images, shown, isPaused = false) {
  for (const image of images) {
    const { item, button, text } = rows.get(image);
    const isShown = String(image === shown);
    const words = progressText(image);
    // a list may be long: only what has changed is written
    if (item.dataset.progress !== image.progress) item.dataset.progress = image.progress;
    if (text.textContent !== words) text.textContent = words;
    if (button.getAttribute("aria-pressed") === isShown) continue;
    button.setAttribute("aria-pressed", isShown);
    if (image === shown) button.scrollIntoView({ block: "nearest" });
  }
  const done = images.filter(({ progress }) => progress === "done" || progress === "failed").length;
  byId("images-count").textContent = `${done} of ${images.length}`;
  Object.assign(byId("images-progress"), { max: images.length || 1, value: done });
  byId("pause").textContent = isPaused ? "Continue" : "Stop";
  byId("pause").hidden = done === images.length;
}

function progressText({ progress, reply, problem }) {
  if (progress === "failed") return problem.code;
  if (progress !== "done" || !reply) return progress === "running" ? "…" : "waiting";
  const { length } = reply.answer.faces;
  return length === 0 ? "no face" : length === 1 ? "1 face" : `${length} faces`;
}

// ---------------------------------------------------------------- files

/** The name of a file: with its path, where it comes from a folder. */
export const nameOf = (file) => file.webkitRelativePath || file.name;

/** The images among the files of a folder, in the order of their names. */
export function imagesIn(files) {
  const accepted = byId("file").accept.split(",");
  const isImage = ({ name, type }) =>
    type.startsWith("image/") || accepted.some((suffix) => name.toLowerCase().endsWith(suffix));
  const order = new Intl.Collator(undefined, { numeric: true });
  const images = files.filter((file) => isImage(file) && !isVideo(file));
  return images.toSorted((a, b) => order.compare(nameOf(a), nameOf(b)));
}

/** The files that were dropped; of folders, the images in them and below. */
export async function dropped(transfer) {
  // both lists are gone once the event has been handled
  const [files, entries] = [[...transfer.files], [...transfer.items].map((item) => item.webkitGetAsEntry?.())];
  const folders = entries.filter((entry) => entry?.isDirectory);
  if (!folders.length) return files;
  const inside = (await Promise.all(folders.map(filesBelow))).flat();
  const isFolder = (file) => folders.some(({ name }) => name === file.name);
  return [...files.filter((file) => !isFolder(file)), ...imagesIn(inside)];
}

async function filesBelow(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const entries = [];
  // a reader gives its entries in parts, and an empty part at the end
  for (let part = [null]; part.length; entries.push(...part)) {
    part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
  }
  return (await Promise.all(entries.map(filesBelow))).flat();
}
