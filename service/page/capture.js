/** The camera's controls: a preview, single pictures, and live. */

import { ask, display, open, present } from "./asking.js";
import { Camera } from "./camera.js";
import { Problem } from "./client.js";
import { attempt, hideProblem, say } from "./notices.js";
import { byId, make } from "./panel.js";
import { refresh } from "./stage.js";
import { state } from "./state.js";

const camera = new Camera(byId("video"), () => stopCamera());

export const toggleCamera = () => (camera.stream ? stopCamera() : startCamera());

export async function startCamera(deviceId) {
  const work = async () => {
    await camera.start(deviceId);
    hideProblem();
    showCamera();
    await listCameras();
    say("The camera is on.");
    byId("shoot").focus();
  };
  await attempt(work, () => startCamera(deviceId));
}

export function stopCamera() {
  if (!camera.stream) return;
  setLive(false);
  camera.stop();
  showCamera();
  say("The camera is off.");
}

function showCamera() {
  const isOn = camera.stream !== null;
  state.capturing = isOn;
  byId("video").hidden = !isOn || state.live;
  byId("camera-bar").hidden = !isOn;
  byId("camera").setAttribute("aria-pressed", String(isOn));
  refresh();
}

async function listCameras() {
  const cameras = await camera.list();
  const named = cameras.map(({ deviceId, label }, i) => [deviceId, label || `Camera ${i + 1}`]);
  byId("cameras").replaceChildren(...named.map(([value, label]) => make("option", { value }, label)));
  byId("cameras").value = camera.deviceId;
  byId("cameras").hidden = cameras.length < 2;
}

/** One picture, without loss; the camera goes off. */
export async function shoot() {
  const work = async () => {
    setLive(false);
    const { picture, file } = await camera.frame("image/png");
    picture.close();
    stopCamera();
    await open(file, "camera.png", true);
  };
  await attempt(work);
}

// ---------------------------------------------------------------- live

export function setLive(on) {
  if (on === state.live || (on && !camera.stream)) return;
  state.live = on;
  byId("live").setAttribute("aria-pressed", String(on));
  byId("rate").textContent = "";
  refresh();
  if (!on) return showCamera();
  Object.assign(state, { boxes: [], point: null });
  say("Live: every picture shown is the one that was measured.");
  attempt(live, () => setLive(true)).finally(() => setLive(false));
}

/** One frame after the other, each asked about only when the answer to the one before is there. */
async function live() {
  let rate = 0;
  while (state.live) {
    await isVisible();
    const start = performance.now();
    const { picture, file } = await camera.frame("image/jpeg");
    const reply = await patiently(() => ask(file));
    if (!state.live || !reply) {
      picture.close();
      continue;
    }
    display(file, "camera.jpg", picture, true);
    byId("video").hidden = true;
    present(reply);
    const now = 1000 / (performance.now() - start);
    rate = rate ? rate * 0.8 + now * 0.2 : now;
    byId("rate").textContent = `${rate.toFixed(1)} per second`;
  }
}

/** Waits as long as the service asks when it has no room now, and gives null then. */
async function patiently(work) {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof Problem) || error.retryAfter === null) throw error;
    byId("rate").textContent = `${error.title}; waiting`;
    await new Promise((resolve) => setTimeout(resolve, error.retryAfter * 1000));
    return null;
  }
}

/** A page that nobody sees does not ask. */
function isVisible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}
