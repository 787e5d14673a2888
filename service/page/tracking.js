/** Tracks a video: its frames go to the service in their order, and the answers become tracks. */

import { closeImages, client, loadLayout } from "./requests.js";
import { byId } from "./panel.js";
import { present, timeline } from "./player.js";
import { refresh, setDrawing, viewer } from "./stage.js";
import { optionsFor, state } from "./state.js";
import { asProblem, attempt, hideProblem, setStatus, showProblem } from "./status.js";
import { Tracks } from "./tracks.js";
import { Video } from "./video.js";

const IN_FLIGHT = 2; // requests: one is sent while another is answered

let turns = 0; // videos opened so far: one that is slow to open does not replace a later one

/** Opens a video in place of what is open, and tracks it. `leftOut`: how many other files were given with it. */
export async function openVideo(file, leftOut = 0) {
  const turn = ++turns;
  hideProblem();
  setStatus(`Opening ${file.name} …`);
  await attempt(async () => {
    // one is decoded for the service, the other for the user
    const [source, screen] = [await Video.open(file), await Video.open(file)];
    if (turn !== turns) return [source, screen].forEach((video) => video.close());
    await open(file.name, source, screen);
    const others = leftOut === 1 ? "the other file was" : `${leftOut} other files were`;
    byId("video-note").textContent = leftOut ? `One video is tracked at a time: ${others} left out.` : "";
    await track();
  });
}

async function open(name, source, screen) {
  closeVideo();
  closeImages();
  setDrawing(false);
  state.video = {
    ...{ name, source, screen },
    ...{ from: 0, to: source.duration }, // seconds: the part that is tracked
    tracks: new Tracks(),
    ...{ shown: -1, wanted: -1 }, // indices of the frames that are shown, and that was asked for
    face: 1, // the id of the selected face
    isPlaying: false,
    seeking: null, // Promise of the frame that is being decoded for the user
    run: null, // AbortController of the work
    work: null, // Promise of it
    isDone: false,
  };
  const { width, height } = source.size;
  byId("video-name").textContent = `${name}, ${width} × ${height} px, ${source.duration.toFixed(2)} s`;
  for (const [id, value] of [["from", 0], ["to", source.duration]]) {
    Object.assign(byId(id), { max: source.duration, value: Math.ceil(value * 1000) / 1000 });
  }
  for (const id of ["timeline", "video-section"]) byId(id).hidden = false;
  timeline.open(0, source.duration);
  present(-1, await screen.bitmap());
  viewer.fit();
  byId("scrubber").focus();
}

/** Leaves the video that is open, if there is one. */
export function closeVideo() {
  const { video } = state;
  turns++;
  if (!video) return;
  video.run?.abort();
  video.source.close();
  video.screen.close();
  Object.assign(state, { video: null, file: null, face: 0 });
  for (const id of ["timeline", "video-section"]) byId(id).hidden = true;
}

// ---------------------------------------------------------------- the work

/** Stops the work, and keeps what is there; or continues it. */
export const toggleTracking = () => (state.video.run ? state.video.run.abort() : track());

/** Tracks a part of the video anew, with the options as they are now. */
export async function trackAgain(from = state.video.from, to = state.video.to) {
  const { video } = state;
  video.run?.abort();
  video.screen.pause();
  await Promise.all([video.work, video.seeking]);
  if (state.video !== video) return;
  Object.assign(video, { from, to, tracks: new Tracks(), shown: -1, wanted: -1, isDone: false });
  timeline.open(from, to);
  await track();
}

function track() {
  state.video.work = work(state.video);
  return state.video.work;
}

async function work(video) {
  const { tracks } = video;
  const run = new AbortController();
  video.run = run;
  hideProblem();
  setStatus("Tracking …");
  update(video);
  try {
    await loadLayout();
    await locateAll(video, tracks, run.signal);
    video.isDone = true;
  } catch (error) {
    if (error.name !== "AbortError" && state.video === video) showProblem(asProblem(error), track);
  }
  run.abort(); // what is still in flight
  video.run = null;
  if (state.video !== video) return;
  update(video);
  if (byId("problem").hidden) setStatus(summary(video));
}

/** Several frames are answered side by side, and taken in their order. */
async function locateAll(video, tracks, signal) {
  const options = optionsFor({ boxes: [] });
  const asked = [];
  for await (const frame of video.source.frames(video.from, video.to, signal, tracks.last?.time)) {
    const answer = locate(frame.blob, options, signal);
    answer.catch(() => {}); // it is thrown where its turn comes, if it comes
    asked.push({ frame, answer });
    if (asked.length === IN_FLIGHT) await take(video, tracks, asked.shift());
    if (tracks.isFull) break;
  }
  for (const each of asked) await take(video, tracks, each);
}

/** The answer to a frame, or {problem} where the next may be answered all the same. Throws Problem and AbortError. */
async function locate(blob, options, signal) {
  for (;;) {
    try {
      return await client.landmarks(blob, options, signal);
    } catch (error) {
      if (error.status === 429) await isTurn(error, signal);
      else if (error.status < 500 || [502, 503].includes(error.status) || error.name === "AbortError") throw error;
      else return { problem: asProblem(error) };
    }
  }
}

/** The service is busy with the requests of others, and has said when to ask again. */
async function isTurn({ title, retryAfter }, signal) {
  setStatus(`${title}; waiting.`);
  await new Promise((resolve) => setTimeout(resolve, (retryAfter ?? 1) * 1000));
  signal.throwIfAborted();
  setStatus("Tracking …");
}

async function take(video, tracks, { frame, answer }) {
  const reply = await answer;
  const isFollowing = video.wanted === tracks.frames.length - 1 && !video.isPlaying;
  tracks.add(frame, reply);
  const index = tracks.frames.length - 1;
  timeline.add(index, tracks.last);
  update(video);
  if (!isFollowing) return timeline.move(video.wanted, index + 1, tracks.frames[video.wanted].time, video.face);
  const bitmap = await createImageBitmap(frame.blob);
  if (state.video === video && video.wanted === index - 1) present(index, bitmap);
  else bitmap.close();
}

function update({ tracks, run, from, to, isDone }) {
  const { length } = tracks.frames;
  byId("video-count").textContent = length === 1 ? "1 frame" : `${length} frames`;
  const reached = isDone ? to : (tracks.last?.time ?? from);
  Object.assign(byId("video-progress"), { max: to - from, value: reached - from });
  byId("video-pause").textContent = run ? "Stop" : "Continue";
  byId("video-pause").hidden = isDone;
  byId("save-tracks").disabled = length === 0;
}

function summary({ tracks, isDone }) {
  const [frames, faces] = [tracks.frames.length, tracks.ids.length];
  const found = `${frames} ${frames === 1 ? "frame" : "frames"}, ${faces} ${faces === 1 ? "face" : "faces"}`;
  const failed = tracks.frames.filter(({ problem }) => problem).length;
  const gaps = failed ? ` ${failed === 1 ? "1 frame has" : `${failed} frames have`} no answer.` : "";
  if (tracks.isFull) return `${found}: the page can hold no more. Track the rest as another part.${gaps}`;
  return isDone ? `${found}.${gaps}` : `Stopped after ${found}.${gaps}`;
}
