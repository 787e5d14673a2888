/**
 * A video file as the browser decodes it: single frames, each with the time that the file states for it.
 *
 * A browser tells neither how many frames a file has nor when they are, but after a seek it tells the time of the frame
 * that it shows. So a seek to just before a frame finds the one before it, whatever the rate, and no frame is passed over.
 * Firefox (140) does not tell it: there videos are refused.
 */

import { Problem } from "./client.js";

const MOMENT = 0.001; // seconds: less than a frame lasts
const REACH = 0.25; // seconds of the file whose frames are in memory at a time
const SUFFIXES = [".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm"];

export const isVideo = ({ name, type }) =>
  type.startsWith("video/") || SUFFIXES.some((suffix) => name.toLowerCase().endsWith(suffix));

export class Video {
  #element = document.createElement("video");
  #canvas = document.createElement("canvas");
  #at = null; // the time of the last seek, unless it was played on from there
  #time = 0; // of the frame that it showed

  /** Throws Problem where this browser cannot decode the file. */
  static async open(file) {
    if (!HTMLVideoElement.prototype.requestVideoFrameCallback || !window.VideoFrame) throw withoutTimes();
    const video = new Video();
    await video.#open(file);
    return video;
  }

  async #open(file) {
    const element = this.#element;
    Object.assign(element, { muted: true, playsInline: true, preload: "auto", src: URL.createObjectURL(file) });
    await this.#event("loadedmetadata");
    if (!element.videoWidth) throw unreadable("");
    // files that were written live do not state how long they are: a seek beyond the end finds it
    if (element.duration === Infinity) await this.seek(Number.MAX_SAFE_INTEGER);
    await this.seek(0);
    // the frame that was shown on loading is told of by now, and is not taken for that of the next seek
    for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
    // Firefox states the time that was asked for, and each seek would find another frame
    const within = MOMENT / 2;
    if (Math.abs((await this.seek(within)) - within) < MOMENT / 100) throw withoutTimes();
  }

  close() {
    URL.revokeObjectURL(this.#element.src);
    this.#element.removeAttribute("src");
    this.#element.load();
  }

  get duration() {
    return this.#element.duration;
  }

  /** In pixels as they are shown: turned as the file says, and square. */
  get size() {
    return { width: this.#element.videoWidth, height: this.#element.videoHeight };
  }

  /** Shows the frame of a time in seconds, and returns the time at which that frame begins. Throws Problem. */
  async seek(at) {
    const within = Math.min(Math.max(at, 0), this.duration);
    if (within === this.#at) return this.#time; // no browser would show it again
    const [seeked, presented] = [this.#event("seeked"), this.#presented()];
    this.#element.currentTime = within;
    await seeked;
    this.#time = await presented;
    this.#at = within;
    return this.#time;
  }

  /** The frame that is shown. */
  bitmap() {
    this.#draw();
    return createImageBitmap(this.#canvas);
  }

  /**
   * The frames that begin between two times, in their order, as {time, at, blob}: a seek to `at` shows them again. To
   * continue after one, give its time as `after`. Throws Problem, and AbortError.
   */
  async *frames(from, to, signal, after = -Infinity) {
    let start = Math.max(from, after + MOMENT);
    for (let end = 0; end < this.duration && start <= to; ) {
      end = start + REACH;
      const found = await this.#block(start, end, signal);
      yield* found.filter(({ time }) => time <= to);
      start = (found.at(-1)?.time ?? end) + MOMENT;
    }
  }

  /** The frames from a time on, up to the one that is shown at another. */
  async #block(start, end, signal) {
    const found = [];
    for (let next = null, frame = await this.#look(end); ; [next, frame] = [frame, await this.#look(frame.time - MOMENT)]) {
      signal.throwIfAborted();
      if (next && frame.time >= next.time) return found; // it was the first
      // Chromium shows a frame for as long as the file says, even if others begin before that
      if (next && frame.time + frame.duration > next.time + MOMENT) found.unshift(...(await this.#between(frame, next)));
      if (frame.time < start) return found;
      found.unshift(frame);
      if (frame.time - MOMENT < start) return found;
    }
  }

  /** The frames between two, by bisection. */
  async #between(a, b) {
    if (a.time === b.time || b.at - a.at < MOMENT) return [];
    const middle = await this.#look((a.at + b.at) / 2);
    const isNew = middle.time > a.time && middle.time < b.time;
    return [...(await this.#between(a, middle)), ...(isNew ? [middle] : []), ...(await this.#between(middle, b))];
  }

  /** The frame of a time, as {at, time, duration (seconds, as the file says; 0 where that is not known), blob}. */
  async #look(at) {
    const time = await this.seek(at);
    const frame = new VideoFrame(this.#element);
    const duration = (frame.duration ?? 0) / 1e6;
    frame.close();
    return { at, time, duration, blob: await this.#file() };
  }

  /** Plays on, and yields the time of each frame as it is shown, until the end or `pause`. */
  async *playing() {
    const element = this.#element;
    const paused = new Promise((resolve) => (element.onpause = resolve));
    await element.play();
    for (;;) {
      const time = await Promise.race([paused, this.#presented()]);
      this.#at = null;
      if (element.paused) return;
      yield time;
    }
  }

  get hasEnded() {
    return this.#element.ended;
  }

  pause() {
    this.#element.pause();
  }

  #presented() {
    const element = this.#element;
    return new Promise((resolve) => element.requestVideoFrameCallback((_, { mediaTime }) => resolve(mediaTime)));
  }

  #event(kind) {
    const element = this.#element;
    return new Promise((resolve, reject) => {
      const fail = () => reject(unreadable(element.error.message));
      Object.assign(element, { [`on${kind}`]: resolve, onerror: fail });
      if (element.error) fail();
    });
  }

  #draw() {
    const { width, height } = this.size;
    if (this.#canvas.width !== width) Object.assign(this.#canvas, { width, height });
    this.#canvas.getContext("2d").drawImage(this.#element, 0, 0, width, height);
  }

  /** Lossless: the errors of JPEG would move points by more than they flicker from frame to frame. */
  #file() {
    this.#draw();
    return new Promise((resolve) => this.#canvas.toBlob(resolve, "image/png"));
  }
}

/** `reason`: in the browser's own words, if it gives any. */
function unreadable(reason) {
  const detail = "Its format or its codec is not one that this browser plays, or the file is damaged";
  return new Problem({
    title: "This browser cannot decode the video",
    detail: reason ? `${detail} (${reason}).` : `${detail}.`,
    code: "video",
    action: "Convert it to MP4 with H.264 or to WebM with VP9, or track the file itself by the command “landmarks track”.",
    status: -1,
  });
}

function withoutTimes() {
  return new Problem({
    title: "This browser does not tell when the frames of a video begin",
    detail: "Without that, frames would be found several times, or passed over.",
    code: "video",
    action: "Open this page in Chrome, Chromium or Edge, or track the file itself by the command “landmarks track”.",
    status: -1,
  });
}
