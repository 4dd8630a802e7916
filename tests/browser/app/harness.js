// What the specifications are written with.
"use strict";

const SERVER = 1;
const PATIENCE = 8000; // milliseconds until a specification has failed
const specs = [];
let clients = [];

function it(name, run) {
  specs.push({ name, run });
}

/** Runs one specification; gives null, or what went wrong. */
async function runSpec(i) {
  let timer;
  const late = new Promise(
    (_, reject) => (timer = setTimeout(() => reject(new Error(`not done in time: ${watched}`)), PATIENCE)),
  );
  const noise = (event) => reportNoise(event.reason || event.message);
  let reportNoise;
  const noisy = new Promise((_, reject) => (reportNoise = (what) => reject(new Error(`unhandled: ${what}`))));
  window.addEventListener("unhandledrejection", noise);
  try {
    await Promise.race([specs[i].run(), late, noisy]);
    return null;
  } catch (error) {
    return `${error.stack || error}`;
  } finally {
    clearTimeout(timer);
    window.removeEventListener("unhandledrejection", noise);
    for (const client of clients) client.disconnect();
    clients = [];
  }
}

/** What is being waited for, for the message of a specification that is not done in time. */
let watched = "nothing";

/** A client that ends with the specification. */
function client(options) {
  const made = SMQ.Client(SMQ.wsURL("smq/"), options);
  clients.push(made);
  return made;
}

/** The arguments of the next call of a callback property; the callback returns `answer`. */
function called(object, name, answer) {
  watched = name;
  return new Promise((resolve) => {
    object[name] = (...args) => {
      resolve(args);
      return answer;
    };
  });
}

async function connected(options) {
  const made = client(options);
  await called(made, "onconnect");
  return made;
}

/** A list that can be waited for until it has `length` entries. */
function log() {
  const entries = [];
  let wake = () => {};
  return {
    entries,
    add: (...args) => {
      entries.push(args.length === 1 ? args[0] : args);
      wake();
    },
    async reaches(length) {
      while (entries.length < length) {
        watched = `${length} entries, so far ${JSON.stringify(entries)}`;
        await new Promise((resolve) => (wake = resolve));
      }
      return entries;
    },
  };
}

/** Has the server carry out a command for this client, and waits for its answer. */
function ask(smq, command, arg) {
  watched = `the server's answer to ${command}`;
  return new Promise((resolve) => {
    smq.subscribe("self", "answer", { datatype: "json", onmsg: resolve });
    smq.pubjson({ arg }, SERVER, command);
  });
}

/** Commands that are not answered. */
function command(smq, name, arg) {
  smq.pubjson({ arg }, SERVER, name);
}

/** Resolves when the server has seen all that the client sent so far. */
const settled = (smq) => ask(smq, "echo", 0);

function equal(actual, expected) {
  const [is, should] = [actual, expected].map((value) =>
    JSON.stringify(value, (_, inner) => (inner === undefined ? "undefined" : inner)),
  );
  if (is !== should) throw new Error(`expected ${should}, got ${is}`);
}

function throws(run, pattern) {
  try {
    run();
  } catch (error) {
    if (pattern.test(`${error}`)) return;
    throw new Error(`expected ${pattern}, got ${error}`);
  }
  throw new Error(`expected ${pattern}, but nothing was thrown`);
}

async function rejects(promise, pattern) {
  const error = await promise.then(
    () => undefined,
    (reason) => reason,
  );
  if (!pattern.test(`${error}`)) throw new Error(`expected ${pattern}, got ${error}`);
}
