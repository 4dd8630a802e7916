"use strict";

const EXAMPLES = ["add(19, 23)", "divide(1, 0)", 'reverse("Lua ♥ JavaScript")', "primes(50)", "about()", "nothing()"];

const smq = SMQ.Client(SMQ.wsURL("smq/"), { backoff: true });
smq.onreconnect = (etid, rnd, ipaddr) => status(`Connected from ${ipaddr} as ${etid}.`);
smq.onconnect = (...args) => {
  smq.onreconnect(...args);
  document.querySelectorAll("form").forEach(run);
};
smq.onclose = () => status("Connection lost. Trying again …");
const lua = remote(smq);

function status(text) {
  document.getElementById("status").textContent = text;
}

/** Splits `name(1, "two")` into the name and the arguments, which are written as JSON. */
function parse(line) {
  const [, name, args] = /^\s*(\w+)\s*\((.*)\)\s*$/s.exec(line) || [];
  if (!name) throw new Error("write it like add(1, 2)");
  return [name, JSON.parse(`[${args}]`)];
}

async function run(form) {
  const started = performance.now();
  const [output, took] = [form.querySelector("output"), form.querySelector("small")];
  try {
    const [name, args] = parse(form.querySelector("input").value);
    output.textContent = JSON.stringify(await lua[name](...args));
    output.className = "result";
  } catch (error) {
    output.textContent = error.message;
    output.className = "error";
  }
  took.textContent = `${(performance.now() - started).toFixed(1)} ms`;
}

for (const example of EXAMPLES) {
  const form = document.getElementById("call").content.cloneNode(true).querySelector("form");
  form.querySelector("input").value = example;
  form.onsubmit = (event) => {
    event.preventDefault();
    run(form);
  };
  document.getElementById("calls").append(form);
}
