// A subscriber of SpheroRank that misses nothing, after docs/reference/messages.md.
// It prints each message as one JSON line: {"sequence", "topic", "type", "how"}.
//
//   node client.mjs EVENTS REQUESTS NAME [SECRET_KEY_FILE PUBLIC_KEY_FILE SERVER_KEY_FILE]

import { readFileSync } from "node:fs";
import { Request, Subscriber } from "zeromq";

const SILENT_MS = 15_000;
const REPLY_MS = 5_000;
const ACK_INTERVAL_MS = 200;

const [events, requests, name, secretFile, publicFile, serverFile] = process.argv.slice(2);
const key = (file) => readFileSync(file, "utf8").trim();
const curve = secretFile
  ? {
      curveSecretKey: key(secretFile),
      curvePublicKey: key(publicFile),
      curveServerKey: key(serverFile),
    }
  : {};

/** Send a request, again and again on a new socket until a reply arrives, and return the reply. */
async function ask(request) {
  for (;;) {
    const socket = new Request({ ...curve, linger: 0, receiveTimeout: REPLY_MS });
    try {
      socket.connect(requests);
      await socket.send(JSON.stringify(request));
      const [content] = await socket.receive();
      const reply = JSON.parse(content.toString());
      if (reply.kind !== "error") return reply;
      if (!reply.retry) throw new Error(`refused: ${reply.error}`);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
      console.error(`no answer from ${requests}; retrying`);
    } finally {
      socket.close();
    }
  }
}

/** Return a SUB socket that receives every topic. */
function subscribe() {
  const socket = new Subscriber({ ...curve, linger: 0, receiveTimeout: SILENT_MS });
  socket.subscribe("spherorank.v1.");
  socket.connect(events);
  return socket;
}

let last = (await ask({ kind: "ack", subscriber: name, sequence: 0 })).sequence;
let acknowledged = last;
let acknowledgedAt = 0;

/** Process one message; the next message is processed afterwards. */
function handle(sequence, topic, body, how) {
  console.log(JSON.stringify({ sequence, topic, type: body.type, how }));
  last = sequence;
}

/** Request every message after the last one. */
async function replay() {
  let more = true;
  while (more) {
    const reply = await ask({ kind: "replay", after: last });
    if (reply.newest < last) throw new Error(`number ${last} is from another store`);
    for (const message of reply.messages) {
      handle(message.sequence, message.topic, message.body, "replayed");
    }
    last = reply.last;
    more = reply.more;
  }
}

/** Acknowledge what was processed, but not too often. */
async function acknowledge() {
  if (last > acknowledged && Date.now() - acknowledgedAt >= ACK_INTERVAL_MS) {
    acknowledged = (await ask({ kind: "ack", subscriber: name, sequence: last })).sequence;
    acknowledgedAt = Date.now();
  }
}

let subscriber = subscribe();
await replay();
for (;;) {
  await acknowledge();
  let parts;
  try {
    parts = await subscriber.receive();
  } catch (error) {
    if (error.code !== "EAGAIN") throw error;
    console.error(`no message for ${SILENT_MS / 1000} s: the service is gone or stuck`);
    subscriber.close();
    subscriber = subscribe();
    await replay();
    continue;
  }
  const [topic, number, body] = parts;
  const sequence = Number(number.readBigUInt64BE());
  if (sequence <= last) continue; // a repetition
  if (sequence === last + 1) handle(sequence, topic.toString(), JSON.parse(body.toString()), "live");
  else await replay(); // a gap
}
