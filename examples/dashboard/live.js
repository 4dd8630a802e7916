// What moves: sliders through the hub, and the numbers that the server publishes every second.
(() => {
  const smq = SMQ.Client(SMQ.wsURL("/smq.lsp"));
  smq.onclose = (message, canReconnect) => {
    if (!canReconnect) return undefined;
    showLogin();
    return 1000;
  };
  const curves = { messages: [], memory: [] };

  // A server that was restarted does not know our session, and nobody connects without one: its login page is what comes now.
  async function showLogin() {
    const answer = await fetch("/", { headers: { "X-Fragment": "1" } }).catch(() => undefined);
    if (answer?.ok && (await answer.text()).startsWith("<!DOCTYPE")) location.reload();
  }

  function showLevel(id, level) {
    for (const slider of document.querySelectorAll(`[data-lamp="${id}"]`)) slider.value = level;
    for (const text of document.querySelectorAll(`[data-level="${id}"]`)) text.textContent = `${level} %`;
    for (const dot of document.querySelectorAll(`[data-glow="${id}"]`)) dot.style.setProperty("--level", level);
  }

  function draw() {
    for (const [name, values] of Object.entries(curves)) {
      const line = document.querySelector(`[data-curve="${name}"] polyline`);
      if (!line) continue;
      const [low, high] = [Math.min(0, ...values), Math.max(1, ...values)];
      const point = (value, index) => `${index * 4},${38 - ((value - low) / (high - low)) * 36}`;
      line.setAttribute("points", values.map(point).join(" "));
    }
  }

  document.addEventListener("input", (event) => {
    const id = Number(event.target.dataset.lamp);
    if (!id) return;
    showLevel(id, event.target.valueAsNumber);
    smq.pubjson({ id, level: event.target.valueAsNumber }, "lamp");
  });
  smq.subscribe("lamp", {
    datatype: "json",
    // What this browser has sent itself is already shown, and newer than what comes back.
    onmsg: (change, ptid) => ptid !== smq.gettid() && showLevel(change.id, change.level),
  });
  smq.subscribe("pulse", {
    datatype: "json",
    onmsg: (pulse) => {
      for (const text of document.querySelectorAll("[data-pulse]")) text.textContent = pulse[text.dataset.pulse];
      for (const [name, values] of Object.entries(curves)) {
        values.push(pulse[name]);
        if (values.length > 31) values.shift();
      }
      draw();
    },
  });
  document.addEventListener("fragment", draw);
})();
