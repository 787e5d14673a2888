/** One camera: its stream in a video element, and single frames as image files. */

import { Problem } from "./client.js";

const REASONS = {
  NotAllowedError: ["The camera was not allowed", "Allow it in the browser's address bar, then try again."],
  NotFoundError: ["There is no camera", "Connect one, or open an image instead."],
  NotReadableError: ["The camera is in use", "Close the program that uses it, then try again."],
};

export class Camera {
  stream = null;

  constructor(video, ended) {
    Object.assign(this, { video, ended });
    this.canvas = document.createElement("canvas");
  }

  /** Throws Problem when there is no camera, or it is not allowed. */
  async start(deviceId = "") {
    this.stop();
    if (!navigator.mediaDevices) {
      const title = "The camera is not available";
      const detail = "Browsers allow the camera only over HTTPS, or on localhost.";
      throw new Problem({ title, detail, code: "camera", action: "Open an image instead." });
    }
    const device = deviceId ? { deviceId: { exact: deviceId } } : { facingMode: "user" };
    const constraints = { video: { ...device, width: { ideal: 1280 }, height: { ideal: 720 } }, audio: false };
    this.stream = await navigator.mediaDevices.getUserMedia(constraints).catch((error) => {
      const unknown = ["The camera cannot be used", "Open an image instead.", error.message];
      const [title, action, detail] = REASONS[error.name] ?? unknown;
      throw new Problem({ title, detail, code: "camera", action });
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

  /** The cameras. Browsers give their names once one of them was allowed. */
  async list() {
    const devices = await navigator.mediaDevices.enumerateDevices();
    return devices.filter(({ kind }) => kind === "videoinput");
  }

  get deviceId() {
    return this.stream?.getVideoTracks()[0]?.getSettings().deviceId ?? "";
  }

  /** The current frame as a bitmap and as a file of this media type: lossless for a still, JPEG (faster) for live. */
  async frame(type) {
    const { video, canvas } = this;
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    const bitmap = await createImageBitmap(canvas);
    const file = await new Promise((resolve) => canvas.toBlob(resolve, type, 0.95));
    return { bitmap, file };
  }
}
