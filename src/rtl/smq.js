// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The SMQ client for browsers and Node: publish and subscribe over a WebSocket.
//
//     <script src="/rtl/smq.js"></script>
//     <script>
//       const smq = SMQ.Client(SMQ.wsURL("/smq/"));
//       smq.subscribe("chat", { datatype: "text", onmsg: (text, from) => show(text, from) });
//       smq.publish("Hello!", "chat");
//     </script>
//
// A classic script that defines the global SMQ; `require` gives the same object, and smq.mjs exports it. Types: smq.d.ts.
//
// How it works: every call is put into a queue, the line, and carried out when its turn comes, so packets are sent in
// the order of the calls. The line waits while there is no connection, and while its first call needs the number of a
// name that the server has been asked for.
(function (root) {
  "use strict";

  const INIT = 1;
  const CONNECT = 2;
  const CONNACK = 3;
  const SUBSCRIBE = 4;
  const SUBACK = 5;
  const CREATE = 6;
  const CREATEACK = 7;
  const PUBLISH = 8;
  const UNSUBSCRIBE = 9;
  const DISCONNECT = 11;
  const PING = 12;
  const PONG = 13;
  const OBSERVE = 14;
  const UNOBSERVE = 15;
  const CHANGE = 16;
  const CREATESUB = 17;
  const CREATESUBACK = 18;

  const PROTOCOL_VERSION = 1;
  /** The most bytes of a payload. */
  const PAYLOAD_LIMIT = 0xfff0;
  /** The most bytes of a name or the info. This many fit into a frame of any transport. */
  const NAME_LIMIT = 60000;
  const SHORTEST_UID = 6;
  /** The most calls in the line. Further ones throw, so that a page that stays offline does not fill the memory. */
  const LINE_LIMIT = 10000;
  const SHORTEST_RECONNECT = 1000;
  /** The longest time of setTimeout, in milliseconds. A longer one would fire at once. */
  const LONGEST_RECONNECT = 0x7fffffff;
  const SOCKET_OPEN = 1;
  const SELF = "self";
  /** The key of a topic's catch-all callback: in packets, sub-topic 0 means "no sub-topic". */
  const CATCH_ALL = 0;

  const REFUSALS = {
    1: "protocol version or handshake not accepted",
    2: "server unavailable",
    3: "wrong credentials",
    4: "client certificate required",
    5: "client certificate not accepted",
    6: "access denied",
  };

  // ---- Text and bytes -------------------------------------------------------------------------------------------

  const encoder = new TextEncoder();
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const lenientDecoder = new TextDecoder("utf-8", { ignoreBOM: true });

  /** UTF-8 helpers. */
  const utf8 = {
    /** The text as UTF-8 in a Uint8Array. */
    encode(text) {
      return encoder.encode(text);
    },

    /** The text of `length` bytes of UTF-8 from `offset` on, or null if they are not UTF-8. */
    decode(bytes, offset = 0, length = undefined) {
      const all = asBytes(bytes);
      try {
        return decoder.decode(all.subarray(offset, length === undefined ? all.length : offset + length));
      } catch (notUtf8) {
        return null;
      }
    },

    /** The length of the text in bytes of UTF-8. */
    length(text) {
      return encoder.encode(text).length;
    },
  };

  /** Like instanceof, also for what comes from another window, such as a frame, which has classes of its own. */
  const isA = (name, value) => Object.prototype.toString.call(value) === `[object ${name}]`;

  function asBytes(data) {
    if (typeof data === "string") return encoder.encode(data);
    if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    if (isA("ArrayBuffer", data)) return new Uint8Array(data);
    if (Array.isArray(data)) return bytesOfArray(data);
    throw new TypeError(`data must be text or bytes, not ${describe(data)}; pubjson sends other values`);
  }

  function bytesOfArray(list) {
    const wrong = list.findIndex((value) => !Number.isInteger(value) || value < 0 || value > 255);
    if (wrong < 0) return Uint8Array.from(list);
    throw new TypeError(`an array of bytes holds ${describe(list[wrong])} at index ${wrong}; pubjson sends other values`);
  }

  /** A copy of the payload as bytes, since the caller may reuse its buffer while the message is in the line. */
  function payloadOf(data) {
    const bytes = ArrayBuffer.isView(data) || isA("ArrayBuffer", data) ? asBytes(data).slice() : asBytes(data);
    if (bytes.length > PAYLOAD_LIMIT) {
      throw new RangeError(`a message carries at most ${PAYLOAD_LIMIT} bytes, this one has ${bytes.length}`);
    }
    return bytes;
  }

  /** Received bytes as the data type that the subscriber asked for. Throws if they are not of that type. */
  function decode(bytes, datatype) {
    if (datatype !== "json" && datatype !== "text") return bytes.slice();
    const text = decoder.decode(bytes);
    return datatype === "json" ? JSON.parse(text) : text;
  }

  // ---- Packets: one binary WebSocket message each, type byte first, integers big endian ---------------------------

  /** A packet of a type byte and 32 bit numbers, with bytes at the end. */
  function packet(type, numbers, tail = []) {
    const bytes = new Uint8Array(1 + 4 * numbers.length + tail.length);
    const view = new DataView(bytes.buffer);
    view.setUint8(0, type);
    numbers.forEach((number, i) => view.setUint32(1 + 4 * i, number));
    bytes.set(tail, 1 + 4 * numbers.length);
    return bytes;
  }

  function connectPacket(uid, credentials, info) {
    const name = sized("uid", uid, SHORTEST_UID, 255);
    const secret = sized("credentials", credentials, 0, 255);
    const about = sized("info", info, 0, NAME_LIMIT);
    return packet(CONNECT, [], [PROTOCOL_VERSION, name.length, ...name, secret.length, ...secret, ...about]);
  }

  /** The text as UTF-8; throws if that is longer than the server accepts. */
  function sized(what, text, least, most) {
    const bytes = encoder.encode(text);
    if (bytes.length >= least && bytes.length <= most) return bytes;
    throw new RangeError(`the ${what} must have ${least} to ${most} bytes, not ${bytes.length}`);
  }

  /** Reads a packet from its second byte on. Throws a RangeError if the packet is too short. */
  class Reader {
    constructor(bytes) {
      this.bytes = bytes;
      this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      this.at = 1;
    }
    byte() {
      return this.view.getUint8(this.at++);
    }
    number() {
      this.at += 4;
      return this.view.getUint32(this.at - 4);
    }
    rest() {
      return this.bytes.subarray(this.at);
    }
    text() {
      return lenientDecoder.decode(this.rest());
    }
  }

  // ---- Names and answers ----------------------------------------------------------------------------------------

  /** Names and their numbers: one object for topics, one for sub-topics. Number 0 means that it has to be looked up again. */
  class Names {
    constructor() {
      this.numbers = new Map();
      this.names = new Map();
    }
    number(name) {
      return this.numbers.get(name) || undefined;
    }
    name(number) {
      return this.names.get(number);
    }
    learn(name, number) {
      this.numbers.set(name, number);
      this.names.set(number, name);
    }
    forget(name) {
      this.names.delete(this.numbers.get(name));
      this.numbers.delete(name);
    }
    /** After a reconnect the server may have other numbers for the names. Until all are told, the old ones stand for them, too. */
    doubtNumbers() {
      for (const name of this.numbers.keys()) this.numbers.set(name, 0);
    }
    forgetOldNumbers() {
      for (const [number, name] of this.names) if (this.numbers.get(name) !== number) this.names.delete(number);
    }
    clear() {
      this.names.clear();
      this.numbers.clear();
    }
  }

  /** How the outcome of a call reaches the app: through its callback, or through a promise if it gave none. */
  class Answer {
    constructor(onack) {
      this.onack = onack;
      if (onack) return;
      this.promise = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
      // Without this, a promise that nobody uses would be reported as an unhandled rejection.
      this.promise.catch(() => {});
    }
    /** `args` are for the callback, `value` is for the promise. */
    settle(accepted, args, value) {
      if (this.onack) guarded(undefined, this.onack, accepted, ...args);
      else if (accepted) this.resolve(value);
      else this.reject(new Error(`the server denied ${namesIn(args)}`));
    }
    /** There will be no answer. Rejects the promise; a callback is not called, since it has no parameter for the reason. */
    drop(error) {
      if (!this.onack) this.reject(error);
    }
  }

  /** Calls a function of the app. An exception is reported on the console, and does not disturb the client. */
  function guarded(client, callback, ...args) {
    if (typeof callback !== "function") return undefined;
    try {
      return callback.apply(client, args);
    } catch (error) {
      report(error);
      return undefined;
    }
  }

  function report(error) {
    console.error("smq:", error);
  }

  const quote = (name) => JSON.stringify(name);
  const namesIn = (list) => list.filter((item) => typeof item === "string").map(quote).join(", ");
  function describe(value) {
    if (value === null || typeof value === "number") return String(value);
    if (typeof value === "string") return quote(value);
    return Array.isArray(value) ? "an array" : typeof value;
  }
  const isNumber = (value) => Number.isInteger(value) && value >= 0 && value <= 0xffffffff;

  /** The name as the server will send it back: an unpaired surrogate has no form in UTF-8, and becomes U+FFFD. */
  const wellFormed = (name) => name.replace(/[\uD800-\uDFFF]/gu, "\uFFFD");

  /**
   * Checks a name or a number. A name that is too long is refused here, since the server would close the connection, and again
   * after each reconnect.
   */
  function checkNamed(method, what, value) {
    if (isNumber(value)) return value;
    if (typeof value !== "string")
      throw new TypeError(
        `${method}: the ${what} must be a name or a number from 0 to 4294967295, not ${describe(value)}`,
      );
    const name = wellFormed(value);
    // A UTF-16 unit takes at most three bytes: short names need not be measured.
    const length = name.length > NAME_LIMIT / 3 ? utf8.length(name) : 0;
    if (length <= NAME_LIMIT) return name;
    throw new RangeError(`${method}: the name of the ${what} may have at most ${NAME_LIMIT} bytes, not ${length}`);
  }

  const checkTopic = (method, topic) => checkNamed(method, "topic", topic);
  const checkSubtopic = (method, subtopic) => checkNamed(method, "sub-topic", subtopic ?? CATCH_ALL);

  function checkCallback(method, name, callback) {
    if (callback === undefined || callback === null || typeof callback === "function") return callback || undefined;
    throw new TypeError(`${method}: ${name} must be a function, not ${describe(callback)}`);
  }

  function checkSettings(settings) {
    if (settings === undefined || settings === null) return {};
    if (typeof settings === "object") return settings;
    throw new TypeError(`subscribe: the settings must be an object such as { onmsg }, not ${describe(settings)}`);
  }

  // ---- The client -----------------------------------------------------------------------------------------------

  class SmqClient {
    constructor(url, options) {
      if (url !== null && typeof url === "object" && !isA("URL", url)) [url, options] = [undefined, url];
      this._options = options || {};
      this._url = absoluteURL(url);
      this._uid = this._options.uid;
      this._topics = new Names();
      this._subtopics = new Names();
      /** Topic (or "self") to its callbacks by sub-topic. */
      this._subscriptions = new Map();
      /** Topic name, or number without a name, to `{ onchange, isTopic }`. */
      this._observers = new Map();
      /** Questions that the server has not answered yet: by packet type, a map of names to the list of those who wait. */
      this._asked = { [CREATE]: new Map(), [SUBSCRIBE]: new Map(), [CREATESUB]: new Map() };
      this._line = [];
      /** Topic name to the number of calls in the line that are to make it known. */
      this._awaited = new Map();
      /** For how many calls at the head of the line the server has been asked for the names. */
      this._ahead = 0;
      this._etid = undefined;
      /** Whether Connack was received: the server has accepted this client. */
      this._isAccepted = false;
      /** Whether calls are carried out: what existed before a reconnect has been set up again, and the app has been told. */
      this._up = false;
      /** Whether those who waited for an answer are being told. */
      this._settling = false;
      this._ended = false;
      this._attempts = 0;
      // A page that stands still, as in the back-forward cache, keeps its connection and serves it no more: the server
      // would take the client for present. So it is closed; if the page comes back, it hears of a lost connection.
      this._onfreeze = () => this._sock && this._sock.close();
      this._open();
      if (root.document) root.document.addEventListener("freeze", this._onfreeze);
    }

    // Calls

    /**
     * Sends a message: text as UTF-8, or bytes (at most 65520, else a RangeError is thrown). Names that are not known yet
     * are created first. The promise stands for the message being handed to the socket; it rejects if a name is denied.
     */
    publish(data, topic, subtopic) {
      const payload = payloadOf(data);
      const answer = new Answer();
      const to = this._key(checkTopic("publish", topic));
      const call = { topic: to, subtopic: this._subkey(checkSubtopic("publish", subtopic)), answer };
      call.run = (tid, subtid) => {
        this._send(packet(PUBLISH, [tid, this._etid, subtid], payload));
        answer.settle(true, []);
      };
      call.denied = (name) => answer.settle(false, [name]);
      this._join(call);
      return answer.promise;
    }

    /** Publishes the JSON text of the value. */
    pubjson(value, topic, subtopic) {
      const text = JSON.stringify(value);
      if (text === undefined) throw new TypeError(`pubjson: ${describe(value)} has no JSON form`);
      return this.publish(text, topic, subtopic);
    }

    /**
     * Subscribes to a topic: `subscribe(topic [, subtopic] [, settings])`. Settings: `onmsg(data, ptid, tid, subtid)`,
     * `datatype` ("json", "text"; else data is a Uint8Array), `onack(accepted, topic, tid [, subtopic, subtid])`. Without a
     * sub-topic the callback is the topic's catch-all. "self" is for messages sent to this client's etid. Without `onack`
     * the answer is a promise of the tid, or of `{ tid, subtid }`.
     */
    subscribe(topic, subtopic, settings) {
      if (subtopic !== null && typeof subtopic === "object") [subtopic, settings] = [undefined, subtopic];
      const name = this._subscribable(checkTopic("subscribe", topic));
      const sub = this._subkey(checkSubtopic("subscribe", subtopic));
      const wanted = checkSettings(settings);
      const handler = handlerOf(wanted);
      const answer = new Answer(checkCallback("subscribe", "onack", wanted.onack));
      const call = { subtopic: sub, subscribes: name, answer };
      call.run = () => {
        const settle = (accepted, tid) => {
          if (accepted) this._register(name, sub, handler);
          settlePair(answer, accepted, name, tid, sub, this._subtid(sub));
        };
        const isSubscribed = name === SELF || this._subscriptions.has(name);
        if (isSubscribed) settle(true, this._tid(name));
        else this._ask(SUBSCRIBE, name, { settle, drop: (error) => answer.drop(error) });
      };
      call.denied = () => settlePair(answer, false, name, 0, sub, 0);
      this._join(call);
      return answer.promise;
    }

    /** Ends the subscription and removes all callbacks of the topic, those of its sub-topics included. */
    unsubscribe(topic) {
      const name = this._key(checkTopic("unsubscribe", topic));
      const run = () => {
        const isSubscribed = this._subscriptions.delete(name);
        if (isSubscribed && name !== SELF) this._send(packet(UNSUBSCRIBE, [this._tid(name)]));
      };
      this._join({ follows: name, run });
    }

    /**
     * Looks a topic's number up, and creates the topic if the server does not have it: `create(topic [, subtopic] [, onack])`.
     * `onack(accepted, topic, tid)`, with a sub-topic `onack(accepted, topic, tid, subtopic, subtid)`; without it the answer
     * is a promise of the tid, or of `{ tid, subtid }`. A known name is answered at once.
     */
    create(topic, subtopic, onack) {
      if (typeof subtopic === "function") [subtopic, onack] = [undefined, subtopic];
      const name = checkTopic("create", topic);
      const sub = checkSubtopic("create", subtopic);
      const answer = new Answer(checkCallback("create", "onack", onack));
      const settle = (accepted) =>
        settlePair(answer, accepted, name, this._tid(name) ?? 0, sub, this._subtid(sub) ?? 0);
      this._lookUp({ topic: name, subtopic: sub, answer }, settle);
      return answer.promise;
    }

    /** Looks a sub-topic's number up: `createsub(subtopic [, onack])`, `onack(accepted, subtopic, subtid)`; or a promise of the subtid. */
    createsub(subtopic, onack) {
      const sub = checkNamed("createsub", "sub-topic", subtopic);
      const answer = new Answer(checkCallback("createsub", "onack", onack));
      const settle = (accepted) => answer.settle(accepted, [sub, this._subtid(sub) ?? 0], this._subtid(sub));
      this._lookUp({ subtopic: sub, answer }, settle);
      return answer.promise;
    }

    /**
     * Calls `onchange(subscribers, nameOrNumber)` with the topic's number of subscribers, now and whenever it changes. For an
     * etid it is called once, with 0, when that client has gone. The number of a topic whose name is not known here looks like
     * an etid while nobody subscribes: then the 0 is the end, too. Throws if the topic's name is neither known nor asked for.
     */
    observe(topic, onchange) {
      const key = this._key(checkTopic("observe", topic));
      if (typeof onchange !== "function")
        throw new TypeError(`observe: onchange must be a function, not ${describe(onchange)}`);
      if (!this._isKnownSoon(key))
        throw new Error(`observe: the topic ${quote(key)} is not known; create or subscribe to it first`);
      this._join({
        topic: key,
        run: (tid) => {
          this._observers.set(key, { onchange, isTopic: typeof key === "string" });
          this._send(packet(OBSERVE, [tid]));
        },
        denied: (name) => report(new Error(`observe: the server denied ${quote(name)}`)),
      });
    }

    /** Ends the observation of a topic or an etid. */
    unobserve(topic) {
      const key = this._key(checkTopic("unobserve", topic));
      const run = () => {
        const tid = this._tid(key);
        // The observer is kept under its number if the name has become known since.
        const isObserved = this._observers.delete(key) || this._observers.delete(tid);
        if (isObserved) this._send(packet(UNOBSERVE, [tid]));
      };
      this._join({ run });
    }

    /** Carries out the calls before this one, then disconnects. The client cannot be used again. */
    disconnect() {
      if (this._ended) return;
      const run = () => {
        if (this._isAccepted) this._send(packet(DISCONNECT, []));
        this._end(new Error("disconnected"));
      };
      this._leaving = true;
      if (this._sock && this._line.length) {
        this._line.push({ run }); // Not joined: a full line keeps nobody from leaving.
        this._advance();
      } else run();
    }

    /** This client's etid, or undefined before the first connection. */
    gettid() {
      return this._etid;
    }
    /** The topic's number, or undefined. */
    topic2tid(topic) {
      return this._topics.number(topic);
    }
    /** The topic's name, or undefined. */
    tid2topic(tid) {
      return this._topics.name(tid);
    }
    /** The sub-topic's number, or undefined. */
    subtopic2tid(subtopic) {
      return this._subtopics.number(subtopic);
    }
    /** The sub-topic's name, or undefined. */
    tid2subtopic(subtid) {
      return this._subtopics.name(subtid);
    }
    /** The WebSocket in use, or undefined while there is none. */
    getsock() {
      return this._sock;
    }

    // The line

    _join(call) {
      if (this._ended) {
        if (call.answer) call.answer.drop(new Error("the connection is closed"));
        return;
      }
      if (this._line.length >= LINE_LIMIT) throw new Error(`${LINE_LIMIT} calls already wait for the server`);
      this._line.push(call);
      this._await(call, 1);
      if (this._canSend()) this._isAnswered(call, CREATESUB, call.subtopic);
      this._advance();
    }

    /** Carries out the calls whose turn has come. Callbacks may call the client again: a call leaves the line before it runs. */
    _advance() {
      while (!this._settling && this._canSend()) {
        this._askAhead();
        if (!this._line.length || !this._isReady(this._line[0])) return;
        const call = this._line.shift();
        this._await(call, -1);
        this._ahead = Math.max(0, this._ahead - 1);
        if (call.lacks === undefined) call.run(this._tid(call.topic), this._subtid(call.subtopic));
        else call.denied(call.lacks);
      }
    }

    /** Asks for the names of several calls at the head of the line at once, so that new names cost one round trip together. */
    _askAhead() {
      for (; this._ahead < this._line.length; this._ahead++) {
        const call = this._line[this._ahead];
        if (call.subscribes !== undefined) return; // A Create must not overtake a Subscribe.
        this._isReady(call);
      }
    }

    _isReady(call) {
      if (call.follows !== undefined && this._asked[SUBSCRIBE].has(call.follows)) return false;
      const hasTopic = this._isAnswered(call, CREATE, call.topic);
      return this._isAnswered(call, CREATESUB, call.subtopic) && hasTopic;
    }

    /** Whether it is known for the call that the name has a number, or that there is none. If not, asks the server, once. */
    _isAnswered(call, type, name) {
      if (this._isKnown(type, name) || call.lacks !== undefined) return true;
      if (call.asks?.has(type)) return false;
      call.asks = (call.asks || new Set()).add(type);
      // The answer to a Subscribe under way has the number, too. But if that is denied, a Create may still be
      // permitted.
      const asked = type === CREATE && this._asked[SUBSCRIBE].has(name) ? SUBSCRIBE : type;
      const settle = (accepted) => {
        call.asks.delete(type);
        if (accepted) return;
        if (asked === type) call.lacks = name;
        else this._isAnswered(call, type, name);
      };
      this._ask(asked, name, { settle, drop: () => call.asks.delete(type) });
      return false;
    }

    // Names and numbers

    _isKnown(type, name) {
      return typeof name !== "string" || (type === CREATE && name === SELF) || Boolean(this._namesOf(type).number(name));
    }
    _namesOf(type) {
      return type === CREATESUB ? this._subtopics : this._topics;
    }
    _tid(topic) {
      if (topic === SELF) return this._etid;
      return typeof topic === "string" ? this._topics.number(topic) : topic;
    }
    _subtid(subtopic) {
      return typeof subtopic === "string" ? this._subtopics.number(subtopic) : subtopic;
    }

    /** The key of a topic is its name, since its number may change with a reconnect; that of an etid is the number. */
    _key(topic) {
      return topic === this._etid ? SELF : (this._topics.name(topic) ?? topic);
    }
    _subkey(subtopic) {
      return this._subtopics.name(subtopic) ?? subtopic;
    }

    _subscribable(topic) {
      const key = this._key(topic);
      if (typeof key === "string") return key;
      throw new Error(`subscribe: no topic with the number ${key} is known here; subscribe by its name`);
    }

    _isKnownSoon(key) {
      if (typeof key !== "string" || key === SELF || this._topics.numbers.has(key)) return true;
      if (this._asked[CREATE].has(key) || this._asked[SUBSCRIBE].has(key)) return true;
      return this._awaited.has(key);
    }

    /** Counts a call that joins or leaves the line, so that nobody has to search the line for a name. */
    _await(call, change) {
      const name = call.subscribes ?? call.topic;
      if (typeof name !== "string") return;
      const count = (this._awaited.get(name) || 0) + change;
      if (count) this._awaited.set(name, count);
      else this._awaited.delete(name);
    }

    /** Answers a call that needs numbers and nothing else: at once if they are known, else when its turn comes. */
    _lookUp(call, settle) {
      const isKnown = this._isKnown(CREATE, call.topic) && this._isKnown(CREATESUB, call.subtopic);
      if (this._canSend() && isKnown) settle(true);
      else this._join({ ...call, run: () => settle(true), denied: () => settle(false) });
    }

    /** Sends a Create, Createsub or Subscribe, unless one for that name is under way already. */
    _ask(type, name, waiter) {
      const waiters = this._asked[type].get(name);
      if (waiters) {
        waiters.push(waiter);
        return;
      }
      this._asked[type].set(name, [waiter]);
      this._sendAsk(type, name);
    }

    _sendAsk(type, name) {
      this._send(packet(type, [], encoder.encode(name)));
    }

    _answered(type, reader) {
      const accepted = reader.byte() === 0;
      const number = reader.number();
      const name = reader.text();
      const waiters = this._asked[type].get(name) || [];
      this._asked[type].delete(name);
      if (accepted) this._namesOf(type).learn(name, number);
      // What callbacks call comes after all that have waited: an unsubscribe also ends a subscribe that is told next.
      this._settling = true;
      for (const waiter of waiters) waiter.settle(accepted, number);
      this._settling = false;
      this._advance();
    }

    // Messages

    _register(topic, subtopic, handler) {
      if (!this._subscriptions.has(topic)) this._subscriptions.set(topic, new Map());
      if (handler) this._subscriptions.get(topic).set(subtopic, handler);
    }

    _handler(tid, subtid) {
      const handlers = this._subscriptions.get(tid === this._etid ? SELF : this._topics.name(tid));
      if (!handlers) return {};
      return handlers.get(this._subtopics.name(subtid)) || handlers.get(subtid) || handlers.get(CATCH_ALL) || {};
    }

    _received(reader) {
      const tid = reader.number();
      const ptid = reader.number();
      const subtid = reader.number();
      const handler = this._handler(tid, subtid);
      let onmsg = handler.onmsg || this.onmsg;
      let data;
      try {
        data = decode(reader.rest(), handler.datatype);
      } catch (undecodable) {
        onmsg = this.onmsg;
        data = reader.rest().slice();
      }
      guarded(this, onmsg, data, ptid, tid, subtid);
    }

    _changed(reader) {
      const number = reader.number();
      const subscribers = reader.number();
      const key = this._topics.name(number) ?? number;
      const observer = this._observers.get(key) || this._observers.get(number);
      if (!observer) return;
      // An etid has neither a name nor subscribers: the first thing to hear of it is the 0 that ends the observation.
      if (subscribers > 0 || key !== number) observer.isTopic = true;
      else if (!observer.isTopic) this._observers.delete(number);
      guarded(this, observer.onchange, subscribers, key);
    }

    // The connection

    _open() {
      const Socket = this._options.WebSocket || root.WebSocket;
      if (!Socket) throw new Error("no WebSocket here: pass a class in the option WebSocket");
      const sock = new Socket(this._url);
      sock.binaryType = "arraybuffer";
      const unlessOld = (handle) => (event) => {
        if (sock === this._sock) handle(event);
      };
      sock.onmessage = unlessOld((event) => this._packet(event.data));
      sock.onclose = unlessOld((event) => this._lost(event.reason || this._trouble()));
      // In Node with undici 6 no close event follows an attempt that failed.
      sock.onerror = unlessOld(() => this._lost(this._trouble()));
      this._sock = sock;
    }

    _trouble() {
      return this._up ? "connection lost" : "could not connect";
    }

    _send(bytes) {
      if (this._sock) this._sock.send(bytes);
    }

    /** Whether calls can be carried out. A socket that is closing silently drops what it is given, so they wait. */
    _canSend() {
      return this._up && this._sock.readyState === SOCKET_OPEN;
    }

    _packet(data) {
      try {
        const bytes = new Uint8Array(data);
        this._handle(bytes[0], new Reader(bytes));
      } catch (error) {
        report(error);
        this._lost("malformed packet");
      }
    }

    _handle(type, reader) {
      switch (type) {
        case INIT:
          return this._init(reader);
        case CONNACK:
          return this._connack(reader);
        case SUBACK:
          return this._answered(SUBSCRIBE, reader);
        case CREATEACK:
          return this._answered(CREATE, reader);
        case CREATESUBACK:
          return this._answered(CREATESUB, reader);
        case PUBLISH:
          return this._received(reader);
        case CHANGE:
          return this._changed(reader);
        case PING:
          return this._send(packet(PONG, []));
        case DISCONNECT:
          return this._refused(reader.text() || "disconnect");
        default:
          return undefined;
      }
    }

    _init(reader) {
      reader.byte(); // The server's version: it accepts ours, or refuses our Connect.
      this._rnd = reader.number();
      this._ipaddr = reader.text();
      const sock = this._sock;
      const credentials = async () => (this.onauth ? this.onauth(this._rnd, this._ipaddr) : "");
      credentials().then(
        (text) => sock === this._sock && this._connect(text),
        (error) => sock === this._sock && this._unable(error),
      );
    }

    _connect(credentials) {
      const uid = this._uid === undefined ? this._ipaddr + this._rnd : String(this._uid);
      const text = credentials === undefined || credentials === null ? "" : String(credentials);
      try {
        this._send(connectPacket(uid, text, String(this._options.info || "")));
      } catch (error) {
        this._unable(error);
      }
    }

    _unable(error) {
      report(error);
      this._refused(`could not authenticate: ${error?.message ?? error}`);
    }

    _connack(reader) {
      const code = reader.byte();
      const etid = reader.number();
      if (code !== 0) {
        this._refused(reader.text() || REFUSALS[code] || `refused with code ${code}`);
        return;
      }
      this._isAccepted = true;
      const isFirst = this._etid === undefined;
      this._etid = etid;
      this._attempts = 0;
      if (isFirst) this._stand(this.onconnect);
      else if (this._options.cleanstart) this._startClean();
      else this._restore();
    }

    /** Tells the app that the connection is ready, then carries out the line. Calls of that callback are put at its end. */
    _stand(callback) {
      const sock = this._sock;
      guarded(this, callback, this._etid, this._rnd, this._ipaddr);
      if (sock !== this._sock) return; // The callback closed the connection.
      this._up = true;
      this._ahead = 0;
      for (const call of this._line) this._isAnswered(call, CREATESUB, call.subtopic);
      this._advance();
    }

    _startClean() {
      this._dropAsked(new Error("the connection was lost"));
      this._topics.clear();
      this._subtopics.clear();
      this._subscriptions.clear();
      this._observers.clear();
      this._stand(this.onreconnect);
    }

    /** After a reconnect, sets up again what was set up before; then goes on when the server has answered all of it. */
    _restore() {
      this._topics.doubtNumbers();
      this._subtopics.doubtNumbers();
      this._keepObservedTopics();
      const sock = this._sock;
      let missing = 1;
      const settled = () => {
        if (--missing === 0 && sock === this._sock) this._restored(); // Unless a callback has disconnected.
      };
      // Sub-topics first, so that their numbers are known when the first message arrives.
      for (const [type, name] of this._replayed()) {
        missing++;
        const settle = (accepted) => {
          if (!accepted) this._forgetDenied(type, name);
          settled();
        };
        const waiters = this._asked[type].get(name) || [];
        this._asked[type].set(
          name,
          waiters.filter((waiter) => !waiter.isReplay).concat({ settle, drop: () => {}, isReplay: true }),
        );
        this._sendAsk(type, name);
      }
      settled();
    }

    /** Observed numbers become names if these are known since; those that may be of clients are forgotten. */
    _keepObservedTopics() {
      for (const [number, observer] of this._observers) {
        const name = this._topics.name(number);
        if (typeof number === "string" || (observer.isTopic && name === undefined)) continue;
        this._observers.delete(number);
        if (name !== undefined && !this._observers.has(name)) this._observers.set(name, { ...observer, isTopic: true });
      }
    }

    /** What to ask the server again: names in use, and questions that the old connection left unanswered. */
    _replayed() {
      const subtopics = new Set([...this._subtopics.numbers.keys(), ...this._asked[CREATESUB].keys()]);
      const subscribed = new Set([...this._subscriptions.keys(), ...this._asked[SUBSCRIBE].keys()]);
      subscribed.delete(SELF);
      // A Subscribe that was not answered yet may be denied, and the topic is to stay known nevertheless.
      const created = new Set([...this._topics.numbers.keys()].filter((name) => !this._subscriptions.has(name)));
      for (const name of this._asked[CREATE].keys()) created.add(name);
      const each = (type, names) => [...names].map((name) => [type, name]);
      return [...each(CREATESUB, subtopics), ...each(CREATE, created), ...each(SUBSCRIBE, subscribed)];
    }

    _forgetDenied(type, name) {
      if (type === SUBSCRIBE) this._subscriptions.delete(name);
      if (!this._namesOf(type).number(name)) this._namesOf(type).forget(name);
      console.warn(`smq: the server denied ${quote(name)} after the reconnect`);
    }

    _restored() {
      for (const name of this._observers.keys()) {
        const tid = this._tid(name);
        if (tid) this._send(packet(OBSERVE, [tid]));
        else this._observers.delete(name);
      }
      this._topics.forgetOldNumbers();
      this._subtopics.forgetOldNumbers();
      this._stand(this.onreconnect);
    }

    /** The server has refused this client, and there will be no reconnect. */
    _refused(message) {
      this._end(new Error(message));
      if (!this._leaving) guarded(this, this.onclose, message, false);
    }

    _lost(reason) {
      this._closeSocket();
      if (this._leaving) {
        this._end(new Error(reason));
        return;
      }
      const wish = guarded(this, this.onclose, reason, true);
      if (this._ended) return; // onclose called disconnect().
      const delay = this._reconnectDelay(wish);
      if (delay === undefined) this._end(new Error(reason));
      else this._timer = setTimeout(() => this._reopen(), Math.min(delay, LONGEST_RECONNECT));
    }

    /** Milliseconds until the next attempt, or undefined to stay closed. What onclose returned has precedence over backoff. */
    _reconnectDelay(wish) {
      if (Number.isFinite(wish) && wish >= SHORTEST_RECONNECT) return wish;
      const backoff = this._options.backoff;
      if (!backoff || wish === false) return undefined;
      const min = backoff.min || SHORTEST_RECONNECT;
      const ceiling = Math.min(backoff.max || 30000, min * 2 ** ++this._attempts);
      // Jitter, so that clients that lost their connections at the same time do not all reconnect at the same time.
      return min + Math.random() * Math.max(0, ceiling - min);
    }

    _reopen() {
      try {
        this._open();
      } catch (error) {
        this._lost(error.message);
      }
    }

    _closeSocket() {
      const sock = this._sock;
      this._sock = undefined;
      this._isAccepted = false;
      this._up = false;
      if (sock) sock.close();
    }

    _end(error) {
      this._ended = true;
      if (root.document) root.document.removeEventListener("freeze", this._onfreeze);
      clearTimeout(this._timer);
      this._closeSocket();
      const line = this._line;
      this._line = [];
      this._awaited.clear();
      for (const call of line) if (call.answer) call.answer.drop(error);
      this._dropAsked(error);
    }

    _dropAsked(error) {
      for (const asked of Object.values(this._asked)) {
        const all = [...asked.values()];
        asked.clear();
        for (const waiters of all) for (const waiter of waiters) waiter.drop(error);
      }
    }

    /** Messages that have no callback of their own; the app sets its own function. */
    onmsg(data, ptid, tid, subtid) {
      const topic = tid === this._etid ? SELF : (this._topics.name(tid) ?? tid);
      console.log(
        `smq: no callback for a message to ${topic} from ${ptid} (sub-topic ${this._subtopics.name(subtid) ?? subtid}):`,
        data,
      );
    }
  }

  function handlerOf(settings) {
    const onmsg = checkCallback("subscribe", "onmsg", settings.onmsg);
    return onmsg || settings.datatype ? { onmsg, datatype: settings.datatype } : undefined;
  }

  function settlePair(answer, accepted, topic, tid, subtopic, subtid) {
    if (subtopic === CATCH_ALL) answer.settle(accepted, [topic, tid], tid);
    else answer.settle(accepted, [topic, tid, subtopic, subtid], { tid, subtid });
  }

  // ---- The page's URL -------------------------------------------------------------------------------------------

  /**
   * A WebSocket URL on the page's own host and port, `wss:` if the page came over HTTPS. An absolute path is used as it is, a
   * relative one is taken from the page's folder; without one it is the page's own path.
   */
  function wsURL(path) {
    const page = root.location;
    if (!page) throw new Error("wsURL: there is no page here; give SMQ.Client a whole URL");
    // The WebSocket would take the first folder for the host.
    if (!page.host)
      throw new Error(`wsURL: this page came from no server, but by ${page.protocol}; give SMQ.Client a whole URL`);
    let absolute = path === undefined || path === null ? page.pathname : String(path);
    if (!absolute.startsWith("/")) absolute = page.pathname.slice(0, page.pathname.lastIndexOf("/") + 1) + absolute;
    return `${page.protocol === "https:" ? "wss:" : "ws:"}//${page.host}${absolute}`;
  }

  function absoluteURL(url) {
    if (url === undefined || url === null) return wsURL();
    // The URL of a page may have a fragment, with which a WebSocket cannot be made.
    const text = String(url).replace(/#.*/s, "");
    return /^[a-z]+:\/\//i.test(text) ? text.replace(/^http/i, "ws") : wsURL(text);
  }

  /** True if there is a WebSocket class. */
  function websocket() {
    return typeof root.WebSocket === "function";
  }

  /**
   * A client that starts to connect at once: `SMQ.Client([url] [, options])`, with or without `new`. Without a URL it goes to
   * the page's own. Set the callbacks right after: `onconnect(etid, rnd, ipaddr)`, `onreconnect(etid, rnd, ipaddr)`,
   * `onclose(message, canreconnect)` (return milliseconds, at least 1000, to reconnect), `onauth(rnd, ipaddr)` (return the
   * credentials, or a promise of them), `onmsg(data, ptid, tid, subtid)`.
   *
   * Options: `uid`, `info`, `cleanstart` (after a reconnect nothing is set up again), `backoff` (true or `{ min, max }` in
   * milliseconds: reconnect by itself, waiting longer each time, unless onclose returns false), `WebSocket` (a class, for Node).
   */
  function Client(url, options) {
    return Reflect.construct(SmqClient, [url, options], new.target || Client);
  }
  Client.prototype = SmqClient.prototype;
  Object.defineProperty(Client.prototype, "constructor", { value: Client, configurable: true, writable: true });

  const SMQ = { Client, wsURL, websocket, utf8 };
  root.SMQ = SMQ;
  if (typeof module === "object" && module.exports) module.exports = SMQ;
})(typeof globalThis === "object" ? globalThis : self);
