// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Types of the SMQ client, for both smq.js (the global SMQ) and smq.mjs. In a project whose pages load /rtl/smq.mjs, keep a
// copy of this file and name it in tsconfig.json: "paths": { "/rtl/smq.mjs": ["./smq.d.ts"] }.

export as namespace SMQ;

/** A topic's name (at most 60000 bytes), its number (tid), a client's number (etid), or "self" for this client's own etid. */
export type Topic = string | number;
/** A sub-topic's name or number. */
export type Subtopic = string | number;
/** Text travels as UTF-8, an array holds bytes (0 to 255). At most 65520 bytes. */
export type Data = string | ArrayBufferView | ArrayBuffer | readonly number[];

/**
 * Gets a message, with the publisher's etid, the topic's tid (this client's etid for a direct message) and the sub-topic's
 * number, 0 for none.
 */
export type OnMessage<T = any> = (data: T, ptid: number, tid: number, subtid: number) => void;
export type OnAck = (accepted: boolean, topic: string, tid: number) => void;
export type OnPairAck = (accepted: boolean, topic: string, tid: number, subtopic: string, subtid: number) => void;
/** `subscribers` is 0 for an etid that has gone. */
export type OnChange = (subscribers: number, nameOrNumber: Topic) => void;

export interface SubscribeSettings<T = any> {
  /** Without it the messages go to the client's `onmsg`. */
  onmsg?: OnMessage<T>;
  /** How to decode the data; without it, it is a Uint8Array. What cannot be decoded goes to the client's `onmsg` as bytes. */
  datatype?: "json" | "text";
}

export interface ClientOptions {
  /** Tells this client from all others, 6 to 255 bytes; default: the client's address followed by the connection's seed. */
  uid?: string;
  /** Text for the server's `authenticate` and `onconnect`, at most 60000 bytes. */
  info?: string;
  /** Set nothing up again after a reconnect: `onreconnect` does it. */
  cleanstart?: boolean;
  /**
   * Reconnect by itself after a lost connection, waiting longer each time (milliseconds, jittered; default from 1000 to
   * 30000). A number returned by `onclose` goes before it, `false` stays closed.
   */
  backoff?: boolean | { min?: number; max?: number };
  /** A WebSocket class, where there is no global one (older Node). */
  WebSocket?: new (url: string) => any;
}

export interface Pair {
  tid: number;
  subtid: number;
}

export interface Client {
  /** Connected for the first time. `rnd` is the connection's seed, `ipaddr` this client's address as the server sees it. */
  onconnect?: ((etid: number, rnd: number, ipaddr: string) => void) | null;
  /** Connected again; unless `cleanstart`, what was set up is set up again. */
  onreconnect?: ((etid: number, rnd: number, ipaddr: string) => void) | null;
  /**
   * The connection has ended. Where `canreconnect` is true, return milliseconds (at least 1000) to reconnect after that time;
   * anything else: stay closed.
   */
  onclose?: ((message: string, canreconnect: boolean) => number | boolean | void) | null;
  /** Returns the credentials for the server's `authenticate`, at most 255 bytes, or a promise of them. */
  onauth?: ((rnd: number, ipaddr: string) => string | PromiseLike<string>) | null;
  /** Messages that no subscription has a callback for. The default logs them. */
  onmsg: OnMessage<any> | null;

  /**
   * Sends a message; unknown names are created first, and the order of calls is kept. The promise stands for the message being
   * handed to the socket, and rejects if a name is denied.
   * @throws RangeError if there are more than 65520 bytes; TypeError for data that is neither text nor bytes; Error if 10000
   * calls wait in line already.
   */
  publish(data: Data, topic: Topic, subtopic?: Subtopic | null): Promise<void>;
  /** Publishes the JSON text of the value. */
  pubjson(value: unknown, topic: Topic, subtopic?: Subtopic | null): Promise<void>;

  /** Subscribes to a topic: its catch-all. `"self"` is for messages to this client's etid. */
  subscribe<T = any>(topic: Topic, settings: SubscribeSettings<T> & { onack: OnAck }): void;
  subscribe<T = any>(topic: Topic, settings?: SubscribeSettings<T>): Promise<number>;
  /** Subscribes to a sub-topic of a topic. */
  subscribe<T = any>(topic: Topic, subtopic: Subtopic, settings: SubscribeSettings<T> & { onack: OnPairAck }): void;
  subscribe<T = any>(topic: Topic, subtopic: Subtopic, settings?: SubscribeSettings<T>): Promise<Pair>;
  /** Ends the subscription and removes all callbacks of the topic. */
  unsubscribe(topic: Topic): void;

  /** Looks a name's number up; the server creates the topic if it does not have it. A known name is answered at once. */
  create(topic: Topic, onack: OnAck): void;
  create(topic: Topic, subtopic: Subtopic, onack: OnPairAck): void;
  create(topic: Topic): Promise<number>;
  create(topic: Topic, subtopic: Subtopic): Promise<Pair>;
  createsub(subtopic: Subtopic, onack: (accepted: boolean, subtopic: string, subtid: number) => void): void;
  createsub(subtopic: Subtopic): Promise<number>;

  /**
   * Tells the topic's number of subscribers, now and whenever it changes; for an etid only the 0 when that client has gone.
   * The number of a topic whose name is not known here looks like an etid while nobody subscribes: then the 0 is the end, too.
   * @throws Error if the topic's name is neither known nor asked for.
   */
  observe(topic: Topic, onchange: OnChange): void;
  unobserve(topic: Topic): void;

  /** This client's etid, or undefined before the first connection. */
  gettid(): number | undefined;
  topic2tid(topic: string): number | undefined;
  tid2topic(tid: number): string | undefined;
  subtopic2tid(subtopic: string): number | undefined;
  tid2subtopic(subtid: number): string | undefined;

  /** Carries out what was called before, says goodbye and closes for good. `onclose` is not called. */
  disconnect(): void;
  /** The WebSocket in use, or undefined while there is none. */
  getsock(): WebSocket | undefined;
}

export interface ClientConstructor {
  new (url?: string | URL | null, options?: ClientOptions): Client;
  new (options: ClientOptions): Client;
  (url?: string | URL | null, options?: ClientOptions): Client;
  (options: ClientOptions): Client;
  readonly prototype: Client;
}

/** Starts to connect at once; set the callbacks right after. Without a URL it goes to the page's own. */
export const Client: ClientConstructor;

/** A WebSocket URL on the page's own host: an absolute path as it is, a relative one from the page's folder, none: the page's. */
export function wsURL(path?: string): string;
/** True if there is a WebSocket class. */
export function websocket(): boolean;

export const utf8: {
  encode(text: string): Uint8Array;
  /** The text, or null if the bytes are not UTF-8. */
  decode(bytes: Uint8Array | ArrayBuffer | readonly number[], offset?: number, length?: number): string | null;
  /** How many bytes the text takes. */
  length(text: string): number;
};

declare const SMQ: {
  Client: ClientConstructor;
  wsURL: typeof wsURL;
  websocket: typeof websocket;
  utf8: typeof utf8;
};
export default SMQ;
