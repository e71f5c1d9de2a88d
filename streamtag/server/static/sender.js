/** Sends sound from this page to the server: the microphone and files, where the server accepts streams. */
export function createSenders(page) {
  const { $, address, choose, clamp, link, option, plural, put, announce, seconds, timecode } = page;
  const { HANDSHAKE_S, MAX_WAIT_S } = page;

  // --- senders: the microphone and files, where the server accepts streams ----------------------------------------
  const RECONNECT_GRACE_S = 10; // for so long the server keeps a stream whose connection broke off
  const MIC_BUFFER_S = 15; // of the microphone's sound, so that what a broken connection swallowed can be sent again
  const CHUNK_S = 0.1, // of sound in one message
    FILE_CHUNK_S = 0.25; // servers count messages
  const MAX_SOCKET_BYTES = 2 ** 18; // bytes that wait in the browser for the network
  const MAX_LEAD_S = 20; // of audio that the server has not processed yet
  const FILE_RATE = 44100, // Hz; what most files have
    LONG_RATE = 16000; // Hz; what the model uses; for long files, to save memory
  const LONG_FILE_S = 15 * 60,
    MAX_FILE_S = 90 * 60, // of stereo, that is 2 GB on the way, as much as Chromium has for it
    MAX_FILE_BYTES = 1.5 * 2 ** 30; // bytes of a file: it is decoded as a whole
  const MAX_FINISHED_ROWS = 12; // rows of finished senders
  const SILENT_DB = -50, // RMS; below it there is no music: a quiet room's noise is near -60
    MIN_DB = -60, // the level's left end
    CLIPPING_LEVEL = 0.999; // of full scale: from there on it clips
  const MAX_NAME_CHARS = 64;
  const END = '{"type":"end"}';
  const QUERY = { top: 5 }; // few tags are enough here: the page also subscribes to the stream

  /** The state of the server: `health.capacity` is set if it accepts streams; `token` is the token for producers. */
  const ingest = { health: null, isStarting: false, timer: 0, token: null, follow: true };
  const senders = []; // as their rows, the newest last

  async function fetchHealth() {
    const limits = { signal: AbortSignal.timeout(3000), cache: "no-store", credentials: "same-origin" };
    const health = await (await fetch(address("http", "health"), limits)).json();
    ingest.health = Number.isFinite(health?.capacity) ? health : null;
    ingest.isStarting = health?.status === "starting";
    showIngest();
    return ingest.health;
  }

  /** Check whether the server accepts streams; ask again a few times while it is starting or does not answer. */
  async function updateIngest(times = 10) {
    clearTimeout(ingest.timer);
    const isKnown = await fetchHealth().then(
      () => !ingest.isStarting,
      () => false,
    );
    if (!isKnown && times > 1 && link.state === "open")
      ingest.timer = setTimeout(() => updateIngest(times - 1), 3000);
  }

  function showIngest() {
    $("send-controls").hidden = !ingest.health;
    $("shortcut-drop").hidden = $("shortcut-drop-text").hidden = !ingest.health;
    if (ingest.health) $("empty-code").hidden = true;
  }

  /** Make a valid stream name: 1 to 64 printable characters, no slash. */
  function streamName(title, suffix = "") {
    const clean = title.normalize("NFC").replace(/[\p{C}\p{Z}/\\]+/gu, " ");
    const short = [...clean.trim()]
      .slice(0, MAX_NAME_CHARS - suffix.length)
      .join("")
      .trim();
    return (/^\.*$/.test(short) ? "file" : short) + suffix; // dots alone would be a way in an address
  }

  const randomEnd = () => `-${Math.random().toString(36).slice(2, 6).padEnd(4, "0")}`;

  const hasEnded = (name) => {
    const known = ingest.health?.streams?.[name];
    return !known || known.ended;
  };

  /** A stream sent by this page: its connection, its position in the audio and its row. */
  class Sender {
    constructor(kind, title) {
      Object.assign(this, { kind, title, name: streamName(title), phase: "waiting", words: "", note: "" });
      Object.assign(this, { socket: null, timer: 0, tries: 0, rate: 0, sent: 0, processed_s: 0, lost: 0, since: 0 });
      this.away = null; // since when the connection is broken, in a stream that had begun
      this.begun = this.stopping = false;
      this.row = sourceRow(this);
      senders.push(this);
      this.show();
    }

    get isFinished() {
      return ["done", "failed"].includes(this.phase);
    }

    setPhase(phase, words = "") {
      const news = phase !== this.phase;
      this.phase = phase;
      this.words = words;
      this.show();
      if (news && !this.isFinished) showInList(this.row.item);
    }

    fail(words) {
      this.finish("failed", words);
    }

    finish(phase, words) {
      if (this.isFinished) return;
      clearTimeout(this.timer);
      this.release();
      this.socket?.close();
      this.socket = null;
      this.setPhase(phase, words);
      announce(`${this.title}: ${words}`);
      removeOldSenders();
      nextFile();
    }

    /** Ask for room, prepare the audio and connect. */
    async start() {
      this.setPhase("opening", this.words);
      try {
        const health = await fetchHealth().catch(() => null);
        if (this.isFinished) return;
        if (health && isFull(health)) return this.wait(health, () => this.start());
        if (!this.rate) await this.prepare();
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        return this.fail(error.message);
      }
      if (!this.isFinished) this.connect();
    }

    /** Wait and ask again when the server is full. */
    wait(health, then) {
      const wait_s = clamp(Number(health.retry_after_s) || 5, 1, 60),
        due = seconds() + wait_s;
      const why =
        health.room > 0
          ? "The server is overloaded and accepts no new stream now"
          : `The server is full: it holds ${plural(health.capacity, "stream")}`;
      this.countdown = () => `${why}. Again in ${Math.max(0, Math.ceil(due - seconds()))} s.`;
      this.setPhase("busy");
      clearTimeout(this.timer);
      this.timer = setTimeout(then, wait_s * 1000);
    }

    connect() {
      clearTimeout(this.timer);
      if (this.isFinished) return;
      if (this.begun && this.away !== null && seconds() - this.away > RECONNECT_GRACE_S) {
        this.begun = false; // the server ended it meanwhile
        return this.start();
      }
      if (!this.begun) {
        this.processed_s = this.lost = 0;
        this.away = null;
        if (!hasEnded(this.name)) this.name = streamName(this.title, randomEnd());
      }
      this.sent = this.begun ? this.back() : this.rewind();
      this.from = this.sent;
      const socket = new WebSocket(this.address("ws"));
      const late = setTimeout(() => socket.close(), HANDSHAKE_S * 1000);
      let opened = false;
      this.socket = socket;
      this.ending = false;
      if (this.phase !== "away") this.setPhase("opening", this.words);
      socket.onopen = () => {
        clearTimeout(late);
        opened = true;
      };
      socket.onmessage = (event) => {
        if (socket === this.socket) this.receive(event.data);
      };
      socket.onclose = (event) => {
        clearTimeout(late);
        if (socket === this.socket) this.closed(event, opened);
      };
    }

    address(scheme) {
      const url = address(scheme, `ingest/${encodeURIComponent(this.name)}`);
      const query = { ...QUERY, rate: this.rate, format: "s16le", channels: 1, position: this.from };
      if (ingest.token !== null) query.token = ingest.token;
      for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
      return url;
    }

    receive(data) {
      let message;
      try {
        message = JSON.parse(data);
      } catch {
        return;
      }
      if (message?.type === "ready") this.ready(message.position);
      else if (message?.type === "frame") {
        this.processed_s = Math.max(this.processed_s, (message.start + message.end) / 2 || 0);
        this.pump();
      } else if (message?.type === "gap") this.lost += message.lost_s || 0;
      else if (message?.type === "error" && typeof message.message === "string")
        this.note = message.message.slice(0, 200);
      else if (message?.type === "end") this.ended(message);
    }

    ready(position) {
      if (!this.begun && position > this.from) return this.rename(); // another producer's stream, kept for reconnection
      if (this.begun && position === 0 && this.from > 0) return this.startOver(); // the server has forgotten it
      this.begun = true;
      this.tries = 0;
      this.away = null;
      if (this.since === 0) this.since = seconds();
      this.setPhase("live");
      if (ingest.follow) {
        choose(this.name);
        ingest.follow = true;
      }
      this.pump();
    }

    /** Send as much as the network and the server accept now. */
    pump() {
      if (this.phase !== "live" || this.ending || this.socket?.readyState !== WebSocket.OPEN) return;
      const ahead = Math.ceil((this.processed_s + MAX_LEAD_S) * this.rate);
      while (this.sent < Math.min(this.available, ahead) && this.socket.bufferedAmount < MAX_SOCKET_BYTES) {
        const chunk = this.samplesFrom(this.sent, Math.round(this.chunk_s * this.rate));
        if (!chunk) return this.socket.close(); // no longer buffered: the new position shows what was lost
        this.socket.send(chunk);
        this.sent += chunk.length;
      }
      clearTimeout(this.timer);
      if (this.sent === this.length) this.sendEnd();
      else if (this.length !== Infinity) this.timer = setTimeout(() => this.pump(), 25); // in the background frames wake it
    }

    sendEnd() {
      this.ending = true;
      this.socket.send(END);
    }

    ended(message) {
      const means = Object.entries(message.summary ?? {}).filter((entry) => typeof entry[1] === "number");
      const words = means.map(([tag, mean]) => `${tag} ${mean.toFixed(2)}`).join(", ");
      const long = timecode(message.seconds || 0),
        took = Math.max(0.1, seconds() - this.since);
      const summary = this.stopping
        ? `stopped after ${long}`
        : !this.ending
          ? `ended by the server after ${long}`
          : `${long}, tagged in ${took < 10 ? took.toFixed(1) : Math.round(took)} s`;
      this.processed_s = message.seconds || 0;
      this.finish("done", summary + this.losses() + (words ? ` · ${words}` : ""));
    }

    losses() {
      return this.lost > 0 ? ` · ${this.lost.toFixed(1)} s of sound lost` : "";
    }

    closed(event, opened) {
      this.socket = null;
      if (this.stopping && this.kind === "mic") return this.finish("done", "stopped");
      if (!opened) return this.refused();
      if (event.code === 1000) return this.finish("done", "ended by the server");
      if ([1003, 1007, 1008, 1009].includes(event.code))
        return this.fail(event.reason || "The server closed the connection.");
      this.onConnectionLost();
    }

    /** Reconnect: within RECONNECT_GRACE_S the stream continues where it was. */
    onConnectionLost() {
      if (this.begun) this.away ??= seconds();
      this.setPhase(this.begun ? "away" : "opening", "The connection was lost. Trying again.");
      const wait = Math.min(this.tries < 8 ? 1 : MAX_WAIT_S, 0.25 * 2 ** this.tries++);
      this.timer = setTimeout(() => this.connect(), 1000 * wait * (0.8 + 0.4 * Math.random()));
    }

    /** A browser hides why a handshake failed; a plain HTTP request to the same port shows it. */
    async refused() {
      const why = await explainRefusal(this).catch(() => ({}));
      if (this.isFinished || this.socket) return;
      if (why.health) this.wait(why.health, () => this.connect());
      else if (why.token) this.askToken();
      else if (why.taken && !this.begun) this.rename();
      else if (why.words) this.fail(why.words);
      else this.onConnectionLost();
    }

    rename() {
      const old = this.socket;
      this.socket = null;
      old?.close();
      this.name = streamName(this.title, randomEnd());
      if (++this.tries > 8) return this.fail("The server accepts no stream from this page.");
      this.timer = setTimeout(() => this.connect(), 50);
    }

    startOver() {
      if (this.kind === "mic") {
        this.zero += this.from; // a new stream from here on
        Object.assign(this, { begun: false, from: 0, sent: 0, processed_s: 0 });
        return this.ready(0);
      }
      const old = this.socket;
      this.socket = null;
      if (old?.readyState === WebSocket.OPEN) old.send(END);
      old?.close();
      this.begun = false;
      this.name = streamName(this.title, randomEnd());
      this.connect();
    }

    askToken() {
      this.setPhase("token", ingest.token === null ? "A token is needed." : "The server does not know this token.");
      $("key").hidden = false;
      if (!$("key").contains(document.activeElement)) $("key-word").focus();
    }

    stop() {
      if (this.isFinished) return this.dismiss();
      this.stopping = true;
      if (this.phase !== "live" || this.socket?.readyState !== WebSocket.OPEN)
        return this.finish("done", this.begun ? "stopped" : "cancelled");
      if (this.kind === "mic") this.pump(); // what was captured so far
      if (!this.ending) this.sendEnd();
      this.release();
      this.setPhase("ending", "Waiting for the last frames.");
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.finish("done", "stopped"), 5000);
    }

    /** End the stream when the page closes: the server cannot know otherwise. */
    abandon() {
      if (this.isFinished) return;
      this.stopping = true;
      if (this.socket?.readyState === WebSocket.OPEN && !this.ending) this.sendEnd();
      this.finish("done", "stopped");
    }

    dismiss() {
      const next = this.row.item.nextElementSibling ?? this.row.item.previousElementSibling;
      const had = this.row.item.contains(document.activeElement);
      senders.splice(senders.indexOf(this), 1);
      this.row.item.remove();
      $("sources").hidden = !senders.length;
      if (had) (next?.querySelector(".stop") ?? $("tag-files")).focus();
    }

    show() {
      showSource(this);
    }
  }

  /** For people: why a sound cannot be sent. */
  class Refused extends Error {}

  const isFull = (health) => health.room <= 0 || health.status === "degraded";

  async function explainRefusal(sender) {
    const health = await fetchHealth();
    if (!health) return { words: "This server accepts no audio." };
    const limits = { signal: AbortSignal.timeout(3000), cache: "no-store", credentials: "same-origin" };
    const answer = await fetch(sender.address("http"), limits);
    const reply = (await answer.text()).trim().slice(0, 200);
    if (answer.status === 401 || answer.status === 403) return { token: true };
    if (answer.status === 409) return { taken: true };
    if (answer.status === 503) return { health: { ...health, retry_after_s: answer.headers.get("Retry-After") } };
    if (isFull(health)) return { health };
    return [400, 429].includes(answer.status) ? { words: reply } : {};
  }

  // --- the microphone ------------------------------------------------------------------------------------------------
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

  /** -> a MediaStream of one device, or of the usual one; as it sounds, nothing improved. */
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
      return Math.max(this.oldest, this.discarded || 0, this.zero + Math.floor(this.processed_s * this.rate)) - this.zero;
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

  const sample16 = (value) => clamp(Math.round(value * 32768), -32768, 32767) || 0; // || 0: what is no number

  function tagMicrophone() {
    const running = senders.find((sender) => sender.kind === "mic" && !sender.isFinished);
    if (running) return running.row.stop.focus();
    ingest.follow = true;
    new Microphone().start();
  }

  // --- files ---------------------------------------------------------------------------------------------------------
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
      this.chunk_s = FILE_CHUNK_S;
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
      this.channels = this.file = null;
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

  function tagFiles(files) {
    if (!files.length) return;
    ingest.follow = true;
    for (const file of files) new SoundFile(file);
    nextFile();
  }

  /** One file after another. */
  function nextFile() {
    const files = senders.filter((sender) => sender.kind === "file" && !sender.isFinished);
    if (files.length && files.every((sender) => sender.phase === "waiting")) files[0].start();
  }

  function removeOldSenders() {
    const past = senders.filter((sender) => sender.isFinished);
    for (const sender of past.slice(0, Math.max(0, past.length - MAX_FINISHED_ROWS))) sender.dismiss();
  }

  // --- their rows ----------------------------------------------------------------------------------------------------
  function sourceRow(sender) {
    const item = $("source").content.firstElementChild.cloneNode(true),
      part = (name) => item.querySelector(`.${name}`);
    const row = { item };
    for (const name of ["title", "gauge", "level", "peak", "words", "device", "look", "stop"]) row[name] = part(name);
    item.dataset.kind = sender.kind;
    row.gauge.setAttribute("role", sender.kind === "mic" ? "meter" : "progressbar");
    row.gauge.setAttribute("aria-label", sender.kind === "mic" ? "Level" : `Progress of ${sender.title}`);
    row.look.onclick = () => choose(sender.name);
    row.stop.onclick = () => sender.stop();
    $("source-list").append(item);
    $("sources").hidden = false;
    return row;
  }

  /** Scroll the list, not the page. */
  function showInList(item) {
    const list = $("source-list"),
      top = item.offsetTop - list.offsetTop,
      bottom = top + item.offsetHeight - list.clientHeight;
    list.scrollTop = clamp(list.scrollTop, bottom, Math.max(top, bottom));
  }

  function showSource(sender) {
    const { row, phase } = sender;
    row.item.dataset.phase = phase;
    put(row.title, sender.begun ? sender.name : sender.title);
    row.title.title = sender.name;
    put(row.words, statusText(sender));
    row.look.hidden = !sender.begun;
    const action = sender.isFinished ? "Dismiss" : sender.kind === "mic" ? "Stop" : "Cancel";
    put(row.stop, action);
    row.stop.setAttribute("aria-label", `${action}: ${sender.title}`);
    row.look.setAttribute("aria-label", `Show ${sender.title}`);
    if (sender.kind === "mic") showLevel(row, sender.isFinished ? null : sender.level);
    else showProgress(row, (sender.processed_s * sender.rate) / sender.length);
  }

  function statusText(sender) {
    if (sender.phase === "busy") return sender.countdown();
    if (sender.phase !== "live")
      return sender.note && sender.isFinished
        ? `${sender.note} ${sender.words}`
        : sender.words || (sender.phase === "waiting" ? "waiting for its turn" : "opening");
    const time = sender.kind === "mic" ? timecode(sender.available / sender.rate) : "";
    return [time, sender.note || sender.progress()].filter(Boolean).join(" · ") + sender.losses();
  }

  function showLevel(row, level) {
    const part = (db) => clamp(1 - db / MIN_DB, 0, 1);
    row.level.style.transform = `scaleX(${level ? part(level.rms) : 0})`;
    row.peak.hidden = !level || level.peak <= MIN_DB;
    if (level) row.peak.style.left = `${100 * part(level.peak)}%`;
    row.gauge.setAttribute("aria-valuemin", String(MIN_DB));
    row.gauge.setAttribute("aria-valuemax", "0");
    row.gauge.setAttribute("aria-valuenow", level ? clamp(level.rms, MIN_DB, 0).toFixed(0) : String(MIN_DB));
    row.gauge.setAttribute("aria-valuetext", level ? `${level.rms.toFixed(0)} dB` : "none");
  }

  function showProgress(row, part) {
    const done = clamp(part || 0, 0, 1);
    row.level.style.transform = `scaleX(${done})`;
    row.peak.hidden = true;
    row.gauge.setAttribute("aria-valuemin", "0");
    row.gauge.setAttribute("aria-valuemax", "100");
    row.gauge.setAttribute("aria-valuenow", (100 * done).toFixed(0));
  }

  // --- dropping ------------------------------------------------------------------------------------------------------
  const holdsFiles = (event) => Boolean(ingest.health) && [...(event.dataTransfer?.types ?? [])].includes("Files");

  function overPage(event) {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    const count = [...event.dataTransfer.items].filter((item) => item.kind === "file").length;
    put($("drop-words"), count > 1 ? `Tag these ${count} files` : "Tag this file");
    $("drop").hidden = false;
    clearTimeout(ingest.dropping); // dragleave is not reliable; dragover repeats
    ingest.dropping = setTimeout(() => {
      $("drop").hidden = true;
    }, 500);
  }

  function dropped(event) {
    $("drop").hidden = true;
    if (!holdsFiles(event)) return;
    event.preventDefault();
    tagFiles([...event.dataTransfer.files]);
  }

  function addSenderListeners() {
    $("tag-mic").onclick = tagMicrophone;
    $("tag-files").onclick = () => $("files").click();
    $("files").onchange = () => {
      tagFiles([...$("files").files]);
      $("files").value = ""; // so that the same file can be chosen again
    };
    $("key").onsubmit = (event) => {
      event.preventDefault();
      ingest.token = $("key-word").value.trim();
      $("key").hidden = true;
      for (const sender of senders) if (sender.phase === "token") sender.connect();
    };
    addEventListener("dragenter", overPage);
    addEventListener("dragover", overPage);
    addEventListener("drop", dropped);
    addEventListener("pagehide", () => {
      for (const sender of [...senders]) sender.abandon();
    });
  }

  return { ingest, senders, updateIngest, addSenderListeners };
}
