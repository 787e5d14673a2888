/** The camera's controls: a preview, single images, and live detection. */

import { Camera } from "./camera.js";
import { Problem } from "./client.js";
import { byId, make } from "./panel.js";
import { display, openImages, proceed, requestLandmarks, showAnswer } from "./requests.js";
import { refresh } from "./stage.js";
import { newImage, state } from "./state.js";
import { attempt, hideProblem, setStatus } from "./status.js";
import { closeVideo } from "./tracking.js";

const camera = new Camera(byId("video"), () => stopCamera());

export const toggleCamera = () => (camera.stream ? stopCamera() : startCamera());

export async function startCamera(deviceId) {
  const work = async () => {
    hideProblem();
    await camera.start(deviceId);
    closeVideo();
    showCamera();
    await listCameras();
    setStatus("The camera is on.");
    byId("capture").focus();
  };
  await attempt(work, () => startCamera(deviceId));
}

export function stopCamera() {
  if (!camera.stream) return;
  setLive(false);
  camera.stop();
  showCamera();
  setStatus("The camera is off.");
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

/** Captures one image, losslessly, and turns the camera off. */
export async function captureImage() {
  const work = async () => {
    setLive(false);
    const { bitmap, file } = await camera.frame("image/png");
    bitmap.close();
    stopCamera();
    openImages([newImage(file, "camera.png", true)]);
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
  if (!on) {
    showCamera();
    return proceed();
  }
  hideProblem();
  state.point = null;
  setStatus("Live detection is on.");
  attempt(live, () => setLive(true)).finally(() => setLive(false));
}

/** Sends one frame after the other, each only once the previous one has been answered. */
async function live() {
  let rate = 0;
  while (state.live) {
    await whileHidden();
    const start = performance.now();
    const { bitmap, file } = await camera.frame("image/jpeg");
    const image = newImage(file, "camera.jpg", true);
    const reply = await waitIfBusy(() => requestLandmarks(image));
    if (!state.live || !reply) {
      bitmap.close();
      continue;
    }
    display(Object.assign(image, { reply, progress: "done" }), bitmap);
    byId("video").hidden = true;
    showAnswer();
    const now = 1000 / (performance.now() - start);
    rate = rate ? rate * 0.8 + now * 0.2 : now;
    byId("rate").textContent = `${rate.toFixed(1)} per second`;
  }
}

/** The result of `request`. When the service asks to retry later, waits for that long and returns null. */
async function waitIfBusy(request) {
  try {
    return await request();
  } catch (error) {
    if (!(error instanceof Problem) || error.retryAfter === null) throw error;
    byId("rate").textContent = `${error.title}; waiting`;
    await new Promise((resolve) => setTimeout(resolve, error.retryAfter * 1000));
    return null;
  }
}

/** Waits while the page is hidden, so that it sends no requests then. */
function whileHidden() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}
