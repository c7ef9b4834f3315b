// An echo server on npm's `ws`, which counts what it sees; the same counts as websockets_echo.py.
// The server itself never closes, so each close frame that comes was the client's.
"use strict";
const { WebSocketServer } = require("ws");

const counts = { connections: 0, open: 0, received: 0, sent: 0, closes: {}, reasons: {} };
const add = (table, key) => (table[key] = (table[key] || 0) + 1);
const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");

const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
server.on("listening", () => say({ url: `ws://127.0.0.1:${server.address().port}`, pid: process.pid }));
server.on("connection", (socket) => {
  counts.connections += 1;
  counts.open += 1;
  socket.on("message", (data, isBinary) => {
    counts.received += 1;
    socket.send(data, { binary: isBinary }, (error) => error || (counts.sent += 1));
  });
  socket.on("error", () => {});
  socket.on("close", (code, reason) => {
    counts.open -= 1;
    add(counts.closes, code === 1006 ? "1006 by network" : `${code} by client`);
    if (code !== 1006) add(counts.reasons, reason.toString());
  });
});

process.stdin.on("data", (lines) => lines.toString().split("\n").slice(1).forEach(() => say(counts)));
process.stdin.on("end", () => process.exit(0));
