// SPDX-License-Identifier: GPL-2.0-only
// MQTT.js as its users run it, in Node over TCP and over WebSocket, and in Chromium over WebSocket.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import mqtt from 'mqtt';
import { chromium } from 'playwright-core';

const ID = 'js-1';
const URLS = { tls: 'mqtts://127.0.0.1:8883', websocket: 'wss://127.0.0.1:8443/mqtt' };

const wire = connect(process.env.CORDON_CONTROL);
const answers = createInterface({ input: wire })[Symbol.asyncIterator]();

async function site(...call) {
  wire.write(JSON.stringify(call) + '\n');
  const answer = JSON.parse((await answers.next()).value);
  if (answer.error) throw new Error(`${call[0]}: ${answer.error}`);
  return answer.value;
}

let files;

before(async () => {
  await site('plug', ID);
  await site('enroll', ID);
  files = await site('files', ID);
});

after(() => wire.end());

const open = (url, options = {}) => mqtt.connectAsync(url, {
  ca: readFileSync(files.ca), cert: readFileSync(files.cert), key: readFileSync(files.key), reconnectPeriod: 0, ...options,
});

const messages = (client) => {
  const got = [];
  const waiting = [];
  client.on('message', (topic, payload, packet) => {
    got.push({ topic, text: payload.toString(), packet });
    waiting.splice(0).forEach((f) => f());
  });
  return async (count) => {
    while (got.length < count) await new Promise((f) => waiting.push(f));
    return got;
  };
};

for (const [way, url] of Object.entries(URLS)) {
  for (const protocolVersion of [4, 5]) {
    test(`over ${way}, protocol ${protocolVersion}: every QoS, in order`, { timeout: 30_000 }, async () => {
      const client = await open(url, { protocolVersion });
      const got = messages(client);
      const granted = await client.subscribeAsync(`d/${ID}/${way}/#`, { qos: 2 });
      assert.equal(granted[0].qos, 2);
      for (const qos of [0, 1, 2]) await client.publishAsync(`d/${ID}/${way}/${qos}`, `at ${qos}`, { qos });
      const three = await got(3);
      assert.deepEqual(three.map((m) => [m.topic, m.text, m.packet.qos]),
        [0, 1, 2].map((q) => [`d/${ID}/${way}/${q}`, `at ${q}`, q]));
      await client.endAsync();
    });
  }

  test(`over ${way}: what MQTT 5 carries beside the payload`, { timeout: 30_000 }, async () => {
    const client = await open(url, { protocolVersion: 5, properties: { topicAliasMaximum: 5 }, autoAssignTopicAlias: true });
    const got = messages(client);
    await client.subscribeAsync(`d/${ID}/props`, { qos: 1, properties: { subscriptionIdentifier: 7 } });
    const properties = {
      contentType: 'text/plain', responseTopic: `d/${ID}/reply`, correlationData: Buffer.from('abc'),
      userProperties: { a: '1', b: '2' }, messageExpiryInterval: 60, payloadFormatIndicator: true,
    };
    for (let i = 0; i < 3; i++) await client.publishAsync(`d/${ID}/props`, `${i}`, { qos: 1, properties: { ...properties } });
    for (const { packet } of await got(3)) {
      const p = packet.properties;
      assert.equal(p.contentType, 'text/plain');
      assert.equal(p.responseTopic, `d/${ID}/reply`);
      assert.equal(p.correlationData.toString(), 'abc');
      assert.deepEqual({ ...p.userProperties }, { a: '1', b: '2' });
      assert.equal(p.subscriptionIdentifier, 7);
      assert.ok(p.messageExpiryInterval > 0 && p.messageExpiryInterval <= 60);
    }
    await client.endAsync();
  });

  test(`over ${way}: a refused publish has its reason, the session goes on`, { timeout: 30_000 }, async () => {
    const client = await open(url, { protocolVersion: 5 });
    await assert.rejects(client.publishAsync('d/somebody-else/x', 'no', { qos: 1 }), (e) => e.code === 0x87);
    await client.publishAsync(`d/${ID}/x`, 'yes', { qos: 1 });
    await client.endAsync();
  });

  test(`over ${way}: a persistent session keeps what came meanwhile`, { timeout: 30_000 }, async () => {
    const options = { protocolVersion: 5, clientId: `sleeper-${way}`, clean: false, properties: { sessionExpiryInterval: 300 } };
    const first = await open(url, options);
    await first.subscribeAsync(`d/${ID}/kept/${way}`, { qos: 1 });
    await first.endAsync();
    const other = await open(url);
    await other.publishAsync(`d/${ID}/kept/${way}`, 'while away', { qos: 1 });
    await other.endAsync();
    const again = mqtt.connect(url, { ca: readFileSync(files.ca), cert: readFileSync(files.cert), key: readFileSync(files.key), reconnectPeriod: 0, ...options });
    const [message] = await messages(again)(1);
    assert.equal(message.text, 'while away');
    await again.endAsync();
  });
}

for (const [way, url] of Object.entries(URLS)) {
  for (const protocolVersion of [4, 5]) {
    test(`over ${way}, protocol ${protocolVersion}: a will at a lost connection, none at an end in order`, { timeout: 30_000 }, async () => {
      const watcher = await open(url, { protocolVersion });
      const got = messages(watcher);
      await watcher.subscribeAsync(`d/${ID}/will/${way}/${protocolVersion}/#`, { qos: 1 });
      const will = (name) => ({
        protocolVersion, will: { topic: `d/${ID}/will/${way}/${protocolVersion}/${name}`, payload: 'gone', qos: 1 },
      });
      await (await open(url, will('in-order'))).endAsync();
      const lost = await open(url, will('lost'));
      lost.on('error', () => {});
      lost.stream.destroy();
      const [message] = await got(1);
      assert.equal(message.topic, `d/${ID}/will/${way}/${protocolVersion}/lost`);
      assert.equal(message.text, 'gone');
      await watcher.endAsync();
    });

    test(`over ${way}, protocol ${protocolVersion}: QoS 2 to a session that was away, each once and in order`, { timeout: 60_000 }, async () => {
      const topic = `d/${ID}/away/${way}/${protocolVersion}`;
      const options = {
        protocolVersion, clientId: `away-${way}-${protocolVersion}`, clean: false,
        ...(protocolVersion === 5 ? { properties: { sessionExpiryInterval: 300 } } : {}),
      };
      const first = await open(url, options);
      await first.subscribeAsync(topic, { qos: 2 });
      await first.endAsync();
      const other = await open(url, { protocolVersion });
      const count = 50;
      await Promise.all(Array.from({ length: count }, (_, n) => other.publishAsync(topic, `${n}`, { qos: 2 })));
      await other.endAsync();
      const again = mqtt.connect(url, {
        ca: readFileSync(files.ca), cert: readFileSync(files.cert), key: readFileSync(files.key), reconnectPeriod: 0, ...options,
      });
      const came = messages(again);
      await came(count);
      await again.publishAsync(`${topic}/last`, '', { qos: 2 });
      assert.deepEqual((await came(count)).map((m) => m.text), Array.from({ length: count }, (_, n) => `${n}`));
      await again.endAsync();
    });
  }
}

for (const [way, url] of Object.entries(URLS)) {
  test(`over ${way}: a delayed will is held back by who returns, and comes when nobody does`, { timeout: 60_000 }, async () => {
    const topic = `d/${ID}/late/${way}`;
    const watcher = await open(url, { protocolVersion: 5 });
    const got = messages(watcher);
    await watcher.subscribeAsync(topic, { qos: 2 });
    const will = (payload, willDelayInterval) => ({
      protocolVersion: 5, clientId: `late-${way}`, clean: false, properties: { sessionExpiryInterval: 300 },
      will: { topic, payload, qos: 2, properties: { willDelayInterval, contentType: 'text/plain', userProperties: { from: 'will' } } },
    });
    (await open(url, will('held back', 300))).stream.destroy();
    const returned = await open(url, will('gone', 1));
    returned.stream.destroy();
    const [{ text, packet }] = await got(1);
    assert.equal(text, 'gone');
    assert.equal(packet.qos, 2);
    assert.equal(packet.properties.contentType, 'text/plain');
    assert.deepEqual({ ...packet.properties.userProperties }, { from: 'will' });
    await watcher.endAsync();
  });

  for (const protocolVersion of [4, 5]) {
    test(`over ${way}, protocol ${protocolVersion}: a retained message comes to who subscribes later, until it is taken away`, { timeout: 30_000 }, async () => {
      const topic = `d/${ID}/stays/${way}/${protocolVersion}`;
      const client = await open(url, { protocolVersion });
      await client.publishAsync(topic, 'still here', { qos: 2, retain: true });
      const later = await open(url, { protocolVersion });
      const got = messages(later);
      await later.subscribeAsync(topic, { qos: 2 });
      const [{ text, packet }] = await got(1);
      assert.deepEqual([text, packet.retain, packet.qos], ['still here', true, 2]);
      await client.publishAsync(topic, '', { qos: 1, retain: true });
      await got(2);
      await later.unsubscribeAsync(topic);
      await later.subscribeAsync(topic, { qos: 2 });
      await client.publishAsync(topic, 'live', { qos: 1 });
      const third = (await got(3))[2];
      assert.deepEqual([third.text, third.packet.retain], ['live', false]);
      await Promise.all([client.endAsync(), later.endAsync()]);
    });
  }

  test(`over ${way}: user properties keep their order and their repetitions`, { timeout: 30_000 }, async () => {
    const client = await open(url, { protocolVersion: 5 });
    const got = messages(client);
    await client.subscribeAsync(`d/${ID}/pairs`, { qos: 2 });
    const userProperties = { z: ['1', '2', '1'], a: '3', m: ['4', 'ü'] };
    await client.publishAsync(`d/${ID}/pairs`, 'x', { qos: 2, properties: { userProperties } });
    const [{ packet }] = await got(1);
    assert.deepEqual({ ...packet.properties.userProperties }, userProperties);
    assert.deepEqual(Object.keys(packet.properties.userProperties), ['z', 'a', 'm']);
    await client.endAsync();
  });
}

/** Runs in the page: a client that goes away and comes back, and another that publishes and is lost meanwhile. */
async function inThePage({ id, protocolVersion }) {
  /* global mqtt */
  const url = 'wss://127.0.0.1:8443/mqtt';
  const topic = `d/${id}/browser/${protocolVersion}`;
  const open = (options) => mqtt.connectAsync(url, { protocolVersion, reconnectPeriod: 0, ...options });
  const stays = {
    clientId: `browser-${protocolVersion}`, clean: false,
    ...(protocolVersion === 5 ? { properties: { sessionExpiryInterval: 300 } } : {}),
  };
  const first = await open(stays);
  await first.subscribeAsync(`${topic}/#`, { qos: 2 });
  await first.endAsync();
  const other = await open({ will: { topic: `${topic}/will`, payload: 'gone', qos: 1 } });
  for (const qos of [0, 1, 2]) await other.publishAsync(`${topic}/${qos}`, `at ${qos}`, { qos, retain: qos === 2 });
  const again = mqtt.connect(url, { protocolVersion, reconnectPeriod: 0, ...stays });
  const got = [];
  const came = (count) => new Promise((done) => {
    const look = () => got.length >= count && done();
    again.on('message', look);
    look();
  });
  again.on('message', (t, payload, packet) => got.push([t.slice(topic.length + 1), payload.toString(), packet.qos]));
  await new Promise((done) => again.on('connect', done));
  await again.publishAsync(`${topic}/back`, 'at 2', { qos: 2 });
  await came(3);
  other.stream.destroy();
  await came(4);
  const late = await open({});
  const kept = new Promise((done) => late.on('message', (t, payload, packet) => done([payload.toString(), packet.retain])));
  await late.subscribeAsync(`${topic}/2`, { qos: 1 });
  const retained = await kept;
  await late.publishAsync(`${topic}/2`, '', { retain: true });
  await late.endAsync();
  await again.endAsync();
  return { got: got.slice(0, 4), retained };
}

test('in a browser, over WebSocket with the device’s certificate', { timeout: 60_000 }, async () => {
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--ignore-certificate-errors'],
  });
  try {
    const context = await browser.newContext({
      ignoreHTTPSErrors: true,
      clientCertificates: [{ origin: 'https://127.0.0.1:8443', certPath: files.cert, keyPath: files.key }],
    });
    const page = await context.newPage();
    await page.goto('https://127.0.0.1:8443/.well-known/est/csrattrs').catch(() => {}); // any page of the origin
    await page.addScriptTag({ path: new URL('node_modules/mqtt/dist/mqtt.min.js', import.meta.url).pathname });
    for (const protocolVersion of [4, 5]) {
      const { got, retained } = await page.evaluate(inThePage, { id: ID, protocolVersion });
      assert.deepEqual(got, [['1', 'at 1', 1], ['2', 'at 2', 2], ['back', 'at 2', 2], ['will', 'gone', 1]]);
      assert.deepEqual(retained, ['at 2', true]);
    }
  } finally {
    await browser.close();
  }
});
