// Publish and subscribe with npm's mqtt: `node mqtt_npm.mjs URL VERSION` (3.1.1 is 4, 5 is 5).
// Ends with 0 when every step went as the norm says; says what went otherwise.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import mqtt from "mqtt";

const [url, version, certificate] = process.argv.slice(2);
const protocolVersion = Number(version);
const base = {
  protocolVersion,
  reconnectPeriod: 0,
  connectTimeout: 20000,
  ...(certificate ? { ca: readFileSync(certificate) } : {}),
};
const unique = `${process.pid}-${protocolVersion}`;

function connect(options) {
  return mqtt.connectAsync(url, { ...base, ...options });
}

// The messages a client receives, to be waited for one by one.
function inbox(client) {
  const waiting = [];
  const wanted = [];
  client.on("message", (topic, payload, packet) => {
    const entry = { topic, text: payload.toString(), packet };
    const take = wanted.shift();
    if (take) take(entry);
    else waiting.push(entry);
  });
  return {
    next: () =>
      new Promise((resolve, reject) => {
        const entry = waiting.shift();
        if (entry) return resolve(entry);
        const timer = setTimeout(() => reject(new Error("no message came")), 20000);
        wanted.push((came) => {
          clearTimeout(timer);
          resolve(came);
        });
      }),
    waiting,
  };
}

async function everyQualityArrivesOnceAndInOrder() {
  const reader = await connect({ clientId: `reader-${unique}`, clean: true });
  const box = inbox(reader);
  const granted = await reader.subscribeAsync(`room/${unique}/+`, { qos: 2 });
  assert.equal(granted[0].qos, 2);
  const writer = await connect({ clientId: `writer-${unique}`, clean: true });
  for (const qos of [0, 1, 2]) {
    for (let n = 0; n < 50; n += 1) {
      await writer.publishAsync(`room/${unique}/${qos}`, `${n}`, { qos });
    }
    for (let n = 0; n < 50; n += 1) {
      const came = await box.next();
      assert.equal(came.topic, `room/${unique}/${qos}`);
      assert.equal(came.text, `${n}`);
      assert.equal(came.packet.qos, qos);
    }
  }
  assert.equal(box.waiting.length, 0);
  await writer.endAsync();
  await reader.endAsync();
}

async function retainedIsGivenToThoseWhoComeLaterUntilItIsCleared() {
  const topic = `retained/${unique}/state`;
  const writer = await connect({ clientId: `keeper-${unique}`, clean: true });
  await writer.publishAsync(topic, "open", { qos: 1, retain: true });
  const reader = await connect({ clientId: `late-${unique}`, clean: true });
  const box = inbox(reader);
  await reader.subscribeAsync(`retained/${unique}/#`, { qos: 1 });
  const came = await box.next();
  assert.equal(came.text, "open");
  assert.equal(came.packet.retain, true);
  await writer.publishAsync(topic, "", { qos: 1, retain: true });
  const cleared = await box.next();
  assert.equal(cleared.text, "");
  const other = await connect({ clientId: `later-${unique}`, clean: true });
  const empty = inbox(other);
  await other.subscribeAsync(`retained/${unique}/#`, { qos: 1 });
  await writer.publishAsync(topic, "live", { qos: 1 });
  const live = await empty.next();
  assert.equal(live.text, "live");
  assert.equal(live.packet.retain, false);
  await Promise.all([writer, reader, other].map((client) => client.endAsync()));
}

async function aSessionThatIsKeptGetsWhatCameMeanwhile() {
  const kept = {
    clientId: `kept-${unique}`,
    clean: false,
    ...(protocolVersion === 5 ? { properties: { sessionExpiryInterval: 600 } } : {}),
  };
  const first = await connect(kept);
  await first.subscribeAsync(`kept/${unique}`, { qos: 2 });
  await first.endAsync();
  const writer = await connect({ clientId: `meanwhile-${unique}`, clean: true });
  for (let n = 0; n < 20; n += 1) {
    await writer.publishAsync(`kept/${unique}`, `${n}`, { qos: n % 2 ? 1 : 2 });
  }
  // Messages come right behind the connack: the listener stands before the connection does.
  const second = mqtt.connect(url, { ...base, ...kept });
  const box = inbox(second);
  const connack = await new Promise((resolve, reject) => {
    second.once("connect", resolve);
    second.once("error", reject);
  });
  assert.equal(connack.sessionPresent, true);
  // The norm keeps the order of messages of one quality.
  const came = { 1: [], 2: [] };
  for (let n = 0; n < 20; n += 1) {
    const { text, packet } = await box.next();
    came[packet.qos].push(Number(text));
  }
  assert.deepEqual(came[1], [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
  assert.deepEqual(came[2], [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]);
  await second.endAsync();
  const third = await connect({ ...kept, clean: true });
  await third.endAsync();
  await writer.endAsync();
}

async function theWillIsPublishedWhenTheConnectionIsLost() {
  const reader = await connect({ clientId: `mourner-${unique}`, clean: true });
  const box = inbox(reader);
  await reader.subscribeAsync(`will/${unique}`, { qos: 1 });
  const dying = await connect({
    clientId: `dying-${unique}`,
    clean: true,
    will: { topic: `will/${unique}`, payload: Buffer.from("gone"), qos: 1, retain: false },
  });
  dying.stream.destroy();
  const came = await box.next();
  assert.equal(came.text, "gone");
  await reader.endAsync();
}

async function fivePropertiesArePassedOn() {
  const reader = await connect({ clientId: `props-${unique}`, clean: true });
  const box = inbox(reader);
  await reader.subscribeAsync(`props/${unique}`, {
    qos: 1,
    properties: { subscriptionIdentifier: 77 },
  });
  const writer = await connect({ clientId: `proper-${unique}`, clean: true });
  await writer.publishAsync(`props/${unique}`, "ask", {
    qos: 1,
    properties: {
      responseTopic: `answers/${unique}`,
      correlationData: Buffer.from([1, 2, 3]),
      contentType: "text/plain",
      payloadFormatIndicator: true,
      userProperties: { colour: ["red", "blue"] },
    },
  });
  const { properties } = (await box.next()).packet;
  assert.equal(properties.subscriptionIdentifier, 77);
  assert.equal(properties.responseTopic, `answers/${unique}`);
  assert.deepEqual([...properties.correlationData], [1, 2, 3]);
  assert.equal(properties.contentType, "text/plain");
  assert.deepEqual([...properties.userProperties.colour], ["red", "blue"]);
  await writer.endAsync();
  await reader.endAsync();
}

async function aSharedFilterGivesEachMessageToOneMember() {
  const members = [];
  for (const n of [1, 2]) {
    const member = await connect({ clientId: `member${n}-${unique}`, clean: true });
    const came = [];
    member.on("message", (_, payload) => came.push(payload.toString()));
    await member.subscribeAsync(`$share/team/jobs/${unique}`, { qos: 1 });
    members.push({ member, came });
  }
  const writer = await connect({ clientId: `boss-${unique}`, clean: true });
  for (let n = 0; n < 40; n += 1) {
    await writer.publishAsync(`jobs/${unique}`, `${n}`, { qos: 1 });
  }
  const total = () => members[0].came.length + members[1].came.length;
  const deadline = Date.now() + 20000;
  while (total() < 40 && Date.now() < deadline) await new Promise((r) => setTimeout(r, 20));
  const all = [...members[0].came, ...members[1].came].map(Number).sort((a, b) => a - b);
  assert.deepEqual(all, [...Array(40).keys()]);
  assert.ok(members.every(({ came }) => came.length > 0), "both members get a share");
  await writer.endAsync();
  for (const { member } of members) await member.endAsync();
}

const steps = [
  everyQualityArrivesOnceAndInOrder,
  retainedIsGivenToThoseWhoComeLaterUntilItIsCleared,
  aSessionThatIsKeptGetsWhatCameMeanwhile,
  theWillIsPublishedWhenTheConnectionIsLost,
  aSharedFilterGivesEachMessageToOneMember,
  ...(protocolVersion === 5 ? [fivePropertiesArePassedOn] : []),
];
for (const step of steps) {
  await step();
  console.log(`ok ${step.name}`);
}
process.exit(0);
