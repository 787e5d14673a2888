/** Shows the frames of the video that is open, each with its own points: one at a time, or playing. */

import { byId } from "./panel.js";
import { refresh, viewer } from "./stage.js";
import { faces, newImage, state } from "./state.js";
import { attempt } from "./status.js";
import { Timeline } from "./timeline.js";

export const timeline = new Timeline();

/** Shows the picture of a frame with its points; of one that has no answer yet, the picture. */
export function present(index, bitmap) {
  const { video } = state;
  const frame = video.tracks.frames[index];
  Object.assign(video, { shown: index, wanted: index });
  state.file = Object.assign(newImage(null, nameOf(video.name, index), true), {
    ...video.source.size,
    ...{ isDecoded: true, progress: "done", problem: frame?.problem ?? null },
    reply: frame ? video.tracks.reply(index) : null,
  });
  state.face = faces().findIndex(({ id }) => id === video.face);
  state.hovered = null;
  viewer.show(bitmap, state.file.width, state.file.height);
  refresh();
  if (frame) timeline.move(index, video.tracks.frames.length, frame.time, video.face);
}

/** The name of a frame's files: that of the video, with the frame's number before the suffix. */
const nameOf = (name, index) =>
  name.replace(/(\.[^.]*)?$/, (suffix) => `.${String(index + 1).padStart(4, "0")}${suffix}`);

/** Shows the frame with an index. While one is being decoded, only the last that was asked for follows it. */
export function showFrame(index) {
  const { video } = state;
  const { tracks, screen } = video;
  if (!tracks.frames.length) return;
  screen.pause();
  video.wanted = Math.min(Math.max(index, 0), tracks.frames.length - 1);
  timeline.move(video.wanted, tracks.frames.length, tracks.frames[video.wanted].time, video.face);
  video.seeking ??= attempt(() => seek(video)).finally(() => (video.seeking = null));
}

async function seek(video) {
  const { tracks, screen } = video;
  for (let index = null; index !== video.wanted; ) {
    index = video.wanted;
    await screen.seek(tracks.frames[index].at);
    const bitmap = await screen.bitmap();
    if (state.video !== video || video.tracks !== tracks) return bitmap.close();
    if (index === video.wanted) present(index, bitmap);
    else bitmap.close();
  }
}

export const showTime = (time) => showFrame(state.video.tracks.indexAt(time));
/** Shows the frame that is so many frames after the one that is shown. */
export const stepFrame = (by) => showFrame(state.video.wanted + by);
/** Shows the nearest frame that has a face. */
export const showFace = ({ id }) => {
  state.video.face = id;
  showFrame(state.video.tracks.nearest(id, state.video.shown));
};

export function togglePlay() {
  if (state.video.isPlaying) state.video.screen.pause();
  else attempt(() => play(state.video));
}

/** Plays the frames that are tracked, from the one that is shown, or from the first after the last. */
async function play(video) {
  const { tracks, screen } = video;
  await video.seeking;
  if (!tracks.frames.length) return;
  const start = video.wanted === tracks.frames.length - 1 ? 0 : video.wanted;
  await screen.seek(tracks.frames[start].at);
  setPlaying(video, true);
  let isOver = false;
  for await (const time of screen.playing()) {
    const bitmap = await screen.bitmap();
    isOver = time >= tracks.last.time;
    if (state.video !== video || video.tracks !== tracks || video.seeking || isOver) bitmap.close();
    else present(tracks.indexAt(time), bitmap);
    if (isOver) screen.pause();
  }
  setPlaying(video, false);
  if (state.video !== video || video.seeking) return;
  // a picture that was drawn while the next one came up may be either: this one is sure
  showFrame(isOver || screen.hasEnded ? tracks.frames.length - 1 : video.shown);
}

function setPlaying(video, isPlaying) {
  video.isPlaying = isPlaying;
  byId("play").textContent = isPlaying ? "Pause" : "Play";
}

timeline.on = { seek: showTime, step: stepFrame };
