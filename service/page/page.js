/** Starts the page, and binds its controls to their actions. */

import { captureImage, setLive, startCamera, stopCamera, toggleCamera } from "./capture.js";
import { examples } from "./examples.js";
import { copyCurl, copyJson, saveCsv, saveImage, saveJson, savePng, saveSvg, saveTracks } from "./exports.js";
import { dropped, imagesIn, nameOf } from "./images.js";
import { bindKeys } from "./keys.js";
import { byId } from "./panel.js";
import { showFace, stepFrame, togglePlay } from "./player.js";
import { addBox, client, detect, detectAgain, loadLayout, openImages, removeFace } from "./requests.js";
import { stepImage, togglePause } from "./requests.js";
import { redraw, selectPoint, setDrawing, showOnly, stepFace, stepPoint } from "./stage.js";
import { viewer, zoomToFace, zoomToPoint } from "./stage.js";
import { newImage, show, state } from "./state.js";
import { attempt, hideProblem, setStatus } from "./status.js";
import { closeVideo, openVideo, toggleTracking, trackAgain } from "./tracking.js";
import { isVideo } from "./video.js";

const ZOOM_STEP = 1.25; // of one press of a zoom button

// ---------------------------------------------------------------- images

function openFiles(files) {
  if (!files.length) return;
  stopCamera();
  const video = files.find(isVideo);
  if (video) return openVideo(video, files.length - 1);
  closeVideo();
  viewer.node.focus();
  openImages(files.map((file) => newImage(file, nameOf(file))));
}

function openFolder(files) {
  const images = imagesIn(files);
  if (!images.length) setStatus("The folder holds no images.");
  openFiles(images);
}

async function openExamples() {
  stopCamera();
  await attempt(async () => {
    const images = await examples();
    closeVideo();
    openImages(images);
  }, openExamples);
}

function bindImages() {
  for (const id of ["open", "welcome-open"]) onClick(id, chooseFile);
  for (const id of ["camera", "welcome-camera"]) onClick(id, toggleCamera);
  for (const id of ["examples", "welcome-examples"]) onClick(id, openExamples);
  onClick("open-folder", () => byId("folder").click());
  for (const [id, open] of [["file", openFiles], ["folder", openFolder]]) {
    byId(id).addEventListener("change", ({ target }) => {
      open([...target.files]);
      target.value = ""; // so that the same file can be chosen again
    });
  }
  onClick("pause", togglePause);
  addEventListener("paste", (event) => openFiles([...event.clipboardData.files]));
  const highlight = (isOver) => byId("stage").classList.toggle("dropping", isOver);
  addEventListener("dragover", (event) => (event.preventDefault(), highlight(true)));
  addEventListener("dragleave", (event) => event.relatedTarget === null && highlight(false));
  addEventListener("drop", (event) => {
    event.preventDefault();
    highlight(false);
    attempt(async () => openFiles(await dropped(event.dataTransfer)));
  });
}

const chooseFile = () => byId("file").click();

function bindCamera() {
  onClick("capture", captureImage);
  onClick("live", () => setLive(!state.live));
  onClick("camera-stop", stopCamera);
  byId("cameras").addEventListener("change", ({ target }) => startCamera(target.value));
}

// ---------------------------------------------------------------- videos

function bindVideo() {
  onClick("play", togglePlay);
  onClick("video-pause", toggleTracking);
  onClick("save-tracks", saveTracks);
  onSubmit("part", trackPart);
  viewer.on.find = showFace;
  viewer.on.choose = ({ id }) => (state.video.face = id);
}

function trackPart() {
  const [from, to] = ["from", "to"].map((id) => Number(byId(id).value));
  byId("to").setCustomValidity(from < to ? "" : "The end is after the beginning");
  if (byId("to").reportValidity()) trackAgain(from, to);
}

// ---------------------------------------------------------------- faces and answers

function bindFaces() {
  viewer.on.box = addBox;
  viewer.on.remove = removeFace;
  onClick("draw-box", toggleDrawing);
  onClick("find", detectAgain);
  onSubmit("box-form", addTypedBox);
  onSubmit("options", () => (state.video ? trackAgain() : detect()));
}

const toggleDrawing = () => setDrawing(!viewer.drawing);

function addTypedBox() {
  const field = byId("box");
  const numbers = field.value.split(/[\s,;]+/).filter(Boolean).map(Number);
  const isBox = numbers.length === 4 && numbers.every(Number.isFinite);
  field.setCustomValidity(isBox ? "" : "Four numbers: x1, y1, x2, y2");
  if (field.reportValidity()) addBox(numbers);
}

function bindAnswer() {
  onClick("copy", copyJson);
  for (const [id, save] of Object.entries({ json: saveJson, csv: saveCsv, png: savePng, svg: saveSvg })) {
    onClick(`save-${id}`, save);
  }
  onClick("copy-curl", copyCurl);
  onClick("save", saveImage);
  onClick("dismiss", hideProblem);
  onClick("again", retry);
  onSubmit("key-form", () => {
    client.key = byId("key").value;
    retry();
  });
}

function retry() {
  hideProblem();
  viewer.node.focus();
  state.retry?.();
}

// ---------------------------------------------------------------- what is drawn

function bindDisplay() {
  for (const button of partButtons()) button.addEventListener("click", () => togglePart(button));
  byId("confidence").addEventListener("change", ({ target }) => setConfidence(target));
  onClick("all-groups", () => showOnly(Object.keys(state.layout.groups)));
  onClick("no-groups", () => showOnly([]));
  onClick("zoom-in", () => viewer.zoom(ZOOM_STEP));
  onClick("zoom-out", () => viewer.zoom(1 / ZOOM_STEP));
  onClick("fit", () => viewer.fit());
  onClick("fit-face", () => zoomToFace());
  onClick("help", () => byId("keys").showModal());
}

const partButtons = () => [...document.querySelectorAll("[data-part]")];

function togglePart(button) {
  const isOn = !show.parts.delete(button.dataset.part);
  if (isOn) show.parts.add(button.dataset.part);
  button.setAttribute("aria-pressed", String(isOn));
  redraw();
}

function setConfidence(choice) {
  choice.checked = true;
  show.confidence = Number(choice.value);
  redraw();
}

function nextConfidence() {
  const all = [...document.querySelectorAll("[name=confidence]")];
  setConfidence(all[(all.findIndex(({ checked }) => checked) + 1) % all.length]);
}

// ---------------------------------------------------------------- keys

const actions = {
  o: chooseFile,
  c: toggleCamera,
  j: copyJson,
  "+": () => viewer.zoomAtCursor(ZOOM_STEP),
  "=": () => viewer.zoomAtCursor(ZOOM_STEP),
  "-": () => viewer.zoomAtCursor(1 / ZOOM_STEP),
  0: () => viewer.fit(),
  1: () => viewer.oneToOne(),
  f: () => zoomToFace(),
  n: () => stepPoint(1),
  p: () => stepPoint(-1),
  "]": () => stepFace(1),
  "[": () => stepFace(-1),
  ".": () => step(1),
  ",": () => step(-1),
  get " "() {
    return state.video && togglePlay; // otherwise the key is the browser's
  },
  b: toggleDrawing,
  i: () => togglePart(partButtons().find(({ dataset }) => dataset.part === "numbers")),
  e: nextConfidence,
  "?": () => byId("keys").showModal(),
  escape: cancel,
};

const step = (by) => (state.video ? stepFrame(by) : stepImage(by));

function cancel() {
  if (viewer.drawing) setDrawing(false);
  else if (state.live) setLive(false);
  else selectPoint(null);
}

// ---------------------------------------------------------------- start

const onClick = (id, action) => byId(id).addEventListener("click", () => action());

function onSubmit(id, action) {
  byId(id).addEventListener("submit", (event) => {
    event.preventDefault();
    action();
  });
}

async function start() {
  await attempt(async () => {
    await loadLayout();
    if (!state.file) setStatus("Ready.");
  }, start);
}

for (const bind of [bindImages, bindCamera, bindVideo, bindFaces, bindAnswer, bindDisplay]) bind();
bindKeys(viewer, actions, () => state.point !== null && zoomToPoint(state.point));
start();
