/** What the page knows. One object, changed by what people do and by answers. */

import { byId } from "./panel.js";

export const show = { groups: new Set(), parts: new Set(["points", "outlines", "boxes"]), confidence: 0.9 };

export const state = {
  layout: null, // names, groups and outlines of the points, from the service
  file: null, // {blob, name, width, height, isShown, isFrame} of the picture
  boxes: [], // given by hand; none: the service looks for faces
  reply: null, // {text, answer, milliseconds}
  face: 0,
  point: null, // chosen
  hovered: null, // {face, point} under the cursor
  capturing: false, // the camera is on
  live: false,
  asked: null, // AbortController of the request under way
  retry: null, // what "Try again" does
};

export const faces = () => state.reply?.answer.faces ?? [];
export const chosenFace = () => faces()[state.face] ?? null;
export const options = () => ({ boxes: state.boxes, topk: byId("topk").value, maxFaces: byId("max-faces").value });
