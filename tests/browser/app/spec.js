"use strict";

// ---- Connecting

it("tells its etid, the connection's seed and its address when it has connected", async () => {
  const smq = client({ info: "about me" });
  const [etid, rnd, ipaddr] = await called(smq, "onconnect");
  equal(etid, smq.gettid());
  equal(ipaddr, "127.0.0.1");
  const { uid, info, seed } = await ask(smq, "whoami");
  equal([uid, info, seed], [ipaddr + rnd, "about me", rnd]);
});

it("can be made with new, and knows its class", async () => {
  const smq = new SMQ.Client(SMQ.wsURL("smq/"), { uid: "chosen uid" });
  clients.push(smq);
  equal(smq instanceof SMQ.Client, true);
  equal((await ask(smq, "whoami")).uid, "chosen uid");
  equal(smq.getsock() instanceof WebSocket, true);
});

it("answers the server's seed with credentials", async () => {
  const smq = client();
  smq.onauth = (rnd, ipaddr) => `${rnd} ${ipaddr}`;
  const { seed, credentials } = await ask(smq, "whoami");
  equal(credentials, `${seed} 127.0.0.1`);
});

it("waits for credentials that come as a promise", async () => {
  const smq = client();
  smq.onauth = async () => SMQ.utf8.decode(new Uint8Array(await new Blob(["later"]).arrayBuffer()));
  equal((await ask(smq, "whoami")).credentials, "later");
});

it("reports a refusal with the server's reason, and stays closed", async () => {
  const smq = client();
  smq.onauth = () => "wrong";
  const waiting = smq.subscribe("t");
  equal(await called(smq, "onclose", 1000), ["wrong password", false]);
  await rejects(waiting, /wrong password/);
  await rejects(smq.publish("x", "t"), /closed/);
});

it("has words for a refusal without a reason", async () => {
  const smq = client();
  smq.onauth = () => "silent";
  equal(await called(smq, "onclose"), ["access denied", false]);
});

it("reports a server that cannot be reached as a lost connection", async () => {
  const smq = SMQ.Client(SMQ.wsURL("/nosuch.html"));
  equal(await called(smq, "onclose"), ["could not connect", true]);
});

for (const [what, options, credentials, complaint] of [
  ["a short uid", { uid: "short" }, "", "the uid must have 6 to 255 bytes, not 5"],
  ["a long uid", { uid: "x".repeat(256) }, "", "the uid must have 6 to 255 bytes, not 256"],
  ["a long info", { info: "ü".repeat(30001) }, "", "the info must have 0 to 60000 bytes, not 60002"],
  ["long credentials", {}, "x".repeat(256), "the credentials must have 0 to 255 bytes, not 256"],
]) {
  it(`tells what the server would not take: ${what}`, async () => {
    const smq = client(options);
    smq.onauth = () => credentials;
    equal(await called(smq, "onclose", 1000), [`could not authenticate: ${complaint}`, false]);
  });
}

for (const [what, reason] of [
  ["an error", new Error("no key")],
  ["text", "no key"],
]) {
  it(`tells why onauth gave no credentials, if it threw ${what}`, async () => {
    const smq = client();
    smq.onauth = () => {
      throw reason;
    };
    equal(await called(smq, "onclose", 1000), ["could not authenticate: no key", false]);
  });
}

// ---- The line

it("carries out in order what was called before the connection stood", async () => {
  const smq = client();
  const heard = log();
  smq.subscribe("line", { datatype: "text", onmsg: heard.add.bind(null) });
  for (const [text, subtopic] of [["1"], ["2", "sub"], ["3", "other"], ["4"]]) smq.publish(text, "line", subtopic);
  smq.publish("elsewhere", "a name never used before");
  smq.publish("5", "line");
  equal(
    (await heard.reaches(5)).map(([text]) => text),
    ["1", "2", "3", "4", "5"],
  );
});

it("keeps the order while names are being looked up", async () => {
  const smq = await connected();
  const heard = log();
  const onmsg = (text, ptid, tid) => heard.add(text, smq.tid2topic(tid));
  smq.subscribe("first", { datatype: "text", onmsg });
  smq.publish("1", "first", "a sub-topic to look up");
  smq.publish("too early to be heard", "second", "another one");
  smq.subscribe("second", { datatype: "text", onmsg });
  smq.publish("2", "second");
  smq.publish("3", "first");
  equal(await heard.reaches(3), [
    ["1", "first"],
    ["2", "second"],
    ["3", "first"],
  ]);
});

it("fails a promise, and nothing else, for a name that is denied", async () => {
  const smq = await connected();
  const heard = log();
  await smq.subscribe("t", { datatype: "text", onmsg: (text) => heard.add(text) });
  const denied = smq.publish("x", "denied 1");
  smq.publish("y", "t", "denied 2"); // Nobody waits for it: no noise.
  smq.publish("z", "t");
  await rejects(denied, /denied "denied 1"/);
  equal(await heard.reaches(1), ["z"]);
});

it("keeps a message that stands behind a subscription which the server grants, also if it denied one before it", async () => {
  const smq = await connected();
  const heard = log();
  const early = smq.publish("too early", "denied once");
  const subscribed = smq.subscribe("denied once", { datatype: "text", onmsg: (text) => heard.add(text) });
  const late = smq.publish("in time", "denied once");
  await rejects(early, /denied "denied once"/);
  await Promise.all([subscribed, late]);
  equal(await heard.reaches(1), ["in time"]);
});

it("has messages behind a denied subscription denied in one round trip", async () => {
  const smq = await connected();
  const waiting = [smq.subscribe("denied"), ...Array.from({ length: 10 }, () => smq.publish("x", "denied"))];
  const { send } = smq.getsock();
  let sent = 0;
  smq.getsock().send = (...args) => sent++ + send.apply(smq.getsock(), args);
  for (const promise of waiting) await rejects(promise, /denied/);
  equal(sent, 1);
});

/** How many entries of maps and arrays the client looks at while this runs. */
async function lookUpsOf(run) {
  const [{ get, has }, { some }] = [Map.prototype, Array.prototype];
  let lookUps = 0;
  Map.prototype.get = function (key) {
    lookUps++;
    return get.call(this, key);
  };
  Map.prototype.has = function (key) {
    lookUps++;
    return has.call(this, key);
  };
  Array.prototype.some = function (matches) {
    return some.call(this, (entry) => ++lookUps && matches(entry));
  };
  try {
    await run();
  } finally {
    Object.assign(Map.prototype, { get, has });
    Object.assign(Array.prototype, { some });
  }
  return lookUps;
}

const newNames = (count) => Array.from({ length: count }, (_, i) => `one of ${count}: ${i}`);

/** Sends messages to that many new names. */
async function publishToNew(count) {
  const smq = await connected();
  const names = newNames(count).map((name, i) => (i % 2 ? "" : "denied ") + name);
  await Promise.allSettled(names.map((name) => smq.publish("x", name, name)));
}

/** Creates and observes that many topics before the connection stands. */
async function observeNew(count) {
  const smq = client();
  const names = newNames(count);
  const created = names.map((name) => smq.create(name));
  for (const name of names) smq.observe(name, () => {});
  await Promise.all(created);
}

for (const [what, run] of [
  ["messages to new names", publishToNew],
  ["new topics to observe", observeNew],
]) {
  it(`takes no more work for each of many ${what} than for each of a few`, async () => {
    const few = await lookUpsOf(() => run(20));
    const many = await lookUpsOf(() => run(1000));
    const growth = many / few;
    equal(growth < 55 ? "in step" : `${growth} times as much for 50 times as many`, "in step");
  });
}

// ---- Subscriptions

it("gives a message to the sub-topic's callback, else to the catch-all, else to onmsg", async () => {
  const smq = await connected();
  const heard = log();
  smq.onmsg = (data, ptid, tid, subtid) => heard.add("onmsg", SMQ.utf8.decode(data), ptid, tid, subtid);
  await smq.subscribe("t", "a", { datatype: "text", onmsg: (text) => heard.add("a", text) });
  smq.publish("1", "t", "a");
  smq.publish("2", "t");
  await heard.reaches(2);
  await smq.subscribe("t", { datatype: "text", onmsg: (text) => heard.add("all", text) });
  smq.publish("3", "t", "b");
  smq.publish("4", "t", "a");
  equal(await heard.reaches(4), [
    ["a", "1"],
    ["onmsg", "2", smq.gettid(), smq.topic2tid("t"), 0],
    ["all", "3"],
    ["a", "4"],
  ]);
});

it("decodes JSON and text, and gives anything else as bytes", async () => {
  const smq = await connected();
  const heard = log();
  smq.onmsg = (data) => heard.add("onmsg", data.constructor.name, [...data]);
  smq.subscribe("t", "json", { datatype: "json", onmsg: (value) => heard.add(value) });
  smq.subscribe("t", "text", { datatype: "text", onmsg: (text) => heard.add(text) });
  smq.subscribe("t", { onmsg: (bytes) => heard.add(bytes.constructor.name, [...bytes]) });
  smq.pubjson({ emoji: "😀", list: [1, null] }, "t", "json");
  smq.publish("größer 😀", "t", "text");
  smq.publish([0, 1, 254, 255], "t");
  smq.publish("{", "t", "json");
  smq.publish([0xff], "t", "text");
  equal(await heard.reaches(5), [
    { emoji: "😀", list: [1, null] },
    "größer 😀",
    ["Uint8Array", [0, 1, 254, 255]],
    ["onmsg", "Uint8Array", [123]],
    ["onmsg", "Uint8Array", [255]],
  ]);
});

it("takes bytes and URLs that were made in another window", async () => {
  const frame = document.body.appendChild(document.createElement("iframe"));
  const other = frame.contentWindow;
  const smq = SMQ.Client(new other.URL(SMQ.wsURL("smq/")), { info: "from a frame" });
  clients.push(smq);
  equal((await ask(smq, "whoami")).info, "from a frame");
  const heard = log();
  smq.subscribe("t", { onmsg: (bytes) => heard.add([...bytes]) });
  const buffer = new other.Uint8Array([1, 2]).buffer;
  smq.publish(buffer, "t");
  new Uint8Array(buffer)[0] = 9;
  smq.publish(new other.Uint8Array([3]), "t");
  equal(await heard.reaches(2), [[1, 2], [3]]);
  equal(SMQ.utf8.decode(new other.Uint8Array([97]).buffer), "a");
  frame.remove();
});

it("carries every payload from 0 to 65520 bytes, and refuses more before it sends", async () => {
  const smq = await connected();
  const heard = log();
  smq.subscribe("t", { onmsg: (bytes) => heard.add(bytes.length) });
  for (const length of [0, 1, 125, 126, 65519, 65520]) smq.publish(new Uint8Array(length), "t");
  throws(() => smq.publish(new Uint8Array(65521), "t"), /65520/);
  equal(await heard.reaches(6), [0, 1, 125, 126, 65519, 65520]);
});

it("hears what others send to it, and answers them", async () => {
  const [a, b] = [await connected(), await connected()];
  const heard = log();
  const acks = log();
  b.subscribe("self", {
    datatype: "text",
    onmsg: (text, ptid) => b.publish(`${text}, back`, ptid, "answers"),
    onack: acks.add,
  });
  equal(await acks.reaches(1), [[true, "self", b.gettid()]]);
  await a.subscribe("self", "answers", { datatype: "text", onmsg: (text, ptid, tid) => heard.add(text, ptid, tid) });
  a.publish("there", b.gettid());
  equal(await heard.reaches(1), [["there, back", b.gettid(), a.gettid()]]);
  equal((await ask(b, "whoami")).topics, {}); // "self" is no subscription on the server.
});

it("answers a subscription through onack or a promise, granted or denied", async () => {
  const smq = await connected();
  const acks = log();
  smq.subscribe("t", { onack: acks.add });
  smq.subscribe("t", "s", { onack: acks.add });
  smq.subscribe("denied", { onack: acks.add });
  await acks.reaches(3);
  const [tid, subtid] = [smq.topic2tid("t"), smq.subtopic2tid("s")];
  const sorted = (list) => list.map((entry) => JSON.stringify(entry)).sort();
  equal(
    sorted(acks.entries),
    sorted([
      [true, "t", tid],
      [true, "t", tid, "s", subtid],
      [false, "denied", 0],
    ]),
  );
  equal(await smq.subscribe("t"), tid);
  equal(await smq.subscribe("t", "s"), { tid, subtid });
  await rejects(smq.subscribe("denied"), /denied/);
});

it("removes all callbacks of a topic with unsubscribe", async () => {
  const smq = await connected();
  const heard = log();
  await smq.subscribe("t", "s", { onmsg: () => heard.add("wrong") });
  await smq.subscribe("t", { onmsg: () => heard.add("wrong") });
  smq.unsubscribe("t");
  smq.publish("x", "t", "s");
  await settled(smq);
  equal([heard.entries, (await ask(smq, "whoami")).topics], [[], {}]);
});

it("removes with unsubscribe also what was subscribed by the same answer", async () => {
  const smq = await connected();
  const heard = log();
  const acks = log();
  const onack = () => {
    smq.unsubscribe("t");
    acks.add("first");
  };
  smq.subscribe("t", { onmsg: () => heard.add("wrong"), onack });
  smq.subscribe("t", { onmsg: () => heard.add("wrong"), onack: () => acks.add("second") });
  equal(await acks.reaches(2), ["first", "second"]);
  smq.publish("x", "t");
  equal((await ask(smq, "whoami")).topics, {});
  await smq.subscribe("t", { datatype: "text", onmsg: (text) => heard.add(text) });
  smq.publish("y", "t");
  equal(await heard.reaches(1), ["y"]);
});

it("goes on after a callback that throws", async () => {
  const smq = await connected();
  const heard = log();
  const { error } = console;
  console.error = () => heard.add("reported");
  await smq.subscribe("t", {
    onmsg: () => {
      throw new Error("mine");
    },
  });
  smq.publish("1", "t");
  smq.publish("2", "t");
  await heard.reaches(2);
  console.error = error;
});

// ---- Names

it("looks names up, and answers for known ones at once", async () => {
  const smq = await connected();
  const acks = log();
  const tid = await smq.create("names");
  const subtid = await smq.createsub("subnames");
  smq.create("names", acks.add);
  smq.createsub("subnames", acks.add);
  smq.create("names", "subnames", acks.add);
  equal(acks.entries, [
    [true, "names", tid],
    [true, "subnames", subtid],
    [true, "names", tid, "subnames", subtid],
  ]);
  equal(
    [smq.tid2topic(tid), smq.topic2tid("names"), smq.tid2subtopic(subtid), smq.subtopic2tid("subnames")],
    ["names", tid, "subnames", subtid],
  );
  equal(
    [smq.topic2tid("unknown"), smq.tid2topic(5), smq.subtopic2tid("unknown"), smq.tid2subtopic(5)],
    Array(4).fill(undefined),
  );
  smq.create("denied", acks.add);
  equal((await acks.reaches(4))[3], [false, "denied", 0]);
});

it("says what is wrong with an argument, and where", async () => {
  const smq = client();
  const nothing = () => {};
  for (const [complaint, call] of [
    [/publish: the topic must be a name or a number from 0 to 4294967295, not undefined/, () => smq.publish("x")],
    [/the topic must be .*, not -1/, () => smq.publish("x", -1)],
    [/the topic must be .*, not 1.5/, () => smq.create(1.5)],
    [/subscribe: the sub-topic must be .*, not function/, () => smq.subscribe("t", nothing)],
    [/subscribe: the settings must be an object such as \{ onmsg \}, not function/, () => smq.subscribe("t", "s", nothing)],
    [/subscribe: the settings must be .*, not "text"/, () => smq.subscribe("t", "s", "text")],
    [/subscribe: onmsg must be a function, not 5/, () => smq.subscribe("t", { onmsg: 5 })],
    [/createsub: the sub-topic must be .*, not undefined/, () => smq.createsub()],
    [/observe: onchange must be a function, not undefined/, () => smq.observe("t")],
    [/unobserve: the topic must be .*, not an array/, () => smq.unobserve([])],
    [/create: the name of the topic may have at most 60000 bytes, not 60001/, () => smq.create("x".repeat(60001))],
    [/the name of the sub-topic may have at most 60000 bytes, not 60002/, () => smq.createsub("ü".repeat(30001))],
    [/data must be text or bytes, not 5; pubjson/, () => smq.publish(5, "t")],
    [/an array of bytes holds "b" at index 1; pubjson/, () => smq.publish([1, "b"], "t")],
    [/an array of bytes holds 256 at index 0/, () => smq.publish([256], "t")],
    [/undefined has no JSON form/, () => smq.pubjson(undefined, "t")],
  ])
    throws(call, complaint);
  await settled(smq); // None of it has disturbed the connection.
});

it("has names of every length and every character", async () => {
  const smq = await connected();
  const names = ["", " ", "\0", "größe/😀", "\ufeffmarked", "e\u0301", "__proto__", "ü".repeat(30000)];
  for (const name of names) {
    const { tid, subtid } = await smq.create(name, name);
    equal([smq.tid2topic(tid), smq.tid2subtopic(subtid)], [name, name]);
  }
});

// ---- Observing

it("tells a topic's number of subscribers now and at every change, until unobserve", async () => {
  const [a, b] = [await connected(), await connected()];
  const seen = log();
  throws(() => a.observe("watched", seen.add), /not known/);
  await a.create("watched");
  a.observe("watched", seen.add);
  await seen.reaches(1);
  await b.subscribe("watched");
  await seen.reaches(2);
  b.unsubscribe("watched");
  equal(await seen.reaches(3), [
    [0, "watched"],
    [1, "watched"],
    [0, "watched"],
  ]);
  a.unobserve("watched");
  await settled(a);
  await b.subscribe("watched");
  await settled(a);
  equal(seen.entries.length, 3);
});

it("ends the observation of a number also when its name has become known since", async () => {
  const [a, b] = [await connected(), await connected()];
  const seen = log();
  const tid = await b.subscribe("nameless at first");
  a.observe(tid, seen.add);
  equal(await seen.reaches(1), [[1, tid]]);
  await a.create("nameless at first");
  a.unobserve(tid);
  await settled(a);
  b.unsubscribe("nameless at first");
  await settled(b);
  await settled(a);
  equal(seen.entries.length, 1);
});

it("goes on observing a number of no subscribers whose name becomes known before the answer", async () => {
  const [a, b] = [await connected(), await connected()];
  const seen = log();
  const tid = await b.create("named in time");
  a.create("named in time");
  a.observe(tid, seen.add);
  await seen.reaches(1);
  await b.subscribe("named in time");
  equal(await seen.reaches(2), [
    [0, "named in time"],
    [1, "named in time"],
  ]);
});

it("tells once that an observed client has gone", async () => {
  const [a, b] = [await connected(), await connected()];
  const seen = log();
  const etid = b.gettid();
  a.observe(etid, seen.add);
  await settled(a);
  b.disconnect();
  equal(await seen.reaches(1), [[0, etid]]);
});

// ---- The end of a connection

it("never comes back after a Disconnect", async () => {
  for (const [text, shown] of [
    ["go away", "go away"],
    ["", "disconnect"],
  ]) {
    const smq = await connected();
    command(smq, "dismiss", text);
    equal(await called(smq, "onclose", 1000), [shown, false]);
    await rejects(smq.publish("x", "t"), /closed/);
  }
});

it("is thrown off by another client with its uid", async () => {
  const first = await connected({ uid: "one and the same" });
  const thrown = called(first, "onclose", 1000);
  const second = await connected({ uid: "one and the same" });
  equal(await thrown, ["reconnect", false]);
  equal(second.gettid(), first.gettid());
});

it("says goodbye with disconnect, after what was called before", async () => {
  const [a, b] = [await connected(), client()];
  // Listened for at once: b may be connected before a has subscribed.
  const connect = called(b, "onconnect");
  const heard = log();
  await a.subscribe("gone", { datatype: "json", onmsg: ({ etid, err }) => heard.add(etid, err) });
  await a.subscribe("last words", { datatype: "text", onmsg: (text) => heard.add(text) });
  b.onclose = () => heard.add("onclose");
  await connect;
  b.publish("bye", "last words");
  const created = b.create("made in the end");
  b.disconnect();
  equal(await created, b.topic2tid("made in the end"));
  equal(await heard.reaches(2), ["bye", [b.gettid(), 0]]);
  equal(b.getsock(), undefined);
});

for (const when of ["onconnect", "onreconnect"]) {
  it(`says goodbye with disconnect in ${when}, too`, async () => {
    const [a, b] = [await connected(), client({ backoff: QUICKLY })];
    const heard = log();
    const connect = called(b, "onconnect");
    await a.subscribe("gone", { datatype: "json", onmsg: ({ etid, err }) => heard.add(etid, err) });
    if (when === "onreconnect") {
      await connect;
      command(b, "drop");
      await heard.reaches(1);
    }
    await new Promise((resolve) => (b[when] = () => resolve(b.disconnect())));
    const last = (await heard.reaches(when === "onreconnect" ? 2 : 1)).at(-1);
    equal(last, [b.gettid(), 0]);
  });
}

it("takes its leave with as many calls in line as there may be", async () => {
  const [a, b] = [await connected(), client()];
  const heard = log();
  await a.subscribe("gone", { datatype: "json", onmsg: ({ etid, err }) => heard.add(etid, err) });
  throws(() => {
    for (;;) b.publish("x", "t");
  }, /10000 calls already wait/);
  b.disconnect();
  equal(await heard.reaches(1), [[b.gettid(), 0]]);
});

it("does not call onclose after disconnect, also if the server refuses it before it could take its leave", async () => {
  const smq = client();
  const heard = log();
  smq.onauth = () => "wrong";
  smq.onclose = () => heard.add("onclose");
  const waiting = smq.subscribe("t");
  smq.disconnect();
  await rejects(waiting, /wrong password/);
  equal(heard.entries, []);
});

it("stays closed after a lost connection unless told to come back", async () => {
  const smq = await connected();
  command(smq, "drop");
  equal(await called(smq, "onclose", 999), ["connection lost", true]);
  await rejects(smq.publish("x", "t"), /closed/);
});

it("comes back after the time that onclose returns", async () => {
  const smq = await connected();
  const lost = called(smq, "onclose", 1000);
  command(smq, "drop");
  await lost;
  const start = performance.now();
  const [etid, rnd, ipaddr] = await called(smq, "onreconnect");
  equal(
    [performance.now() - start >= 990, etid, ipaddr, (await ask(smq, "whoami")).seed],
    [true, smq.gettid(), "127.0.0.1", rnd],
  );
});

it("sets no timer that would overflow and fire at once", async () => {
  const smq = await connected();
  const waits = log();
  const { setTimeout } = globalThis;
  globalThis.setTimeout = (_, milliseconds) => waits.add(milliseconds);
  smq.onclose = () => 2 ** 31;
  command(smq, "drop");
  const [wait] = await waits.reaches(1);
  globalThis.setTimeout = setTimeout;
  equal(wait, 2 ** 31 - 1);
});

const QUICKLY = { min: 1, max: 10 };

for (const [what, how] of [
  ["with a lost connection", "drop"],
  ["with a restart of the server, for which names get other numbers", "restart"],
]) {
  it(`sets everything up again before onreconnect and before queued calls: ${what}`, async () => {
    const smq = await connected({ backoff: QUICKLY });
    const heard = log();
    const numbers = () => [smq.topic2tid("t"), smq.subtopic2tid("s"), smq.topic2tid("made"), smq.gettid()];
    await smq.subscribe("t", "s", { datatype: "text", onmsg: (text) => heard.add(text) });
    await smq.subscribe("self", "direct", { datatype: "text", onmsg: (text) => heard.add(text) });
    await smq.create("made");
    smq.observe("made", heard.add);
    await heard.reaches(1);
    const before = numbers();
    smq.onreconnect = () => {
      heard.add("onreconnect");
      smq.publish("called in onreconnect", "t", "s");
    };
    smq.onclose = () => {
      smq.publish("queued", "t", "s");
      smq.publish("to me", "self", "direct");
    };
    command(smq, how);
    equal(await heard.reaches(6), [
      [0, "made"],
      "onreconnect",
      [0, "made"],
      "queued",
      "to me",
      "called in onreconnect",
    ]);
    const changed = numbers().map((number, i) => number !== before[i]);
    equal(changed, how === "drop" ? [false, false, false, true] : [true, true, true, true]);
  });
}

it("takes numbers for the names that they stood for when the call was made, whatever the server calls them later", async () => {
  const smq = await connected({ backoff: QUICKLY });
  const heard = log();
  const hear = (what) => ({ datatype: "text", onmsg: (text) => heard.add(`${what} ${text}`) });
  const { tid, subtid } = await smq.subscribe("t", "s", hear("by name"));
  const other = await smq.createsub("other");
  await smq.subscribe("t", other, hear("by number"));
  const onclose = called(smq, "onclose");
  command(smq, "restart");
  await onclose;
  smq.publish("1", tid, subtid);
  smq.publish("2", tid, other);
  equal(await heard.reaches(2), ["by name 1", "by number 2"]);
  equal([smq.topic2tid("t") !== tid, smq.subtopic2tid("s") !== subtid], [true, true]);
});

/** Runs this when the server has accepted the client, before it has answered anything else: as a timer of the page might. */
function whenAccepted(smq, run) {
  const CONNACK = 3;
  smq.onauth = () => {
    const sock = smq.getsock();
    const { onmessage } = sock;
    sock.onmessage = (event) => {
      onmessage(event);
      if (new Uint8Array(event.data)[0] === CONNACK) run();
    };
  };
}

it("takes old numbers for their names until everything is set up again", async () => {
  const smq = await connected({ backoff: QUICKLY });
  const heard = log();
  const { tid, subtid } = await smq.subscribe("t", "s", { datatype: "text", onmsg: (text) => heard.add(text) });
  whenAccepted(smq, () => {
    heard.add([smq.topic2tid("t"), smq.tid2topic(tid)]);
    smq.subscribe(tid, { onack: (accepted, name) => heard.add(accepted, name) });
    smq.publish("by number", tid, subtid);
  });
  command(smq, "restart");
  equal(await heard.reaches(3), [[undefined, "t"], [true, "t"], "by number"]);
  equal([smq.tid2topic(tid), smq.tid2subtopic(subtid)], [undefined, undefined]);
});

it("gives a message that is there before anything is set up again to the callback of its sub-topic", async () => {
  const smq = await connected({ backoff: QUICKLY, info: "greet me" });
  const heard = log();
  await smq.subscribe("self", "greeting", { datatype: "text", onmsg: (text) => heard.add(text) });
  smq.onmsg = (data) => heard.add("onmsg", SMQ.utf8.decode(data));
  smq.onreconnect = () => heard.add("onreconnect");
  command(smq, "drop");
  equal(await heard.reaches(2), ["welcome", "onreconnect"]);
});

it("goes on observing a topic that a subscribe was under way for, also if that is denied after the reconnect", async () => {
  const smq = await connected({ backoff: QUICKLY });
  const heard = log();
  const tid = await smq.create("deaf");
  smq.observe("deaf", heard.add);
  await heard.reaches(1);
  smq.onreconnect = () => heard.add("onreconnect");
  smq.subscribe("deaf", { onack: heard.add });
  smq.getsock().close();
  equal(await heard.reaches(4), [[0, "deaf"], [false, "deaf", 0], "onreconnect", [0, "deaf"]]);
  equal(smq.topic2tid("deaf"), tid);
});

it("answers a subscription with the number that the sub-topic has when the answer comes", async () => {
  const smq = await connected({ backoff: QUICKLY });
  const before = await smq.createsub("s");
  command(smq, "restart");
  const { subtid } = await smq.subscribe("t", "s");
  equal([subtid, subtid !== before], [smq.subtopic2tid("s"), true]);
});

it("stays closed if a callback disconnects while everything is set up again", async () => {
  const smq = await connected({ backoff: QUICKLY });
  const heard = log();
  const { error } = console;
  console.error = (...args) => heard.add(`reported ${args}`);
  smq.onreconnect = () => heard.add("onreconnect");
  const onack = () => {
    smq.disconnect();
    queueMicrotask(() => heard.add("disconnected"));
  };
  command(smq, "drop");
  smq.subscribe("t", { onack });
  await heard.reaches(1);
  console.error = error;
  equal(heard.entries, ["disconnected"]);
});

it("goes on observing a topic that it knows by its number only, and forgets a client", async () => {
  const [a, b] = [await connected({ backoff: QUICKLY }), await connected()];
  const seen = log();
  const tids = [await b.subscribe("nameless"), await b.subscribe("named later")];
  for (const number of [...tids, b.gettid()]) a.observe(number, seen.add);
  await seen.reaches(2);
  await a.create("named later");
  const reconnect = called(a, "onreconnect");
  command(a, "drop");
  await reconnect;
  equal((await seen.reaches(4)).slice(2), [
    [1, tids[0]],
    [1, "named later"],
  ]);
  b.disconnect();
  equal((await seen.reaches(6)).slice(4).map(([subscribers]) => subscribers), [0, 0]);
  await settled(a);
  equal(seen.entries.length, 6);
});

it("sets nothing up again with cleanstart", async () => {
  const smq = await connected({ backoff: QUICKLY, cleanstart: true });
  const heard = log();
  smq.onmsg = () => {};
  await smq.subscribe("t", { onmsg: () => heard.add("wrong") });
  await smq.create("made");
  smq.observe("made", () => heard.add("observed"));
  await heard.reaches(1);
  smq.onclose = () => smq.publish("queued", "t");
  smq.onreconnect = async () => {
    heard.add([smq.topic2tid("t"), smq.topic2tid("made")]);
    smq.subscribe("u", { datatype: "text", onmsg: (text) => heard.add(text) });
    smq.publish("clean", "u");
  };
  command(smq, "drop");
  equal(await heard.reaches(3), ["observed", [undefined, undefined], "clean"]);
  equal((await ask(smq, "whoami")).topics, ["u"]);
});

// ---- Servers of another kind

/** A class of sockets to a server that does what a specification has it do, and the list of those that were made. */
function strangers() {
  const made = [];
  class Stranger {
    constructor(url) {
      Object.assign(this, { url: String(url), readyState: WebSocket.OPEN, sent: [] });
      this.greeted = new Promise((resolve) => (this.greet = resolve));
      made.push(this);
    }
    send(bytes) {
      this.sent.push([...bytes]);
      this.greet();
    }
    close() {}
    /** Sends a packet to the client. */
    says(...bytes) {
      this.onmessage({ data: Uint8Array.from(bytes).buffer });
    }
    /** Says Init, and accepts the client with etid 7 when it has introduced itself. */
    async accepts() {
      this.says(1, 1, 0, 0, 0, 5, ...SMQ.utf8.encode("127.0.0.1"));
      await this.greeted;
      this.says(3, 0, 0, 0, 0, 7);
    }
  }
  return { made, WebSocket: Stranger };
}

it("answers a Ping with a Pong", async () => {
  const { made, WebSocket } = strangers();
  client({ WebSocket });
  await made[0].accepts();
  made[0].says(12);
  equal(made[0].sent.slice(1), [[13]]);
});

it("gives up a connection on which a packet is cut short", async () => {
  const { made, WebSocket } = strangers();
  const smq = client({ WebSocket });
  const { error } = console;
  console.error = () => {};
  await made[0].accepts();
  const onclose = called(smq, "onclose");
  made[0].says(8, 0, 0);
  console.error = error;
  equal(await onclose, ["malformed packet", true]);
});

it("passes over packets and acknowledgements that it does not wait for", async () => {
  const { made, WebSocket } = strangers();
  const smq = client({ WebSocket });
  await made[0].accepts();
  for (const packet of [[], [0], [255, 1], [13], [5, 0, 0, 0, 0, 3, 97], [18, 1, 0, 0, 0, 0, 98], [16, 0, 0, 0, 4, 0, 0, 0, 1]])
    made[0].says(...packet);
  made[0].onmessage({ data: "text" });
  const created = smq.create("t");
  made[0].says(7, 0, 0, 0, 0, 9, 116);
  equal([await created, made[0].sent.length], [9, 2]);
});

it("goes to the URL that it is given, or to the page's own", async () => {
  const { made, WebSocket } = strangers();
  const options = { WebSocket };
  SMQ.Client(options);
  for (const url of [undefined, "smq/", "/a/b", "ws://there:81/c", "http://there/c", new URL("https://there/c")])
    SMQ.Client(url, options);
  const { host } = location;
  equal(
    made.map(({ url }) => url),
    [`ws://${host}/`, `ws://${host}/`, `ws://${host}/smq/`, `ws://${host}/a/b`, "ws://there:81/c", "ws://there/c", "wss://there/c"],
  );
});

it("connects to a URL with a fragment, as that of a page may have one", async () => {
  for (const url of ["/smq/#part", "smq/#part", `${location.origin}/smq/#part`, new URL("/smq/#part", location)]) {
    const smq = SMQ.Client(url);
    clients.push(smq);
    await called(smq, "onconnect");
  }
});

it("waits longer before each attempt with backoff, unless onclose says how long, or that it is the end", async () => {
  const { made, WebSocket } = strangers();
  const smq = client({ WebSocket, backoff: { min: 10, max: 70 } });
  const waits = [];
  const { setTimeout } = globalThis;
  const { random } = Math;
  globalThis.setTimeout = (run, milliseconds) => (waits.push(milliseconds), run());
  for (const [jitter, answer] of [[1], [1], [1], [1], [0.5], [0], [0, 1500], [0, 999], [0, false]]) {
    Math.random = () => jitter;
    smq.onclose = () => answer;
    made.at(-1).onclose({ reason: "" });
  }
  Object.assign(globalThis, { setTimeout });
  Object.assign(Math, { random });
  equal(waits, [20, 40, 70, 70, 40, 10, 1500, 10]);
  await rejects(smq.publish("x", "t"), /closed/);
});

it("begins with a short wait again when it was connected in between", async () => {
  const { made, WebSocket } = strangers();
  client({ WebSocket, backoff: true });
  const waits = [];
  const lose = () => {
    const { setTimeout } = globalThis;
    const { random } = Math;
    Math.random = () => 1;
    globalThis.setTimeout = (run, milliseconds) => (waits.push(milliseconds), run());
    made.at(-1).onclose({ reason: "" });
    // Back before anything is waited for: clients of other tests have timers, too.
    Object.assign(globalThis, { setTimeout });
    Object.assign(Math, { random });
  };
  for (let i = 0; i < 6; i++) lose();
  await made.at(-1).accepts();
  lose();
  equal(waits, [2000, 4000, 8000, 16000, 30000, 30000, 2000]);
});

it("logs messages that nothing has a callback for, if the app has no onmsg", async () => {
  const smq = await connected();
  const heard = log();
  const { log: print } = console;
  console.log = (text, data) => heard.add(text, [...data]);
  await smq.subscribe("t", "s");
  smq.publish("A", "t", "s");
  smq.publish("B", "self");
  await heard.reaches(2);
  console.log = print;
  const from = smq.gettid();
  equal(heard.entries, [
    [`smq: no callback for a message to t from ${from} (sub-topic s):`, [65]],
    [`smq: no callback for a message to self from ${from} (sub-topic 0):`, [66]],
  ]);
});

// ---- Helpers

/** The client's script as it is in another place, such as Node or a page that came over HTTPS. */
async function smqIn(place) {
  const script = await (await fetch("/rtl/smq.js")).text();
  new Function("globalThis", script)(place);
  return place.SMQ;
}

it("uses TLS on a page that came by it, and keeps the page's port", async () => {
  const page = await smqIn({ location: new URL("https://there:8443/folder/page.lsp?query") });
  equal(
    [page.wsURL(), page.wsURL("smq.lsp"), page.wsURL("/smq.lsp")],
    ["wss://there:8443/folder/page.lsp", "wss://there:8443/folder/smq.lsp", "wss://there:8443/smq.lsp"],
  );
  equal((await smqIn({ location: new URL("https://there:443/") })).wsURL(), "wss://there/");
});

it("hears of an attempt that failed also where no close event follows the error", async () => {
  const { made, WebSocket } = strangers();
  const smq = client({ WebSocket });
  let closed;
  smq.onclose = (...what) => (closed = what);
  made[0].onerror();
  equal(closed, ["could not connect", true]);
});

it("says what it misses where there is no page and no WebSocket", async () => {
  const smq = await smqIn({});
  equal(smq.websocket(), false);
  throws(() => smq.wsURL("x"), /there is no page here; give SMQ.Client a whole URL/);
  throws(() => smq.Client("ws://there/"), /no WebSocket here: pass a class in the option WebSocket/);
});

it("says that a page which came from no server has no host to connect to", async () => {
  for (const address of ["file:///home/ada/index.html", "about:srcdoc", "blob:http://there/1-2"]) {
    const page = await smqIn({ location: new URL(address), WebSocket });
    const reason = new RegExp(`came from no server, but by ${address.split(":")[0]}:; give SMQ.Client a whole URL`);
    throws(() => page.wsURL("/smq/"), reason);
    throws(() => page.Client(), reason);
  }
});

it("makes WebSocket URLs from the page's address", async () => {
  const { host } = location;
  equal(
    [SMQ.wsURL(), SMQ.wsURL("/a/b"), SMQ.wsURL("smq/")],
    [`ws://${host}/`, `ws://${host}/a/b`, `ws://${host}/smq/`],
  );
  history.replaceState(null, "", "/deep/er/page.lsp?query#hash");
  equal(
    [SMQ.wsURL(), SMQ.wsURL("/a/b"), SMQ.wsURL("smq/")],
    [`ws://${host}/deep/er/page.lsp`, `ws://${host}/a/b`, `ws://${host}/deep/er/smq/`],
  );
  history.replaceState(null, "", "/");
  equal(SMQ.websocket(), true);
});

it("encodes and decodes UTF-8", async () => {
  const { encode, decode, length } = SMQ.utf8;
  equal([...encode("é😀")], [0xc3, 0xa9, 0xf0, 0x9f, 0x98, 0x80]);
  equal(length("é😀"), 6);
  equal([decode(encode("é😀")), decode([97, 98, 99, 100], 1), decode([97, 98, 99, 100], 1, 2)], ["é😀", "bcd", "bc"]);
  equal(decode([0xc3]), null);
});

it("is one and the same as a module", async () => {
  const module = await import("/rtl/smq.mjs");
  equal(
    [module.default === SMQ, module.Client === SMQ.Client, module.wsURL("/x") === SMQ.wsURL("/x")],
    [true, true, true],
  );
});
