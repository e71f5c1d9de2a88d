/** Sends this device's microphone. */
import { ingest, senders } from "./ingest.js";
import { Refused, Sender } from "./sender.js";
import { option, sample16, seconds } from "./util.js";

const MIC_BUFFER_S = 15; // of the microphone's sound, so that what a broken connection swallowed can be sent again
const CHUNK_S = 0.1; // of sound in one message
const SILENT_DB = -50, // RMS; below it there is no music: a quiet room's noise is near -60
  CLIPPING_LEVEL = 0.999; // of full scale: from there on it clips

/** What runs in the browser's audio thread: hands on blocks of the sound. A missing input is silence. */
const CAPTURE = `registerProcessor("capture", class extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.size = processorOptions.size;
    this.begin();
  }
  begin() {
    this.block = new Float32Array(this.size);
    this.filled = 0;
  }
  process([input]) {
    const sound = input[0] ?? new Float32Array(128);
    for (let from = 0; from < sound.length; ) {
      const count = Math.min(this.size - this.filled, sound.length - from);
      this.block.set(sound.subarray(from, from + count), this.filled);
      this.filled += count;
      from += count;
      if (this.filled === this.size) {
        this.port.postMessage(this.block, [this.block.buffer]);
        this.begin();
      }
    }
    return true;
  }
});`;
const RAW = { echoCancellation: false, autoGainControl: false, noiseSuppression: false };

const DENIALS = {
  NotAllowedError: "The microphone was not allowed. The browser's settings for this page, left of its address, can.",
  NotFoundError: "There is no microphone on this device.",
  NotReadableError: "The microphone cannot be opened: another program may hold it.",
  OverconstrainedError: "That microphone was removed.",
};
const INSECURE =
  "Browsers allow the microphone only on pages of this machine (http://127.0.0.1) or over https " +
  "(streamtag serve --tls-cert): this page is neither.";

/** Return a MediaStream of one device, or of the usual one; as it sounds, nothing improved. */
async function openDevice(id) {
  if (!isSecureContext || !navigator.mediaDevices?.getUserMedia) throw new Refused(INSECURE);
  const audio = id ? { ...RAW, deviceId: { exact: id } } : RAW;
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    throw new Refused(DENIALS[error.name] ?? `The microphone cannot be opened: ${error.message}`);
  }
}

class Microphone extends Sender {
  constructor() {
    super("mic", "mic");
    Object.assign(this, {
      length: Infinity,
      chunk_s: CHUNK_S,
      captured: 0,
      zero: 0,
      kept: null,
      level: null,
      quiet: 0,
      clipped: 0,
    });
  }

  get available() {
    return this.captured - this.zero;
  }
  get oldest() {
    return Math.max(0, this.captured - this.kept.length);
  }

  async prepare() {
    this.media = await openDevice();
    if (this.isFinished) return this.release();
    this.context = new AudioContext({ latencyHint: "interactive" });
    const { context } = this;
    const module = URL.createObjectURL(new Blob([CAPTURE], { type: "text/javascript" }));
    try {
      await context.audioWorklet.addModule(module);
    } catch (error) {
      this.release();
      throw new Refused(`This browser cannot listen: ${error.message}`);
    } finally {
      URL.revokeObjectURL(module);
    }
    if (this.isFinished) return this.release();
    this.kept = new Int16Array(Math.round(MIC_BUFFER_S * context.sampleRate));
    const size = Math.round(CHUNK_S * context.sampleRate);
    this.node = new AudioWorkletNode(context, "capture", {
      channelCount: 1, // the browser mixes several
      channelCountMode: "explicit",
      processorOptions: { size },
    });
    this.node.port.onmessage = (event) => this.capture(event.data);
    this.node.connect(context.destination); // silence; what leads nowhere may not run
    context.onstatechange = () => this.stateChanged();
    this.listenTo(this.media);
    this.rate = context.sampleRate;
    await this.listDevices();
    navigator.mediaDevices.ondevicechange = () => this.listDevices();
    this.stateChanged(); // it may stand still at first, and for ever where a browser has no way to play sound
  }

  listenTo(media) {
    const wire = this.context.createMediaStreamSource(media);
    wire.connect(this.node);
    this.wire?.disconnect();
    if (this.media !== media) for (const track of this.media.getTracks()) track.stop();
    this.wire = wire;
    this.media = media;
    media.getAudioTracks()[0].onended = () => {
      if (this.isFinished) return;
      this.note = "The microphone was taken away.";
      this.stop();
    };
  }

  async listDevices() {
    const all = await navigator.mediaDevices.enumerateDevices().catch(() => []);
    const inputs = all.filter((device) => device.kind === "audioinput" && device.deviceId);
    const picker = this.row.device;
    picker.replaceChildren(...inputs.map((each, index) => option(each.deviceId, each.label || `input ${index + 1}`)));
    picker.value = this.media?.getAudioTracks()[0]?.getSettings().deviceId ?? "";
    picker.hidden = this.isFinished || inputs.length < 2;
    picker.onchange = () => this.change(picker.value);
  }

  async change(id) {
    try {
      const media = await openDevice(id);
      if (this.isFinished) for (const track of media.getTracks()) track.stop();
      else this.listenTo(media);
      this.note = "";
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.note = error.message;
    }
    this.listDevices();
  }

  /** The browser may stop listening for a while, for a call for instance. */
  stateChanged() {
    if (this.isFinished || this.context.state === "closed") return;
    if (this.context.state !== "running") {
      if (this.captured) this.deaf ??= seconds();
      this.note = "The browser has paused the microphone.";
      this.context.resume().catch(() => {});
    } else {
      if (this.deaf) this.skip(seconds() - this.deaf);
      this.deaf = null;
      this.note = "";
    }
    this.show();
  }

  /** Report lost samples to the server: a new connection states the new position. */
  skip(lost_s) {
    this.captured += Math.round(lost_s * this.rate);
    this.discarded = this.captured; // nothing before it is kept
    if (this.begun) this.socket?.close();
  }

  capture(block) {
    if (this.isFinished) return;
    this.measure(block);
    const { kept } = this;
    for (let index = 0; index < block.length; index++)
      kept[(this.captured + index) % kept.length] = sample16(block[index]);
    this.captured += block.length;
    this.pump();
    this.show();
  }

  /** dBFS of one block, without its mean: cheap sound cards add an inaudible constant. */
  measure(block) {
    let sum = 0,
      squares = 0,
      peak = 0;
    for (const value of block) {
      sum += value;
      squares += value * value;
      peak = Math.max(peak, Math.abs(value));
    }
    const power = Math.max(0, squares / block.length - (sum / block.length) ** 2);
    const keep = this.level ? Math.exp(-CHUNK_S / 0.3) : 0; // as a VU meter's needle rises
    this.power = keep * (this.power || 0) + (1 - keep) * power;
    const db = (value) => Math.max(-100, 10 * Math.log10(value || 1e-10));
    this.quiet = db(power) < SILENT_DB ? this.quiet + CHUNK_S : 0;
    if (peak > CLIPPING_LEVEL) this.clipped = seconds();
    const held = this.level ? this.level.peak - 12 * CHUNK_S : -100; // 12 dB a second, as a peak meter falls
    this.level = { rms: db(this.power), peak: Math.max(db(peak * peak), held) };
  }

  rewind() {
    this.zero = this.captured;
    return 0;
  }

  back() {
    return (
      Math.max(this.oldest, this.discarded || 0, this.zero + Math.floor(this.processed_s * this.rate)) - this.zero
    );
  }

  /** Return up to `count` samples from a position, or null if they are no longer buffered. */
  samplesFrom(from, count) {
    const start = this.zero + from,
      size = Math.min(count, this.captured - start);
    if (start < Math.max(this.oldest, this.discarded || 0)) return null;
    const chunk = new Int16Array(size);
    for (let index = 0; index < size; index++) chunk[index] = this.kept[(start + index) % this.kept.length];
    return chunk;
  }

  release() {
    for (const track of this.media?.getTracks() ?? []) track.stop();
    if (this.node) this.node.port.onmessage = null;
    if (this.context && this.context.state !== "closed") this.context.close().catch(() => {});
    this.row.device.hidden = true;
    if (navigator.mediaDevices) navigator.mediaDevices.ondevicechange = null;
  }

  progress() {
    if (this.quiet > 3) return this.level.peak <= -99 ? "only silence comes: is it muted?" : "hardly a sound comes";
    return seconds() - this.clipped < 1.5 ? "too loud: it clips" : "";
  }
}

export function tagMicrophone() {
  const running = senders.find((sender) => sender.kind === "mic" && !sender.isFinished);
  if (running) return running.row.stop.focus();
  ingest.follow = true;
  new Microphone().start();
}
