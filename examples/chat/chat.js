// The browser side of the chat. A room is the topic "room/NAME"; what is said there has the sub-topic "say". A private message
// goes straight to the other's etid. The server (etid 1) answers "enter" with who is there and what was said lately.
"use strict";

const SERVER = 1;
const REMEMBERED = 500;
const $ = (id) => document.getElementById(id);

let smq;
let room = "lobby";
let rooms = [];
let people = [];
/** The conversation on the screen: undefined for the room, else the etid of the other. */
let partner;
/** Private conversations by etid: { name, messages, unread, gone }. */
const privates = new Map();
let lately = [];
const counts = new Map();
// Kept over reconnects, so that the server takes us for the same person and we keep our etid.
const uid = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

// ---- Talking to the hub ---------------------------------------------------------------------------------------------

function connect(name) {
  smq = SMQ.Client(SMQ.wsURL("smq/"), { uid, info: name, backoff: true });
  smq.onconnect = () => {
    arrived(name);
    watchPartners();
  };
  smq.onreconnect = () => {
    status();
    watchPartners();
    // A server that was restarted has forgotten the rooms that people opened.
    for (const name of counts.keys()) if (!smq.topic2tid(`room/${name}`)) counts.delete(name);
    if (smq.topic2tid(`room/${room}`)) smq.publish(room, SERVER, "enter"); // What did we miss?
    else openRoom(room);
  };
  smq.onclose = (message, canreconnect) => {
    if (canreconnect) return status("Connection lost. Trying again …");
    askName(message); // Also after a reconnect: somebody else may have the name by now.
  };
  smq.onmsg = null;
  smq.subscribe("self", "entered", { datatype: "json", onmsg: entered });
  smq.subscribe("self", "private", { datatype: "text", onmsg: heardPrivately });
  smq.subscribe("rooms", { datatype: "json", onmsg: roomsChanged });
  counts.clear();
  openRoom(room);
}

function enter(name) {
  status();
  smq.unsubscribe(`room/${room}`);
  room = name;
  partner = undefined;
  lately = [];
  smq.subscribe(`room/${room}`, "say", { datatype: "text", onmsg: heard }).catch(() => isClosed(name));
  smq.subscribe(`room/${room}`, "people", { datatype: "json", onmsg: (list) => peopleChanged(Object.values(list)) });
  smq.publish(room, SERVER, "enter");
}

/** The server has not opened the room: there are as many as it wants. */
function isClosed(name) {
  if (name !== room || !smq.getsock()) return;
  enter("lobby");
  status(`The room ${name} cannot be opened: there are too many.`);
}

function openRoom(name) {
  smq.publish(name, SERVER, "open");
  enter(name);
}

function entered(news) {
  if (news.room !== room) return;
  lately = Object.values(news.lately);
  peopleChanged(Object.values(news.people));
  roomsChanged(news.rooms);
  showMessages();
}

/** Watches how many are in each room: the hub tells it now and at every change. */
function roomsChanged(names) {
  rooms = names;
  for (const name of names.filter((name) => !counts.has(name))) {
    counts.set(name, 0);
    smq.create(`room/${name}`).then(() => smq.observe(`room/${name}`, (subscribers) => showCount(name, subscribers)));
  }
  showRooms();
}

function heard(text, etid) {
  lately = [...lately.slice(1 - REMEMBERED), { etid, name: nameOf(etid), text, time: Date.now() / 1000 }];
  if (!partner) showMessages();
}

function heardPrivately(text, etid) {
  const talk = talkWith(etid);
  talk.messages.push({ etid, name: talk.name, text, time: Date.now() / 1000 });
  if (partner === etid) return showMessages();
  talk.unread++;
  showPeople();
}

function talkWith(etid) {
  if (!privates.has(etid)) {
    const talk = { name: nameOf(etid), messages: [], unread: 0, gone: false };
    privates.set(etid, talk);
    smq.observe(etid, () => left(etid)); // Called once, when that client has gone.
  }
  return privates.get(etid);
}

/** A new connection observes nobody yet. */
function watchPartners() {
  for (const etid of privates.keys()) smq.observe(etid, () => left(etid));
}

function left(etid) {
  privates.get(etid).gone = true;
  showPeople();
  if (partner === etid) showTitle();
}

function say(text) {
  if (!partner) return smq.publish(text, `room/${room}`, "say");
  smq.publish(text, partner, "private");
  talkWith(partner).messages.push({ etid: smq.gettid(), name: $("me").textContent, text, time: Date.now() / 1000 });
  showMessages();
}

const nameOf = (etid) => (people.find((person) => person.etid === etid) || { name: "Somebody" }).name;

// ---- The screen -----------------------------------------------------------------------------------------------------

function askName(refusal) {
  $("refusal").textContent = refusal || "";
  $("name").value = $("name").value || localStorage.getItem("name") || "";
  if (!$("welcome").open) $("welcome").showModal();
}

function arrived(name) {
  localStorage.setItem("name", name);
  $("me").textContent = name;
  status();
  $("text").focus();
}

function status(text) {
  $("status").textContent = text || "";
  $("status").hidden = !text;
}

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A circle with the first letter, in a colour of the name's own. */
function avatar(name) {
  let hue = 0;
  for (const letter of name) hue = (hue * 137 + letter.codePointAt(0) * 61) % 360;
  const made = element("span", { className: "avatar", ariaHidden: "true" }, [...name][0].toUpperCase());
  made.style.setProperty("--hue", hue);
  return made;
}

/** A line of the sidebar. */
function entry(isCurrent, onclick, ...content) {
  const button = element("button", { type: "button", onclick }, ...content);
  if (isCurrent) button.setAttribute("aria-current", "true");
  return element("li", {}, button);
}

function showRooms() {
  const enterRoom = (name) => () => {
    closeMenu();
    if (name !== room) enter(name);
    partner = undefined;
    showAll();
  };
  const line = (name) =>
    entry(
      name === room && !partner,
      enterRoom(name),
      element("i", {}, "#"),
      name,
      element("span", { className: "badge" }, String(counts.get(name) || "")),
    );
  $("rooms").replaceChildren(...rooms.map(line));
}

function showCount(name, subscribers) {
  counts.set(name, subscribers);
  showRooms();
}

function peopleChanged(list) {
  people = list;
  showPeople();
  showTitle();
}

/** Who is in the room, and with whom else we talk privately. */
function showPeople() {
  const others = [...privates].filter(
    ([etid, talk]) => talk.messages.length && !people.some((person) => person.etid === etid),
  );
  const all = [
    ...people,
    ...others.map(([etid, talk]) => ({ etid, name: talk.name, away: talk.gone ? "has left" : "other room" })),
  ];
  $("count").textContent = people.length || "";
  $("people").replaceChildren(...all.map(personLine));
}

function personLine({ etid, name, away }) {
  if (etid === smq.gettid())
    return element("li", { className: "myself" }, avatar(name), name, element("small", {}, "you"));
  const { unread } = privates.get(etid) || {};
  const note = unread
    ? element("span", { className: "badge unread" }, String(unread))
    : element("small", {}, away || "");
  return entry(etid === partner, () => talkTo(etid), avatar(name), name, note);
}

function talkTo(etid) {
  closeMenu();
  partner = etid;
  talkWith(etid).unread = 0;
  showAll();
  $("text").focus();
}

function showTitle() {
  const talk = partner && privates.get(partner);
  $("title").textContent = talk ? talk.name : `# ${room}`;
  $("subtitle").textContent = talk
    ? talk.gone
      ? "has left"
      : "private, only the two of you"
    : `${people.length} ${people.length === 1 ? "person" : "people"} here`;
  $("text").placeholder = talk ? `Write to ${talk.name} privately` : `Write to # ${room}`;
  $("text").disabled = Boolean(talk && talk.gone);
  document.body.classList.toggle("private", Boolean(talk));
}

function showMessages() {
  const messages = partner ? talkWith(partner).messages : lately;
  const me = $("me").textContent;
  const empty = element(
    "li",
    { className: "empty" },
    partner ? "Say something only the two of you can read." : "Nobody has said anything yet. Go ahead!",
  );
  $("messages").replaceChildren(
    ...(messages.length ? messages.map((message, i) => messageLine(message, messages[i - 1], me)) : [empty]),
  );
  $("messages").scrollTop = $("messages").scrollHeight;
}

/** One bubble; who speaks again within five minutes is not named again. */
function messageLine({ name, text, time }, before, me) {
  const goesOn = before && before.name === name && time - before.time < 300;
  const clock = new Date(time * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const line = element("li", { className: `${name === me ? "mine" : "theirs"} ${goesOn ? "goeson" : ""}` });
  if (!goesOn)
    line.append(avatar(name), element("div", { className: "by" }, element("b", {}, name), element("time", {}, clock)));
  line.append(element("p", { title: clock }, text));
  return line;
}

function showAll() {
  showRooms();
  showPeople();
  showTitle();
  showMessages();
}

const closeMenu = () => document.body.classList.remove("menu");

$("menu").onclick = () => document.body.classList.toggle("menu");
$("messages").onclick = closeMenu;
$("login").onsubmit = () => connect($("name").value.trim());
$("welcome").oncancel = (event) => event.preventDefault();
$("open").onsubmit = (event) => {
  event.preventDefault();
  const name = $("newroom").value.trim().toLowerCase();
  if (name) {
    openRoom(name);
    showAll();
  }
  $("newroom").value = "";
  closeMenu();
};
$("composer").onsubmit = (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (text) say(text);
  $("text").value = "";
};

askName();
