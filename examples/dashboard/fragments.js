// Links and forms with data-into load their page into that element instead of a new document.
(() => {
  let latest = 0; // Answers may overtake one another: what was asked for last is shown.

  async function load(into, url, options = {}, isNew = true) {
    const mine = ++latest;
    const answer = await fetch(url, { ...options, headers: { "X-Fragment": "1" } });
    const html = await answer.text();
    if (mine !== latest) return undefined;
    // An error, or the login page because the session has ended: show it as a document of its own.
    if (!answer.ok || html.startsWith("<!DOCTYPE")) return location.assign(url);
    document.querySelector(into).innerHTML = html;
    if (isNew && url !== location.href) history.pushState({ into }, "", url);
    mark();
    document.dispatchEvent(new Event("fragment"));
  }

  function mark() {
    for (const link of document.querySelectorAll("nav a")) {
      link.toggleAttribute("aria-current", link.pathname === location.pathname);
    }
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-into]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    load(link.dataset.into, link.href);
  });
  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-into]");
    if (!form) return;
    event.preventDefault();
    load(form.dataset.into, form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
  });
  addEventListener("popstate", () => load("main", location.href, {}, false));
  mark();
})();
