/** Sends images and boxes to the service, and shows its answers. At most one request is in flight at any time. */

import { Client } from "./client.js";
import { byId, make } from "./panel.js";
import { refresh, setDrawing, setLayout, viewer } from "./stage.js";
import { faces, options, state } from "./state.js";
import { attempt, hideProblem, setStatus } from "./status.js";

export const client = new Client();
let layoutPromise = null;
let opened = 0; // images so far: a slow file does not replace one that was opened after it

/** Loads the layout, without which nothing can be drawn: once, and again after a failure. Throws Problem. */
export function loadLayout() {
  layoutPromise ??= client.layout().then(setLayout).catch((error) => {
    layoutPromise = null;
    throw error;
  });
  return layoutPromise;
}

/** The answer for the image file, or null when a newer request has replaced this one. Throws Problem. */
export async function requestLandmarks(blob) {
  state.request?.abort();
  const request = new AbortController();
  state.request = request;
  byId("busy").hidden = state.live;
  try {
    await loadLayout();
    return await client.landmarks(blob, options(), request.signal);
  } catch (error) {
    if (error.name === "AbortError") return null;
    throw error;
  } finally {
    if (state.request === request) {
      state.request = null;
      byId("busy").hidden = true;
    }
  }
}

/** Shows a new image at once, and its points once they are there. `isFrame`: it comes from the camera. */
export async function openImage(blob, name, isFrame = false) {
  await attempt(async () => {
    state.request?.abort();
    hideProblem();
    const turn = ++opened;
    const bitmap = await createImageBitmap(blob).catch(() => null);
    if (turn !== opened) return bitmap?.close();
    Object.assign(state, { reply: null, boxes: [], face: 0, point: null, hovered: null });
    byId("notice").hidden = true;
    display(blob, name, bitmap, isFrame);
    viewer.fit();
    refresh();
    await detect();
  });
}

/** Requests the landmarks of the image that is shown. */
export async function detect() {
  if (!state.file) return;
  await attempt(async () => {
    hideProblem();
    setStatus(state.boxes.length ? "Locating the points in the boxes …" : "Detecting faces …");
    const reply = await requestLandmarks(state.file.blob);
    if (!reply) return;
    showAnswer(reply);
    setStatus(summary(reply.answer));
  }, detect);
}

export function display(blob, name, bitmap, isFrame) {
  const { width, height } = bitmap ?? viewer.view.image;
  state.file = { blob, name, width, height, isFrame, isDecoded: bitmap !== null };
  viewer.show(bitmap, width, height);
}

export function showAnswer(reply) {
  state.reply = reply;
  state.face = Math.min(state.face, Math.max(faces().length - 1, 0));
  const { image, warnings } = reply.answer;
  if (!state.file.isDecoded) viewer.show(null, image.width, image.height);
  showWarnings([...sizeWarnings(image), ...warnings.map(({ message }) => message)]);
  hideProblem();
  refresh();
}

function summary({ faces: found, timings_ms: { total } }) {
  if (!found.length) return "No face was found.";
  return `${found.length} ${found.length === 1 ? "face" : "faces"} in ${total.toFixed(0)} ms.`;
}

/** Points are in pixels of the image as the service decodes it: warnings when this browser decodes it differently. */
function sizeWarnings({ width, height }) {
  const { file } = state;
  if (!file.isDecoded) return ["The service can read this file, but this browser cannot show it"];
  if (file.width === width && file.height === height) return [];
  const sizes = `The service reads ${width} × ${height} pixels, this browser shows ${file.width} × ${file.height}`;
  return [`${sizes}: the points may be in the wrong place`];
}

function showWarnings(texts) {
  byId("notice").replaceChildren(...texts.map((text) => make("p", {}, text)));
  byId("notice").hidden = texts.length === 0;
}

// ---------------------------------------------------------------- boxes

/** Adds a face. The faces that are already there keep their boxes. */
export function addBox(box) {
  if (state.live || !state.file) return;
  state.boxes = [...faces().map((face) => face.box), box.map((v) => Math.round(v * 100) / 100)];
  state.face = state.boxes.length - 1;
  state.point = null;
  setDrawing(false);
  detect();
}

export function removeFace(index) {
  state.boxes = faces().map(({ box }) => box).filter((_, i) => i !== index);
  Object.assign(state, { face: 0, point: null, hovered: null });
  if (state.boxes.length) return detect();
  state.reply = null;
  refresh();
  setStatus("All faces were removed.");
}

/** Discards the boxes, and lets the service detect the faces again. */
export function detectAgain() {
  Object.assign(state, { boxes: [], face: 0, point: null });
  detect();
}
