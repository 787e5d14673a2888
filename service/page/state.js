/** The state of the page: one object, changed by the user's actions and by answers. */

import { byId } from "./panel.js";

export const show = { groups: new Set(), parts: new Set(["points", "outlines", "boxes"]), confidence: 0.9 };

export const state = {
  layout: null, // names, groups and outlines of the points, from the service
  file: null, // {blob, name, width, height, isDecoded, isFrame} of the image; isDecoded: this browser can show it
  boxes: [], // given by the user; without any, the service detects faces
  reply: null, // {text, answer, milliseconds}
  face: 0, // selected
  point: null, // selected
  hovered: null, // {face, point} under the cursor
  capturing: false, // the camera is on
  live: false,
  request: null, // AbortController of the request in flight
  retry: null, // the action of "Try again"
};

export const faces = () => state.reply?.answer.faces ?? [];
export const selectedFace = () => faces()[state.face] ?? null;
export const options = () => ({ boxes: state.boxes, topk: byId("topk").value, maxFaces: byId("max-faces").value });
