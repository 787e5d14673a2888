/** One camera: its stream shown in a video element, and single frames of it as image files. */

import { Problem } from "./client.js";

const REASONS = {
  NotAllowedError: ["The camera was not allowed", "Allow it in the browser's address bar, then try again."],
  NotFoundError: ["There is no camera", "Connect one, or open a picture instead."],
  NotReadableError: ["The camera is in use", "Close the program that uses it, then try again."],
};

export class Camera {
  stream = null;

  constructor(video, ended) {
    Object.assign(this, { video, ended });
    this.canvas = document.createElement("canvas");
  }

  /** Raises Problem when there is none, or it is not allowed. */
  async start(deviceId = "") {
    this.stop();
    if (!navigator.mediaDevices) {
      const detail = "Browsers give a page the camera only over https, or from localhost.";
      throw new Problem({ title: "No camera here", detail, code: "camera", action: "Open a picture instead." });
    }
    const device = deviceId ? { deviceId: { exact: deviceId } } : { facingMode: "user" };
    const wanted = { video: { ...device, width: { ideal: 1280 }, height: { ideal: 720 } }, audio: false };
    this.stream = await navigator.mediaDevices.getUserMedia(wanted).catch((error) => {
      const [title, action] = REASONS[error.name] ?? ["The camera cannot be used", "Open a picture instead."];
      throw new Problem({ title, detail: error.message, code: "camera", action });
    });
    this.stream.getVideoTracks()[0].addEventListener("ended", this.ended);
    this.video.srcObject = this.stream;
    await this.video.play();
  }

  stop() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.video.srcObject = null;
  }

  /** The cameras there are: known by name once one was allowed. */
  async list() {
    const devices = await navigator.mediaDevices.enumerateDevices();
    return devices.filter(({ kind }) => kind === "videoinput");
  }

  get deviceId() {
    return this.stream?.getVideoTracks()[0]?.getSettings().deviceId ?? "";
  }

  /** The frame of now as a file: lossless for a still, or JPEG, which is faster, for live. */
  async frame(type) {
    const { video, canvas } = this;
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    const picture = await createImageBitmap(canvas);
    const file = await new Promise((resolve) => canvas.toBlob(resolve, type, 0.95));
    return { picture, file };
  }
}
