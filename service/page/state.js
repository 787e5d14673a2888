/** The state of the page: one object, changed by the user's actions and by answers. */

import { byId } from "./panel.js";

export const show = { groups: new Set(), parts: new Set(["points", "outlines", "boxes"]), confidence: 0.9 };

export const state = {
  layout: null, // names, groups and outlines of the points, from the service
  images: [], // that were opened together, made by newImage
  video: null, // that is open, made by tracking.js
  file: null, // the image that is shown: one of them, or a frame of the camera or of the video
  face: 0, // selected
  point: null, // selected
  hovered: null, // {face, point} under the cursor
  capturing: false, // the camera is on
  live: false,
  request: null, // AbortController of the request in flight
  retry: null, // the action of "Try again"
};

/** `isFrame`: it comes from the camera or from a video, of which the blob is not kept. */
export const newImage = (blob, name, isFrame = false) => ({
  ...{ blob, name, isFrame },
  width: 0,
  height: 0,
  isDecoded: false, // this browser can show it
  boxes: [], // given by the user; without any, the service detects faces
  progress: "waiting", // then "running", then "done" or "failed"
  reply: null, // {text, answer, milliseconds}
  problem: null, // of the last request
});

export const faces = () => state.file?.reply?.answer.faces ?? [];
export const selectedFace = () => faces()[state.face] ?? null;
/** The options of a request for this image. */
export const optionsFor = ({ boxes }) => ({
  boxes,
  topk: byId("topk").value,
  maxFaces: byId("max-faces").value,
  refine: byId("refine").value,
});
