/** The page's connection to the server. It reconnects by itself. */
import { receive } from "./messages.js";
import { HANDSHAKE_S, HISTORY_S, MAX_WAIT_S, address, link, refresh } from "./state.js";
import { seconds } from "./util.js";

const FIRST_WAIT_S = 0.5;
const SILENT_CONNECTION_S = 30; // without any message: the connection may be dead with no close event

export function connect() {
  clearTimeout(link.timer);
  const socket = new WebSocket(address("ws", "./", { history: HISTORY_S }));
  const late = setTimeout(() => socket.close(), HANDSHAKE_S * 1000);
  let opened = false;
  link.socket = socket;
  link.lastMessageAt = seconds();
  if (link.state !== "open") link.state = "connecting";
  socket.onopen = () => {
    clearTimeout(late);
    opened = true;
    link.state = "open";
    refresh();
  };
  socket.onmessage = (event) => {
    if (socket === link.socket) receive(event.data);
  };
  socket.onclose = (event) => {
    clearTimeout(late);
    if (socket === link.socket) onClose(event, opened);
  };
  refresh();
}

function onClose(event, opened) {
  const wait = Math.min(MAX_WAIT_S, FIRST_WAIT_S * 2 ** Math.min(link.tries++, 10)) * (0.8 + 0.4 * Math.random());
  link.socket = null;
  link.state = "away";
  link.due = seconds() + wait;
  link.timer = setTimeout(connect, wait * 1000);
  if (event.code === 1013) link.why = "The server closed the connection: this page read too slowly.";
  else if (event.code === 1001 || event.code === 1012) link.why = "The server was stopped.";
  else if (event.reason) link.why ||= `The server closed the connection: ${event.reason}.`;
  else if (!opened) explainFailure();
  refresh();
}

/** A browser hides why a handshake failed; a plain HTTP request to the same port shows it. */
async function explainFailure() {
  let why = "";
  try {
    const answer = await fetch(address("http", "metrics"), {
      signal: AbortSignal.timeout(3000),
      cache: "no-store",
      credentials: "same-origin",
    });
    why =
      answer.status === 401 || answer.status === 403
        ? "The server wants a token: add ?token=… to this page's address."
        : "The server answers, but accepts no more connections.";
  } catch {
    /* nobody there */
  }
  if (link.state !== "open") {
    link.why = why;
    refresh();
  }
}

export function reconnectNow() {
  link.tries = 0;
  link.socket?.close();
  link.socket = null;
  connect();
}

/** Reconnect after a long time without a message: a dead connection is not reported. */
export function reconnectIfSilent() {
  if (link.state !== "open" || seconds() - link.lastMessageAt < SILENT_CONNECTION_S) return;
  const old = link.socket;
  connect();
  old.close();
}
