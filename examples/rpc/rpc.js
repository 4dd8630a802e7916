// Calls Lua functions on the server: `const lua = remote(smq); await lua.add(1, 2)`.
"use strict";

const SERVER = 1;
const PATIENCE = 10000; // milliseconds

/** An object whose every method is a function on the server; the answer comes as a promise. */
function remote(smq) {
  const waiting = new Map();
  let id = 0;

  smq.subscribe("self", "answer", {
    datatype: "json",
    onmsg(answer) {
      const call = waiting.get(answer.id);
      if (!call) return;
      if ("error" in answer) call.reject(new Error(answer.error));
      else call.resolve(answer.result);
    },
  });

  function call(name, args) {
    const mine = ++id;
    const outcome = new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("no answer")), PATIENCE);
      waiting.set(mine, { resolve, reject, timer });
      smq.pubjson({ id: mine, name, args }, SERVER, "call");
    });
    return outcome.finally(() => {
      clearTimeout(waiting.get(mine).timer);
      waiting.delete(mine);
    });
  }

  return new Proxy(
    {},
    {
      get:
        (_, name) =>
        (...args) =>
          call(name, args),
    },
  );
}
