/** Sends files that the browser can decode; they can be played while they are tagged. */
import { ingest } from "./ingest.js";
import { addFile, removeFile } from "./player.js";
import { Refused, Sender, nextFile } from "./sender.js";
import { sample16, seconds, timecode } from "./util.js";

const CHUNK_S = 0.25; // of sound in one message: servers count messages
const FILE_RATE = 44100, // Hz; what most files have
  LONG_RATE = 16000; // Hz; what the model uses; for long files, to save memory
const LONG_FILE_S = 15 * 60,
  MAX_FILE_S = 90 * 60, // of stereo, that is 2 GB on the way, as much as Chromium has for it
  MAX_FILE_BYTES = 1.5 * 2 ** 30; // bytes of a file: it is decoded as a whole

/** Return the duration of a file without decoding it, or NaN if the browser does not know it. */
function durationOf(file) {
  return new Promise((resolve) => {
    const player = document.createElement("audio"),
      url = URL.createObjectURL(file);
    const done = () => {
      clearTimeout(late);
      resolve(player.duration);
      player.onloadedmetadata = player.onerror = null;
      player.removeAttribute("src");
      URL.revokeObjectURL(url);
    };
    const late = setTimeout(done, 5000);
    player.onloadedmetadata = player.onerror = done;
    player.preload = "metadata";
    player.src = url;
  });
}

class SoundFile extends Sender {
  constructor(file) {
    super("file", file.name);
    this.file = file;
    this.chunk_s = CHUNK_S;
    this.length = NaN;
  }

  get available() {
    return this.length;
  }

  async prepare() {
    const { file } = this;
    this.setPhase("opening", "Reading.");
    if (file.size > MAX_FILE_BYTES) throw new Refused(tooLarge(`${(file.size / 2 ** 30).toFixed(1)} GB`));
    if (!file.size) throw new Refused("The file is empty.");
    await file
      .slice(0, 1)
      .arrayBuffer()
      .catch(() => {
        throw new Refused("It cannot be read: is it a folder?");
      });
    const long = await durationOf(file);
    if (long > MAX_FILE_S && long < Infinity) throw new Refused(tooLarge(timecode(long)));
    let data;
    try {
      data = await file.arrayBuffer();
    } catch {
      throw new Refused("It cannot be read: has it changed?");
    }
    this.setPhase("opening", "Decoding.");
    try {
      const context = new OfflineAudioContext(1, 1, long <= LONG_FILE_S ? FILE_RATE : LONG_RATE);
      const sound = await context.decodeAudioData(data);
      this.channels = Array.from({ length: sound.numberOfChannels }, (_, index) => sound.getChannelData(index));
      this.rate = sound.sampleRate;
      this.length = sound.length;
    } catch {
      if (long > LONG_FILE_S) throw new Refused(tooLarge(timecode(long)));
      throw new Refused("This browser can decode no sound in it. The command “streamtag file” may.");
    }
    if (!this.length) throw new Refused("There is no sound in it.");
  }

  rewind() {
    this.since = 0;
    return 0;
  }

  back() {
    return Math.min(this.sent, Math.floor(this.processed_s * this.rate));
  }

  /** The mean of the channels, as the server would make it. */
  samplesFrom(from, count) {
    const chunk = new Int16Array(Math.min(count, this.length - from));
    for (let index = 0; index < chunk.length; index++) {
      let sum = 0;
      for (const channel of this.channels) sum += channel[from + index];
      chunk[index] = sample16(sum / this.channels.length);
    }
    return chunk;
  }

  release() {
    this.channels = null;
  }

  onBegin() {
    addFile(this.name, this.file, this.length / this.rate, this.title);
  }

  forget() {
    removeFile(this.file);
  }

  progress() {
    const took = seconds() - this.since,
      long = this.length / this.rate;
    const speed = took > 1 ? ` · ${(this.processed_s / took).toFixed(0)} × real time` : "";
    return `${timecode(this.processed_s)} of ${timecode(long)}${speed}`;
  }
}

const tooLarge = (size) =>
  `${size} is too much for a browser to decode at once. The command “streamtag file” reads it.`;

export function tagFiles(files) {
  if (!files.length) return;
  ingest.follow = true;
  for (const file of files) new SoundFile(file);
  nextFile();
}
