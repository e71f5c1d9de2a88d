/** A sound that this page sends to the server, as a stream. */
import { announce } from "./announcer.js";
import { choose } from "./choice.js";
import { fetchHealth, hasEnded, ingest, randomEnd, senders, streamName } from "./ingest.js";
import { addRow, showInList, showRow } from "./senderrows.js";
import { HANDSHAKE_S, MAX_WAIT_S, address, view } from "./state.js";
import { $, clamp, plural, seconds, timecode } from "./util.js";

const RECONNECT_GRACE_S = 10; // for so long the server keeps a stream whose connection broke off
const MAX_SOCKET_BYTES = 2 ** 18; // bytes that wait in the browser for the network
const MAX_LEAD_S = 20; // of audio that the server has not processed yet
const MAX_FINISHED_ROWS = 12; // rows of finished senders
const END = '{"type":"end"}';
const QUERY = { top: 5 }; // few tags are enough here: the page also subscribes to the stream

/** A stream sent by this page: its connection, its position in the audio and its row. */
export class Sender {
  constructor(kind, title) {
    Object.assign(this, { kind, title, name: streamName(title), phase: "waiting", words: "", note: "" });
    Object.assign(this, { socket: null, timer: 0, tries: 0, rate: 0, sent: 0, processed_s: 0, lost: 0, since: 0 });
    this.away = null; // since when the connection is broken, in a stream that had begun
    this.begun = this.stopping = false;
    this.row = addRow(this);
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
    const query = { ...QUERY, rate: this.rate, format: "s16le", channels: 1, position: this.from };
    if (ingest.token !== null) query.token = ingest.token;
    return address(scheme, `ingest/${encodeURIComponent(this.name)}`, query);
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
    this.onBegin();
    if (ingest.follow && !view.listening) {
      choose(this.name);
      ingest.follow = true;
    }
    this.pump();
  }

  /** The stream has begun, or goes on. */
  onBegin() {}

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
    this.forget();
    this.row.item.remove();
    $("sources").hidden = !senders.length;
    if (had) (next?.querySelector(".stop") ?? $("tag-files")).focus();
  }

  forget() {}

  show() {
    showRow(this);
  }
}

/** For people: why a sound cannot be sent. */
export class Refused extends Error {}

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

export function nextFile() {
  const files = senders.filter((sender) => sender.kind === "file" && !sender.isFinished);
  if (files.length && files.every((sender) => sender.phase === "waiting")) files[0].start();
}

function removeOldSenders() {
  const past = senders.filter((sender) => sender.isFinished);
  for (const sender of past.slice(0, Math.max(0, past.length - MAX_FINISHED_ROWS))) sender.dismiss();
}

/** One file after another. */
