/** Pictures and boxes go to the service, answers come back. At most one request is under way at any time. */

import { Client } from "./client.js";
import { attempt, hideProblem, say } from "./notices.js";
import { byId, make } from "./panel.js";
import { refresh, setDrawing, setLayout, viewer } from "./stage.js";
import { faces, options, state } from "./state.js";

export const client = new Client();
let learning = null; // the promise of the layout

/** Asks for the layout, without which nothing can be drawn: once, and anew after a failure. Raises Problem. */
export function learnLayout() {
  learning ??= client.layout().then(setLayout).catch((error) => {
    learning = null;
    throw error;
  });
  return learning;
}

/** The file's faces, or null when a newer request took its place. Raises Problem. */
export async function ask(blob) {
  state.asked?.abort();
  const asked = new AbortController();
  state.asked = asked;
  byId("busy").hidden = state.live;
  try {
    await learnLayout();
    return await client.landmarks(blob, options(), asked.signal);
  } catch (error) {
    if (error.name === "AbortError") return null;
    throw error;
  } finally {
    if (state.asked === asked) {
      state.asked = null;
      byId("busy").hidden = true;
    }
  }
}

/** A new picture: shown at once, with its points when they come. `isFrame`: it is of the camera, not of a file. */
export async function open(blob, name, isFrame = false) {
  await attempt(async () => {
    state.asked?.abort();
    const picture = await createImageBitmap(blob).catch(() => null);
    Object.assign(state, { reply: null, boxes: [], face: 0, point: null, hovered: null });
    byId("notice").hidden = true;
    display(blob, name, picture, isFrame);
    viewer.fit();
    refresh();
    await find();
  });
}

/** Asks about the picture that is shown. */
export async function find() {
  if (!state.file) return;
  await attempt(async () => {
    say(state.boxes.length ? "Measuring the boxes …" : "Looking for faces …");
    const reply = await ask(state.file.blob);
    if (!reply) return;
    present(reply);
    say(summary(reply.answer));
  }, find);
}

export function display(blob, name, picture, isFrame) {
  const { width, height } = picture ?? viewer.view.picture;
  state.file = { blob, name, width, height, isFrame, isShown: picture !== null };
  viewer.show(picture, width, height);
}

export function present(reply) {
  state.reply = reply;
  state.face = Math.min(state.face, Math.max(faces().length - 1, 0));
  const { image, warnings } = reply.answer;
  if (!state.file.isShown) viewer.show(null, image.width, image.height);
  showRemarks([...fitting(image), ...warnings.map(({ message }) => message)]);
  hideProblem();
  refresh();
}

function summary({ faces: found, timings_ms: { total } }) {
  if (!found.length) return "No face was found. Draw a box around one to measure it.";
  return `${found.length} ${found.length === 1 ? "face" : "faces"} in ${total.toFixed(0)} ms.`;
}

/** Points are counted in the service's picture: what there is to say when this browser shows another, or none. */
function fitting({ width, height }) {
  const { file } = state;
  const unshown = "The service reads this kind of file, this browser does not show it";
  if (!file.isShown) return [`${unshown}: the points stand on a plain ground`];
  if (file.width === width && file.height === height) return [];
  const sizes = `The service reads ${width} × ${height} pixels, this browser shows ${file.width} × ${file.height}`;
  return [`${sizes}: the points may lie beside the picture`];
}

function showRemarks(texts) {
  byId("notice").replaceChildren(...texts.map((text) => make("p", {}, text)));
  byId("notice").hidden = texts.length === 0;
}

// ---------------------------------------------------------------- boxes

/** One more face: those already there keep their boxes. */
export function addBox(box) {
  if (state.live || !state.file) return;
  state.boxes = [...faces().map((face) => face.box), box.map((v) => Math.round(v * 100) / 100)];
  state.face = state.boxes.length - 1;
  state.point = null;
  setDrawing(false);
  find();
}

export function removeFace(index) {
  state.boxes = faces().map(({ box }) => box).filter((_, i) => i !== index);
  Object.assign(state, { face: 0, point: null, hovered: null });
  if (state.boxes.length) return find();
  state.reply = null;
  refresh();
  say("No box is left.");
}

/** The service looks for the faces itself again. */
export function findAgain() {
  Object.assign(state, { boxes: [], face: 0, point: null });
  find();
}
