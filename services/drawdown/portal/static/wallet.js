// Keeps the page as it is rendered now. The customer's stream says that something changed; then the
// page is asked for again and its parts are put in place of the old ones, so that there is one
// rendering, and amounts are never numbers here. The state beside the title says what is known:
// live only while the stream is open, the service is up to date, and what it told last is shown.
"use strict";

const LIVE_MS = 9000; // the stream tells its position every 5 s
const GAP_MS = 250; // between two askings
const WAIT_MS_MAX = 15000;
const SAY_MS = 3000; // between two announcements to screen readers
const AGAIN_MS = 60000; // "in 3 days" grows old too
const TIMER_MS_MAX = 2 ** 31 - 1;

const data = document.body.dataset;
const part = (name, root = document) => root.querySelector(`[data-part="${name}"]`);

if ("starting" in data) {
  setTimeout(() => location.reload(), 2000);
} else if (data.awaited) {
  const awaited = new EventSource(data.awaited);
  awaited.addEventListener("wallet", () => location.reload());
} else if (data.stream) {
  follow(data.stream);
}

function follow(address) {
  const rendered = new Map(); // part -> its HTML as it came
  const state = document.getElementById("state");
  const stateText = document.getElementById("state-text");
  const said = document.getElementById("said");

  let source = null;
  let opened = false;
  let heard = null; // {asOf, staleMs, at}: the last position told
  let wanted = shownSequence(); // what the stream told last
  let asking = false;
  let askAgain = false;
  let waitMs = GAP_MS;
  let askedAt = -AGAIN_MS;
  let askTimer, edgeTimer, connectTimer;
  let saidAt = -SAY_MS;
  let sayTimer;

  for (const element of document.querySelectorAll("[data-part]")) {
    rendered.set(element.dataset.part, element.innerHTML);
  }
  atNextEdge();
  connect();
  setInterval(tell, 1000);
  setInterval(() => performance.now() - askedAt >= AGAIN_MS && ask(), 5000);
  document.addEventListener("visibilitychange", () => (document.hidden ? rest() : connect()));
  addEventListener("pageshow", (event) => event.persisted && connect());
  addEventListener("pagehide", rest);

  // The stream

  function connect() {
    clearTimeout(connectTimer);
    if (document.hidden || (source && source.readyState !== EventSource.CLOSED)) return;
    heard = null;
    source = new EventSource(address);
    source.addEventListener("wallet", (event) => {
      wanted = JSON.parse(event.data).sequence;
      if (wanted !== shownSequence()) ask();
    });
    source.addEventListener("position", (event) => {
      const position = JSON.parse(event.data);
      opened = true;
      heard = { asOf: position.as_of, staleMs: position.stale_ms, at: performance.now() };
      if (behind()) ask();
      tell();
    });
    source.addEventListener("error", () => {
      heard = null;
      if (source.readyState === EventSource.CLOSED) {
        // Not a lost line, which the browser mends itself, but a refusal: the page says which.
        waitMs = Math.min(waitMs * 2, WAIT_MS_MAX);
        connectTimer = setTimeout(connect, waitMs);
        ask();
      }
      tell();
    });
    tell();
  }

  // A page nobody looks at holds no line: browsers allow six to a host.
  function rest() {
    clearTimeout(connectTimer);
    if (source) source.close();
    source = null;
    heard = null;
    tell();
  }

  // The page, again

  function ask() {
    if (document.hidden) return;
    if (asking) {
      askAgain = true;
      return;
    }
    clearTimeout(askTimer);
    const early = askedAt + GAP_MS - performance.now();
    if (early > 0) {
      askTimer = setTimeout(ask, early);
      return;
    }
    asking = true;
    askedAt = performance.now();
    fetchPage().then((came) => {
      const pauseMs = waitMs;
      asking = false;
      waitMs = came && !behind() ? GAP_MS : Math.min(waitMs * 2, WAIT_MS_MAX);
      if (askAgain || behind()) {
        askAgain = false;
        clearTimeout(askTimer);
        askTimer = setTimeout(ask, pauseMs);
      }
      tell();
    });
  }

  async function fetchPage() {
    let page;
    try {
      const answer = await fetch(location.pathname, { cache: "no-store", redirect: "error" });
      if ([401, 403, 404].includes(answer.status)) location.reload(); // the page says why
      if (!answer.ok) return false;
      page = new DOMParser().parseFromString(await answer.text(), "text/html");
    } catch {
      return false; // not reached: the state says that the page is not live
    }
    if (!part("balances", page)) return false;
    put(page);
    return true;
  }

  function put(page) {
    const before = liveAmounts();
    for (const old of document.querySelectorAll("[data-part]")) {
      const name = old.dataset.part;
      const fresh = part(name, page);
      const html = fresh.innerHTML;
      for (const { name: attribute } of [...old.attributes]) {
        if (attribute.startsWith("data-") && !fresh.hasAttribute(attribute)) {
          old.removeAttribute(attribute);
        }
      }
      for (const { name: attribute, value } of fresh.attributes) old.setAttribute(attribute, value);
      if (html === rendered.get(name)) continue;
      rendered.set(name, html);
      localTimes(fresh);
      if ("keyed" in old.dataset) {
        // An entry never changes: one that is there stays, with its details open or not.
        const known = new Map([...old.children].map((child) => [child.dataset.key, child]));
        const arrived = new Set();
        const children = [...fresh.children].map((child) => {
          const there = known.get(child.dataset.key);
          if (!there) arrived.add(child);
          return there || child;
        });
        old.replaceChildren(...children);
        for (const child of arrived) child.classList.add("arrived");
      } else {
        old.replaceChildren(...fresh.childNodes);
      }
    }
    for (const [name, element] of liveAmounts()) {
      if (before.has(name) && before.get(name).value !== element.value) {
        element.classList.add("changed");
      }
    }
    if (document.title !== page.title) document.title = page.title;
    atNextEdge();
    say();
  }

  function liveAmounts() {
    const elements = document.querySelectorAll("[data-live]");
    return new Map([...elements].map((element) => [element.dataset.live, element]));
  }

  function shownSequence() {
    return Number(part("balances").dataset.sequence);
  }

  function behind() {
    return shownSequence() !== wanted || document.querySelector("[data-lag]") !== null;
  }

  // A grant begins or ends without an entry being needed for it.
  function atNextEdge() {
    clearTimeout(edgeTimer);
    const ms = part("balances").dataset.changesInMs;
    if (ms !== undefined) edgeTimer = setTimeout(ask, Math.min(Number(ms) + 500, TIMER_MS_MAX));
  }

  // What is said

  function tell() {
    const [kind, text] = standing();
    state.dataset.state = kind;
    state.title = heard ? `As of ${heard.asOf}` : "";
    if (stateText.textContent !== text) stateText.textContent = text;
  }

  function standing() {
    if (document.hidden || !source) return ["paused", "Paused"];
    if (source.readyState !== EventSource.OPEN) {
      return ["lost", opened ? "Not live, reconnecting…" : "Connecting…"];
    }
    if (!heard) return ["lost", "Connecting…"];
    if (heard.staleMs === null) return ["late", "The service is still reading"];
    const ageMs = heard.staleMs + performance.now() - heard.at;
    if (ageMs > LIVE_MS) {
      return ["late", `Not live: as of ${formatted(new Date(heard.asOf), "second")}`];
    }
    if (shownSequence() !== wanted && performance.now() - askedAt > 1000) {
      return ["late", "Changed, updating…"];
    }
    return ["live", "Live"];
  }

  // Screen readers hear the balance when it has changed, and not faster than it can be listened to.
  function say() {
    const text = document.querySelector("[data-said]").textContent;
    if (text === said.textContent) return;
    const earlyMs = saidAt + SAY_MS - performance.now();
    clearTimeout(sayTimer);
    if (earlyMs > 0) {
      sayTimer = setTimeout(say, earlyMs);
      return;
    }
    saidAt = performance.now();
    said.textContent = text;
  }
}
