// Direct chat over WebSockets with npm's ws: `node websocket_npm.mjs URL [CERTIFICATE]`.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import WebSocket from "ws";

const [url, certificate] = process.argv.slice(2);
const unique = process.pid;
const patience = 20000;

class Client {
  constructor(user, options = {}) {
    const ca = certificate ? { ca: readFileSync(certificate) } : {};
    this.heard = [];
    this.wanted = [];
    this.socket = new WebSocket(url, "hawser.json.v1", { ...ca, ...options });
    this.socket.on("message", (data, binary) => {
      assert.equal(binary, false);
      const message = JSON.parse(data.toString());
      const at = this.wanted.findIndex(({ type }) => type === message.type);
      if (at >= 0) this.wanted.splice(at, 1)[0].take(message);
      else this.heard.push(message);
    });
    this.opened = new Promise((open, fail) => this.socket.once("open", open).once("error", fail));
    this.user = `${user}-${unique}`;
    this.sent = 0;
  }

  // The next message of a type.
  next(type) {
    const at = this.heard.findIndex((message) => message.type === type);
    if (at >= 0) return Promise.resolve(this.heard.splice(at, 1)[0]);
    return new Promise((take, fail) => {
      const timer = setTimeout(() => fail(new Error(`no ${type} came`)), patience);
      this.wanted.push({ type, take: (message) => (clearTimeout(timer), take(message)) });
    });
  }

  say(message, options) {
    this.socket.send(JSON.stringify(message), options);
  }

  async login() {
    await this.opened;
    assert.equal(this.socket.protocol, "hawser.json.v1");
    this.say({ type: "hello", user: this.user, device: "npm" });
    return this.next("welcome");
  }

  async request(to, text) {
    this.sent += 1;
    this.say({ type: "request", client_seq: this.sent, to, text });
    const answer = await this.next("acknowledge");
    assert.equal(answer.client_seq, this.sent);
  }

  async leave() {
    const closed = new Promise((end) => this.socket.once("close", end));
    this.socket.close(1000, "done");
    assert.equal(await closed, 1000);
  }
}

async function twoUsersChat(options) {
  const [one, other] = [new Client("one", options), new Client("other", options)];
  await one.login();
  await other.login();
  if (options.perMessageDeflate) assert.match(one.socket.extensions, /permessage-deflate/);
  const texts = ["short", "ümlaut ☃ 𝄞", "x".repeat(30000), ""];
  for (const text of texts) {
    await one.request(other.user, text);
    const came = await other.next("notify");
    assert.equal(came.text ?? "", text);
    assert.equal(came.sender, one.user);
    other.say({ type: "notify_acknowledge", number: came.number });
  }
  await one.leave();
  await other.leave();
}

async function fragmentsAndPingsAreTaken() {
  const client = new Client("fragments");
  await client.login();
  const text = JSON.stringify({ type: "sync", request: 7, after: 0, limit: 5 });
  client.socket.send(text.slice(0, 10), { fin: false });
  const pong = new Promise((came) => client.socket.once("pong", came));
  client.socket.ping("between");
  client.socket.send(text.slice(10, 20), { fin: false });
  client.socket.send(text.slice(20), { fin: true });
  assert.equal((await pong).toString(), "between");
  assert.equal((await client.next("page")).request, 7);
  await client.leave();
}

async function aBinaryMessageIsRefusedWith1003() {
  const client = new Client("binary");
  await client.login();
  const closed = new Promise((end) => client.socket.once("close", end));
  client.socket.send(Buffer.from([1, 2, 3]));
  assert.equal(await closed, 1003);
}

const steps = [
  ["chat", () => twoUsersChat({ perMessageDeflate: false })],
  ["chat, compressed", () => twoUsersChat({ perMessageDeflate: { threshold: 0 } })],
  ["fragments and pings", fragmentsAndPingsAreTaken],
  ["binary refused", aBinaryMessageIsRefusedWith1003],
];
for (const [name, step] of steps) {
  await step();
  console.log(`ok ${name}`);
}
process.exit(0);
