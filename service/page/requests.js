/** Sends images and boxes to the service, and shows its answers. At most one request is in flight at any time. */

import { Client } from "./client.js";
import { listImages, updateList } from "./images.js";
import { byId, make } from "./panel.js";
import { refresh, setDrawing, setLayout, viewer } from "./stage.js";
import { faces, optionsFor, state } from "./state.js";
import { asProblem, hideProblem, setStatus, showProblem } from "./status.js";

export const client = new Client();
let layoutPromise = null;
let turns = 0; // images shown so far: one that is slow to decode does not replace a later one
let isWorking = false;
let isPaused = false;

/** Loads the layout, without which nothing can be drawn: once, and again after a failure. Throws Problem. */
export function loadLayout() {
  layoutPromise ??= client.layout().then(setLayout).catch((error) => {
    layoutPromise = null;
    throw error;
  });
  return layoutPromise;
}

/** The answer for the image, or null when a newer request has replaced this one. Throws Problem. */
export async function requestLandmarks(image) {
  state.request?.abort();
  const request = new AbortController();
  state.request = request;
  byId("busy").hidden = state.live;
  try {
    await loadLayout();
    return await client.landmarks(image.blob, optionsFor(image), request.signal);
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

// ---------------------------------------------------------------- images

/** Opens images in place of those before: shows the first at once, and requests the points of all, one by one. */
export function openImages(images) {
  if (!images.length) return;
  closeImages();
  isPaused = false;
  state.images = images;
  listImages(images, showImage);
  showImage(images[0]);
  work();
}

/** Ends the work on the images that are open. */
export function closeImages() {
  for (const before of [state.file, ...state.images]) if (before) before.progress = "done";
  state.request?.abort();
  state.images = [];
  listImages([]);
  showWarnings([]);
  turns++;
}

/** Shows an image, with its points once they are there. */
export async function showImage(image) {
  hideProblem();
  const turn = ++turns;
  const bitmap = await createImageBitmap(image.blob).catch(() => null);
  if (turn !== turns) return bitmap?.close();
  Object.assign(state, { face: 0, point: null, hovered: null });
  display(image, bitmap);
  viewer.fit();
  updateList(state.images, image, isPaused);
  if (image.reply) showAnswer();
  else {
    showWarnings([]);
    refresh();
  }
  if (image.problem) showProblem(image.problem, detect);
  // the work may have met a problem while the image was decoded: its status stays
  else if (byId("problem").hidden) setStatus(statusOf(image));
}

/** Shows the next (1) or previous (-1) image of the list. */
export function stepImage(by) {
  const { images } = state;
  if (images.length > 1) showImage(images[(images.indexOf(state.file) + by + images.length) % images.length]);
}

export function display(image, bitmap) {
  const { width, height } = bitmap ?? viewer.view.image;
  state.file = Object.assign(image, { width, height, isDecoded: bitmap !== null });
  viewer.show(bitmap, width, height);
}

// ---------------------------------------------------------------- the work on them

/** Requests the landmarks of the image that is shown, again. */
export function detect() {
  const { file } = state;
  if (!file) return;
  hideProblem();
  file.progress = "waiting";
  state.request?.abort();
  proceed();
}

export function pause() {
  isPaused = true;
  state.request?.abort();
  updateList(state.images, state.file, isPaused);
}

/** Works on, after a pause or a problem. */
export function proceed() {
  isPaused = false;
  work();
}

export const togglePause = () => (isPaused ? proceed() : pause());

async function work() {
  if (isWorking) return;
  isWorking = true;
  for (let image = nextImage(); image; image = nextImage()) await locate(image);
  isWorking = false;
  updateList(state.images, state.file, isPaused);
}

/** The image whose turn it is: the one that is shown, then the others in their order; null when there is none. */
function nextImage() {
  if (isPaused || state.live) return null;
  return [state.file, ...state.images].find((image) => image?.progress === "waiting") ?? null;
}

async function locate(image) {
  moveOn(image, "running");
  try {
    const reply = await requestLandmarks(image);
    if (reply) {
      Object.assign(image, { reply, problem: null });
      moveOn(image, "done");
      if (image === state.file) showAnswer();
    } else if (image.progress === "running") moveOn(image, "waiting"); // another image was more urgent
  } catch (error) {
    await fail(image, asProblem(error));
  }
}

function moveOn(image, progress) {
  image.progress = progress;
  updateList(state.images, state.file, isPaused);
  if (image === state.file) setStatus(statusOf(image));
}

/** A problem of the service as a whole stops the work; one with an image concerns that image alone. */
async function fail(image, problem) {
  if (problem.status === 429 && state.images.length > 1) return waitForSlot(image, problem);
  const stops = [0, 401, 502, 503].includes(problem.status);
  isPaused = stops;
  image.problem = stops ? null : problem;
  moveOn(image, stops ? "waiting" : "failed");
  if (stops) showProblem(problem, proceed);
  else if (image === state.file) showProblem(problem, detect);
}

/** The service is busy with the requests of others, and has said when to ask again. */
async function waitForSlot(image, { title, retryAfter }) {
  setStatus(`${title}; waiting.`);
  await new Promise((resolve) => setTimeout(resolve, (retryAfter ?? 1) * 1000));
  moveOn(image, "waiting");
}

/** The answer of the image that is shown. */
export function showAnswer() {
  state.face = Math.min(state.face, Math.max(faces().length - 1, 0));
  const { image, warnings } = state.file.reply.answer;
  if (!state.file.isDecoded) viewer.show(null, image.width, image.height);
  showWarnings([...sizeWarnings(image), ...warnings.map(({ message }) => message)]);
  hideProblem();
  refresh();
}

function statusOf({ progress, boxes, reply, problem }) {
  if (progress === "running") return boxes.length ? "Locating the points in the boxes …" : "Detecting faces …";
  if (problem) return `${problem.title}.`;
  if (progress === "waiting" || !reply) return "Waiting.";
  const { faces: found, timings_ms: { total } } = reply.answer;
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
  state.file.boxes = [...faces().map((face) => face.box), box.map((v) => Math.round(v * 100) / 100)];
  state.face = state.file.boxes.length - 1;
  state.point = null;
  setDrawing(false);
  detect();
}

export function removeFace(index) {
  const { file } = state;
  file.boxes = faces().map(({ box }) => box).filter((_, i) => i !== index);
  Object.assign(state, { face: 0, point: null, hovered: null });
  if (file.boxes.length) return detect();
  file.reply = null;
  refresh();
  setStatus("All faces were removed.");
}

/** Discards the boxes, and lets the service detect the faces again. */
export function detectAgain() {
  state.file.boxes = [];
  Object.assign(state, { face: 0, point: null });
  detect();
}
