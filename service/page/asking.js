/** Pictures and boxes go to the service, answers come back. At most one request is under way at any time. */

import { Client } from "./client.js";
import { attempt, hideProblem, say } from "./notices.js";
import { byId } from "./panel.js";
import { refresh, setDrawing, viewer } from "./stage.js";
import { faces, options, state } from "./state.js";

export const client = new Client();

/** The file's faces, or null when a newer request took its place. Raises Problem. */
export async function ask(blob) {
  state.asked?.abort();
  const asked = new AbortController();
  state.asked = asked;
  byId("busy").hidden = state.live;
  try {
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
  checkSize(reply.answer.image);
  hideProblem();
  refresh();
}

function summary({ faces: found, timings_ms: { total } }) {
  if (!found.length) return "No face was found. Draw a box around one to measure it.";
  return `${found.length} ${found.length === 1 ? "face" : "faces"} in ${total.toFixed(0)} ms.`;
}

/** Points are counted in the service's picture: says so when this browser shows another, or none. */
function checkSize({ width, height }) {
  const { file } = state;
  let text = "";
  if (!file.isShown) {
    text = "The service reads this kind of file, this browser does not show it: the points stand on a plain ground.";
    viewer.show(null, width, height);
  } else if (file.width !== width || file.height !== height) {
    const sizes = `The service reads ${width} × ${height} pixels, this browser shows ${file.width} × ${file.height}`;
    text = `${sizes}: the points may lie beside the picture.`;
  }
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
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
