"use strict";

// One card a device: its last reading, a curve of the last minute, and a switch that sends it a command.

const SHOWN = 60; // readings in the curve
const cards = new Map(); // etid -> { element, readings, heater }
const byId = (id) => document.getElementById(id);

const smq = SMQ.Client(SMQ.wsURL("/smq/"));

const askForDevices = () => smq.publish("", 1, "devices"); // 1 is the server

smq.onreconnect = askForDevices;
smq.onclose = (message, canReconnect) => {
  byId("status").textContent = canReconnect ? "Connection lost, trying again …" : `Closed: ${message}`;
  if (canReconnect) return 1000;
};

smq.subscribe("devices", { datatype: "json", onmsg: ({ devices }) => showDevices(Array.from(devices)) }); // Lua's empty list is {}
askForDevices();
smq.subscribe("readings", { datatype: "json", onmsg: (reading, ptid) => showReading(ptid, reading) });

function showDevices(devices) {
  const present = new Set(devices.map((device) => device.etid));
  for (const [etid, card] of cards) {
    if (present.has(etid)) continue;
    card.element.remove();
    cards.delete(etid);
  }
  for (const device of devices) if (!cards.has(device.etid)) addCard(device);
  byId("status").textContent = cards.size ? "Live." : "No device is connected.";
}

function addCard({ etid, name }) {
  const element = byId("device").content.firstElementChild.cloneNode(true);
  const card = { element, readings: [], heater: false };
  element.querySelector("h2").textContent = name;
  element.querySelector("button").onclick = () => smq.pubjson({ heater: !card.heater }, etid);
  byId("devices").append(element);
  cards.set(etid, card);
}

function showReading(etid, { temperature, heater }) {
  const card = cards.get(etid);
  if (!card) return;
  card.heater = heater;
  card.readings.push(temperature);
  if (card.readings.length > SHOWN) card.readings.shift();
  card.element.querySelector(".value").textContent = `${temperature.toFixed(1)} °C`;
  card.element.querySelector("button").setAttribute("aria-pressed", heater);
  card.element.querySelector("polyline").setAttribute("points", curve(card.readings));
}

// Points of a 300 by 80 drawing, from 15 to 30 degrees.
function curve(readings) {
  const x = (index) => (index * 300) / (SHOWN - 1);
  const y = (value) => 80 - ((value - 15) / 15) * 80;
  return readings.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
}
