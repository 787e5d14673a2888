/** Starts the page, and ties its controls to what they do. */

import { addBox, client, find, findAgain, learnLayout, open, removeFace } from "./asking.js";
import { setLive, shoot, startCamera, stopCamera, toggleCamera } from "./capture.js";
import { bindKeys } from "./keys.js";
import { attempt, hideProblem, say } from "./notices.js";
import { byId } from "./panel.js";
import { copyCurl, copyJson, saveJson, savePicture } from "./saving.js";
import { choosePoint, redraw, setDrawing, showOnly, step, turn, viewer, zoomToFace, zoomToPoint } from "./stage.js";
import { show, state } from "./state.js";

const STEP = 1.25; // of one press of a zoom button

// ---------------------------------------------------------------- pictures

function openFirst(files) {
  if (!files.length) return;
  stopCamera();
  viewer.node.focus();
  open(files[0], files[0].name);
}

async function openPortrait() {
  stopCamera();
  await attempt(async () => open(await client.portrait(), "portrait.png"), openPortrait);
}

function bindPictures() {
  for (const id of ["open", "welcome-open"]) onClick(id, choosePicture);
  for (const id of ["camera", "welcome-camera"]) onClick(id, toggleCamera);
  for (const id of ["portrait", "welcome-portrait"]) onClick(id, openPortrait);
  byId("file").addEventListener("change", ({ target }) => {
    openFirst([...target.files]);
    target.value = ""; // so that the same file can be chosen again
  });
  addEventListener("paste", (event) => openFirst(event.clipboardData.files));
  const mark = (isOver) => byId("stage").classList.toggle("dropping", isOver);
  addEventListener("dragover", (event) => (event.preventDefault(), mark(true)));
  addEventListener("dragleave", (event) => event.relatedTarget === null && mark(false));
  addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    openFirst(event.dataTransfer.files);
  });
}

const choosePicture = () => byId("file").click();

function bindCamera() {
  onClick("shoot", shoot);
  onClick("live", () => setLive(!state.live));
  onClick("camera-stop", stopCamera);
  byId("cameras").addEventListener("change", ({ target }) => startCamera(target.value));
}

// ---------------------------------------------------------------- faces and answers

function bindFaces() {
  viewer.on.box = addBox;
  viewer.on.remove = removeFace;
  onClick("draw-box", toggleDrawing);
  onClick("find", findAgain);
  onSubmit("box-form", boxByNumbers);
  onSubmit("options", find);
}

const toggleDrawing = () => setDrawing(!viewer.drawing);

function boxByNumbers() {
  const field = byId("box");
  const numbers = field.value.split(/[\s,;]+/).filter(Boolean).map(Number);
  const isBox = numbers.length === 4 && numbers.every(Number.isFinite);
  field.setCustomValidity(isBox ? "" : "Four numbers: x1, y1, x2, y2");
  if (field.reportValidity()) addBox(numbers);
}

function bindAnswer() {
  onClick("copy", copyJson);
  onClick("download", saveJson);
  onClick("copy-curl", copyCurl);
  onClick("save", savePicture);
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

// ---------------------------------------------------------------- what is shown

function bindShown() {
  for (const button of partButtons()) button.addEventListener("click", () => togglePart(button));
  byId("confidence").addEventListener("change", ({ target }) => setConfidence(target));
  onClick("all-groups", () => showOnly(Object.keys(state.layout.groups)));
  onClick("no-groups", () => showOnly([]));
  onClick("zoom-in", () => viewer.zoom(STEP));
  onClick("zoom-out", () => viewer.zoom(1 / STEP));
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
  o: choosePicture,
  c: toggleCamera,
  j: copyJson,
  "+": () => viewer.zoomAtCursor(STEP),
  "=": () => viewer.zoomAtCursor(STEP),
  "-": () => viewer.zoomAtCursor(1 / STEP),
  0: () => viewer.fit(),
  1: () => viewer.oneToOne(),
  f: () => zoomToFace(),
  n: () => step(1),
  p: () => step(-1),
  "]": () => turn(1),
  "[": () => turn(-1),
  b: toggleDrawing,
  i: () => togglePart(partButtons().find(({ dataset }) => dataset.part === "numbers")),
  e: nextConfidence,
  "?": () => byId("keys").showModal(),
  escape: letGo,
};

function letGo() {
  if (viewer.drawing) setDrawing(false);
  else if (state.live) setLive(false);
  else choosePoint(null);
}

// ---------------------------------------------------------------- start

const onClick = (id, work) => byId(id).addEventListener("click", () => work());

function onSubmit(id, work) {
  byId(id).addEventListener("submit", (event) => {
    event.preventDefault();
    work();
  });
}

async function start() {
  await attempt(async () => {
    await learnLayout();
    if (!state.file) say("Ready.");
  }, start);
}

for (const bind of [bindPictures, bindCamera, bindFaces, bindAnswer, bindShown]) bind();
bindKeys(viewer, actions, () => state.point !== null && zoomToPoint(state.point));
start();
