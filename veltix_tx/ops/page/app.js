// The operator's page. Text of peers gets into the document as text only (make, put): never as markup.

const HISTORY = 120; // seconds that charts show
const ROWS = 50; // sessions on a page
const SILENCE = 5000; // ms without a snapshot, after which the page says so

const $ = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function put(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

// Numbers for people.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const count = (value) => whole.format(value);
const perSecond = (value) => `${count(value)}/s`;

function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${unit && value < 100 ? value.toFixed(1) : count(value)} ${units[unit]}`;
}

function duration(seconds) {
  if (seconds < 0.001) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toFixed(1)} ms`;
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  const hours = Math.floor(seconds / 3600);
  return `${hours >= 24 ? `${Math.floor(hours / 24)} d ` : ""}${hours % 24} h ${Math.floor((seconds % 3600) / 60)} min`;
}

// Asking the server.

async function ask(method, path, body) {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const answer = await fetch(path, options);
  const said = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(said.error), { status: answer.status });
  return said;
}

let source = null; // the stream of snapshots
let heard = 0; // when its last one came
let again = 0; // timer of the next try
let last = null; // the last snapshot

function state(name, text) {
  $("link").dataset.state = name;
  put($("link"), text);
}

function stop() {
  clearTimeout(again);
  if (source) source.close();
  source = null;
}

function watch() {
  stop();
  heard = Date.now();
  source = new EventSource(`events?${new URLSearchParams(view().watch)}`);
  source.onmessage = (event) => {
    heard = Date.now();
    state("live", "live");
    update(JSON.parse(event.data));
  };
  source.onerror = () => {
    state("lost", "connection lost: trying again");
    if (source.readyState === EventSource.CLOSED) find(); // refused, which a browser does not try again
  };
}

async function find() {
  stop();
  try {
    await ask("GET", "api/v1/server");
    state("lost", "too many pages are open: trying again");
  } catch (error) {
    if (error.status === 401) return show("login");
    state("lost", error.status ? error.message : "connection lost: trying again");
  }
  again = setTimeout(watch, 2000);
}

setInterval(() => {
  if (!source || Date.now() - heard < SILENCE) return;
  state("lost", "no news from the server: trying again");
  if (Date.now() - heard > 3 * SILENCE) watch();
}, 1000);

document.addEventListener("visibilitychange", () => (document.hidden ? stop() : route())); // who does not look costs nothing

// Pages. The place is in the URL: #/sessions?state=slow&sort=-queued

const pages = {
  overview: { watch: () => ({ show: "listeners" }), update: updateOverview },
  sessions: { watch: (place) => ({ show: "sessions", limit: ROWS, ...place.query }), update: updateSessions, enter: enterSessions },
  session: { watch: (place) => ({ show: `sessions/${place.id}` }), update: updateSession, enter: enterSession, mayEnd: true },
  routes: { watch: (place) => ({ show: "routes", ...place.query }), update: updateRoutes, enter: (place) => enterSearch("route-search", place) },
  rooms: { watch: () => ({ show: "" }), update: updateRooms, enter: enterRooms },
  limits: { watch: () => ({ show: "limits" }), update: updateLimits },
  log: { watch: () => ({ show: "" }), update: updateLog, enter: enterLog },
};

function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, id] = path.split("/");
  const known = name === "sessions" && id ? "session" : name in pages && name !== "session" ? name : "overview";
  return { name: known, id, query: Object.fromEntries(new URLSearchParams(query)) };
}

function view() {
  const here = place();
  return { ...pages[here.name], watch: pages[here.name].watch(here) };
}

function go(changes) {
  const here = place();
  const query = Object.entries({ ...here.query, ...changes }).filter(([, value]) => value !== "" && value !== 0);
  location.hash = `#/${here.name}?${new URLSearchParams(query)}`;
}

let shown = ""; // name of the section that is shown

function show(name) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
  document.title = `Veltix: ${$(`${name}-title`).textContent}`;
  if (name === "login") {
    state("lost", "a token is needed");
    $("token").focus();
  } else if (shown && shown !== name) {
    $(`${name}-title`).focus();
  }
  shown = name;
}

function route() {
  const here = place();
  for (const link of document.querySelectorAll("nav a")) {
    const current = link.hash === `#/${here.name === "overview" ? "" : here.name.replace(/^session$/, "sessions")}`;
    current ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
  show(here.name);
  pages[here.name].enter?.(here);
  watch();
}

function update(snapshot) {
  if (last && last.server.pid !== snapshot.server.pid) forget(); // another process: its numbers begin anew
  remember(snapshot);
  last = snapshot;
  const { server } = snapshot;
  put($("about"), `${server.version}, up ${duration(server.uptime)}${server.ready ? "" : ", stopping"}`);
  const page = view();
  if (snapshot.shown?.error && !page.mayEnd) return state("lost", snapshot.shown.error);
  page.update(snapshot.shown, snapshot);
}

// Tables and lists: rows are kept by their keys, so that the focus and the reading position stay.

function fill(body, rows, keyOf, cellsOf) {
  const old = new Map([...body.children].map((row) => [row.dataset.key, row]));
  rows.forEach((item, index) => {
    const key = String(keyOf(item));
    const row = old.get(key) ?? make(body.tagName === "DL" ? "div" : "tr", { "data-key": key });
    old.delete(key);
    cellsOf(item).forEach(({ tag = "td", kind = "", text, href }, at) => {
      const cell = row.children[at] ?? row.appendChild(make(tag));
      if (cell.className !== kind) cell.className = kind;
      if (href === undefined) return put(cell, text);
      const link = cell.firstElementChild ?? cell.appendChild(make("a"));
      if (link.getAttribute("href") !== href) link.setAttribute("href", href);
      put(link, text);
    });
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
  });
  for (const row of old.values()) row.remove();
}

const number = (text, bad = false) => ({ kind: bad ? "number bad" : "number", text });

function list(id, entries) {
  fill($(id), entries, ([name]) => name, ([name, value]) => [{ tag: "dt", text: name }, { tag: "dd", text: value }]);
}

// The overview.

const growth = (of) => (now, before, seconds) => (now.traffic ? Math.max(0, of(now.traffic) - of(before.traffic)) / seconds : 0);
const CHARTS = [
  ["sessions", "Sessions", (now) => now.sessions, count],
  ["messages-in", "Messages received", growth((traffic) => traffic.messages_in), perSecond],
  ["messages-out", "Messages sent", growth((traffic) => traffic.buffers_out), perSecond],
  ["bytes-in", "Received", growth((traffic) => traffic.bytes_in), (value) => `${bytes(value)}/s`],
  ["bytes-out", "Sent", growth((traffic) => traffic.bytes_out), (value) => `${bytes(value)}/s`],
  ["cpu", "Processor", (now, before, seconds) => (100 * Math.max(0, now.cpu - before.cpu)) / seconds, (value) => `${value.toFixed(0)} %`],
  ["late", "Reactor late by", (now) => now.late, duration],
  ["waiting", "Messages waiting", (now) => now.waiting, count],
  ["queued", "Queued for peers", (now) => now.queued, bytes],
];
const history = new Map(CHARTS.map(([id]) => [id, []]));

function forget() {
  last = null;
  for (const values of history.values()) values.length = 0;
  newest = 0;
}

function remember({ now }) {
  const before = last?.now ?? now;
  const seconds = Math.max(0.2, now.uptime - before.uptime);
  for (const [id, , valueOf] of CHARTS) {
    const values = history.get(id);
    values.push(valueOf(now, before, seconds));
    if (values.length > HISTORY) values.shift();
  }
}

function drawChart([id, title, , format]) {
  const values = history.get(id);
  const most = Math.max(...values);
  const now = values[values.length - 1];
  let figure = $(`chart-${id}`);
  if (!figure) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${HISTORY - 1} 40`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    svg.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
    figure = make("figure", { id: `chart-${id}` }, make("figcaption", {}, title), make("output", { "aria-live": "off" }), svg);
    $("charts").append(figure);
  }
  const points = values.map((value, at) => `${HISTORY - values.length + at} ${(39 - (most ? (38 * value) / most : 0)).toFixed(1)}`);
  const svg = figure.querySelector("svg");
  svg.firstElementChild.setAttribute("d", `M${points.join("L")}`);
  svg.setAttribute("aria-label", `${title}: ${format(now)} now, at most ${format(most)} in the last two minutes`);
  put(figure.querySelector("output"), format(now));
}

function updateOverview(listeners, { now, server }) {
  CHARTS.forEach(drawChart);
  const needs = [
    [now.slow, "slow", "#/sessions?state=slow&sort=-queued"],
    [now.blocked, "blocked", "#/sessions?state=blocked&sort=-queued"],
    [now.paused, "paused", "#/sessions?state=paused&sort=-waiting"],
    [now.half_open, "half-open", "#/sessions?state=half-open"],
    [server.counters.handlers_failed ?? 0, "failures of handlers", "#/routes"],
    [(server.workers ?? []).filter(isSilent).length, "silent among the workers", "#/log"],
  ].filter(([number]) => number > 0);
  const items = needs.map(([number, what, href]) => make("li", {}, make("a", { href }, `${count(number)} ${what}`)));
  const text = needs.map(([number, what]) => `${number} ${what}`).join();
  if ($("attention").dataset.text !== text) {
    $("attention").dataset.text = text;
    $("attention").replaceChildren(...(items.length ? items : [make("li", { class: "well" }, "Nobody is slow, nothing has failed.")]));
  }
  $("workers-part").hidden = !server.workers;
  fill($("workers"), server.workers ?? [], (each) => each.pid, (each) => [
    { text: each.worker },
    { text: each.pid },
    workerState(each),
    number(each.answers ? duration(each.uptime) : "–"),
    number(each.answers ? count(each.sessions) : "–"),
  ]);
  fill($("listeners"), listeners, (each) => each.listener + each.wire, (each) => [
    { text: each.listener },
    { text: each.address },
    { text: each.wire },
    { text: each.encrypted ? "yes" : "no" },
    number(count(each.open ?? 0)),
    number(count(each.ready ?? 0)),
  ]);
  list("counters", Object.entries(server.counters).map(([name, value]) => [name.replaceAll("_", " "), count(value)]));
}

const isSilent = ({ state, answers }) => !answers && state !== "starting"; // one that starts has not said anything yet
const workerState = (each) => (isSilent(each) ? { kind: "bad", text: `${each.state}, does not answer` } : { text: each.state });

// Sessions.

const COLUMNS = [
  ["id", "Session", (row) => ({ kind: "id", text: row.id, ...(row.state === "half-open" ? {} : { href: `#/sessions/${row.id}` }) })],
  ["address", "Address", (row) => ({ kind: "id", text: row.address })],
  ["version", "Version", (row) => ({ kind: "wide", text: `${row.wire} ${row.version}` })],
  ["identity", "Identity", (row) => ({ kind: "wide", text: row.identity })],
  ["", "State", (row) => ({ kind: row.why ? "bad" : "", text: row.why ? `${row.state}: ${row.why}` : row.state })],
  ["idle", "Idle", (row) => ({ kind: "number wide", text: duration(row.idle) })],
  ["queued", "Queued", (row) => ({ kind: "number wide", text: bytes(row.queued) })],
  ["waiting", "Waiting", (row) => ({ kind: "number wide", text: count(row.waiting) })],
  ["pending", "Requests", (row) => ({ kind: "number wide", text: count(row.pending) })],
];
const WORKER = ["", "Worker", (row) => ({ kind: "number", text: row.worker })];
const columns = () => (last?.server.workers ? [...COLUMNS, WORKER] : COLUMNS);
const NUMBERS = new Set(["idle", "queued", "waiting", "pending"]);
const WIDE = new Set(["version", "identity", ...NUMBERS]);

function enterSearch(id, { query }) {
  if (document.activeElement !== $(id)) $(id).value = query.search ?? "";
}

function enterSessions(here) {
  enterSearch("search", here);
  $("state").value = here.query.state ?? "";
  const sort = here.query.sort ?? "id";
  const heads = columns().map(([name, title]) => {
    const kind = [NUMBERS.has(name) ? "number" : "", WIDE.has(name) ? "wide" : ""].join(" ").trim();
    const head = make("th", { scope: "col", class: kind });
    if (!name) return put(head, title), head;
    const isSorted = sort.replace("-", "") === name;
    const descends = sort.startsWith("-");
    if (isSorted) head.setAttribute("aria-sort", descends ? "descending" : "ascending");
    const button = make("button", { type: "button", "data-sort": name }, `${title}${isSorted ? (descends ? " ▼" : " ▲") : ""}`);
    button.onclick = () => {
      const begins = NUMBERS.has(name) ? `-${name}` : name; // of numbers the highest are looked for
      go({ sort: isSorted ? (descends ? name : `-${name}`) : begins, offset: 0 });
    };
    head.append(button);
    return head;
  });
  const focused = document.activeElement?.dataset.sort;
  $("session-heads").replaceChildren(...heads);
  if (focused) $("session-heads").querySelector(`[data-sort="${focused}"]`).focus();
}

function updateSessions(found) {
  if ($("session-heads").children.length !== columns().length) enterSessions(place()); // workers are known by now
  fill($("session-rows"), found.sessions, (row) => row.id, (row) => columns().map(([, , cell]) => cell(row)));
  const end = found.offset + found.sessions.length;
  put($("range"), found.total ? `${count(found.offset + 1)} to ${count(end)} of ${count(found.total)}` : "none");
  $("previous").disabled = found.offset === 0;
  $("next").disabled = end >= found.total;
}

const offset = () => Number(place().query.offset ?? 0);
$("previous").onclick = () => go({ offset: Math.max(0, offset() - ROWS) });
$("next").onclick = () => go({ offset: offset() + ROWS });
$("state").onchange = () => go({ state: $("state").value, offset: 0 });
searches("search", (text) => go({ search: text, offset: 0 }));
searches("route-search", (text) => go({ search: text }));
searches("room-search", (text) => go({ search: text }));
searches("log-search", (text) => go({ search: text }));

function searches(id, act) {
  let timer = 0;
  const now = () => (clearTimeout(timer), act($(id).value));
  $(id).oninput = () => (clearTimeout(timer), (timer = setTimeout(now, 250)));
  $(id).form.onsubmit = (event) => (event.preventDefault(), now());
}

// One session.

const UNITS = { idle: duration, queued: bytes, inbox_bytes: bytes, unfinished_bytes: bytes };

function enterSession({ id }) {
  put($("session-title"), `Session ${id}`);
  document.title = `Veltix: session ${id}`;
  for (const each of ["why", "done"]) put($(each), "");
  for (const each of ["detail", "tags"]) $(each).replaceChildren();
}

function updateSession(found) {
  for (const each of ["ping", "disconnect"]) $(each).disabled = Boolean(found.error);
  if (found.error) return put($("why"), `It is gone: ${found.error}.`);
  put($("why"), found.why ? `Slow: ${found.why}.` : "It is well.");
  const { tags, why, ...rest } = found;
  const format = (name, value) => UNITS[name]?.(value) ?? (Array.isArray(value) ? value.join(", ") : value);
  list("detail", Object.entries(rest).map(([name, value]) => [name.replaceAll("_", " "), format(name, value)]));
  list("tags", Object.entries(tags));
  $("tags-title").hidden = !found.tag_count;
}

async function act(name, body, said) {
  put($("done"), "…");
  try {
    put($("done"), said(await ask("POST", `api/v1/sessions/${place().id}/${name}`, body)));
  } catch (error) {
    if (error.status === 401) return show("login");
    put($("done"), error.message);
  }
}

$("ping").onclick = () => act("ping", {}, ({ milliseconds }) => `It answered after ${milliseconds} ms.`);
$("disconnect").onclick = () => $("sure").showModal();
$("no").onclick = () => $("sure").close();
$("yes").onclick = () => {
  $("sure").close();
  act("disconnect", {}, () => "It is being disconnected.");
};
$("send").onsubmit = (event) => {
  event.preventDefault();
  const type = $("type").value.trim();
  act("send", { type: /^\d+$/.test(type) ? Number(type) : type, [$("format").value]: $("content").value }, ({ sent }) => `${sent} bytes were sent.`);
};

// Rooms and nodes: asked for apart, and not each second, because other servers and their engine are asked for them, too.

const PACE = 2000; // ms between two questions
let asked = 0; // when the last one was asked

function enterRooms(here) {
  enterSearch("room-search", here);
  asked = 0;
  $("members").hidden = here.query.room === undefined;
  put($("members-title"), `Members of ${here.query.room}`);
  $("member-rows").replaceChildren();
}

async function updateRooms() {
  if (Date.now() - asked < PACE) return;
  asked = Date.now();
  const hash = location.hash;
  const { room, search = "" } = place().query;
  const pattern = /[*?[]/.test(search) ? search : `*${search}*`;
  const get = (path, query) => ask("GET", `api/v1/${path}?${new URLSearchParams({ limit: ROWS, ...query })}`);
  try {
    const answers = [get("nodes"), get("rooms", { pattern }), room === undefined ? null : get("members", { room })];
    const [nodes, rooms, members] = await Promise.all(answers);
    if (location.hash === hash) showRooms(nodes, rooms, members);
  } catch (error) {
    if (error.status === 401) return show("login");
    put($("backplane"), error.message);
  }
}

function showRooms(nodes, rooms, members) {
  const when = (seconds) => new Date(seconds * 1000).toLocaleString();
  const word = (value) => (value === null ? "" : typeof value === "string" ? value : JSON.stringify(value));
  put($("backplane"), `The backplane is ${nodes.backplane}; ${count(nodes.total)} server${nodes.total === 1 ? " shares" : "s share"} it.`);
  put($("room-count"), `${count(rooms.rooms.length)} of ${count(rooms.total)} rooms, those with the most members first.`);
  const link = (name) => `#/rooms?${new URLSearchParams({ ...place().query, room: name })}`;
  fill($("room-rows"), rooms.rooms, (each) => each.name, (each) => [{ text: each.name, href: link(each.name) }, number(count(each.members))]);
  fill($("member-rows"), members?.members ?? [], (each) => each.id, (each) => [
    { kind: "id", text: each.id, href: `#/sessions/${each.id}` },
    { kind: "wide", text: each.node },
    { text: word(each.identity) },
    { text: when(each.since) },
    { text: word(each.state) },
  ]);
  fill($("node-rows"), nodes.nodes, (each) => each.node, (each) => [
    { text: each.node },
    { text: each.host },
    { kind: "number wide", text: each.pid },
    { kind: "wide", text: when(each.started) },
    number(count(each.connections)),
    { text: each.draining ? "stopping" : each.node === nodes.this ? "this one" : "" },
  ]);
}

// Routes, limits, log.

function updateRoutes(found) {
  const times = (each) => [number(each.timed ? duration(each.mean_ms / 1000) : "–"), number(count(each.timed ?? 0))];
  const failed = (each) => number(count(each.failed), each.failed > 0);
  fill($("route-rows"), found.routes, (each) => each.type, (each) => [
    { text: each.name },
    number(each.type),
    number(each.received === undefined ? "–" : count(each.received)),
    failed(each),
    ...times(each),
  ]);
  fill($("method-rows"), found.methods, (each) => each.name, (each) => [
    { text: each.name },
    { text: each.concurrent ? "yes" : "no" },
    failed(each),
    ...times(each),
  ]);
}

function updateLimits(found) {
  for (const [name, { used, limit, fullest }] of Object.entries(found.in_use)) {
    const id = `bar-${name.replaceAll(".", "-")}`;
    if (!$(id)) {
      const label = make("label", { for: id }, make("span", {}, name), make("span", { class: "use" }));
      $("bars").append(make("div", { class: "bar" }, label, make("meter", { id, min: 0, low: 0, optimum: 0 })));
    }
    const meter = $(id);
    const format = name.endsWith("_buffers") ? bytes : count;
    meter.max = limit > 0 ? limit : Math.max(1, used);
    meter.high = 0.8 * meter.max;
    meter.value = limit > 0 ? used : 0;
    const most = fullest && used > 0 ? `, the most in worker ${fullest.worker}: ${format(fullest.used)}` : "";
    put(meter.parentElement.querySelector(".use"), `${format(used)} of ${limit > 0 ? format(limit) : "any number"}${most}`);
  }
  const settings = [["limits", found.limits], ["timeouts", found.timeouts]];
  const all = settings.flatMap(([group, values]) => Object.entries(values).map(([name, value]) => [`${group}.${name}`, value ?? "–"]));
  list("settings", [...all, ["max_message_size", found.max_message_size]]);
}

let newest = 0; // number of the last line that was asked for
let searched = ""; // what they were searched for

function enterLog(here) {
  enterSearch("log-search", here);
  newest = 0;
  searched = here.query.search ?? "";
  $("lines").replaceChildren();
}

async function updateLog(_, { log }) {
  if (log <= newest) return;
  const text = searched;
  const after = newest;
  newest = log;
  const found = await ask("GET", `api/v1/events?${new URLSearchParams({ after, limit: ROWS, search: text })}`).catch(find);
  if (!found || text !== searched || place().name !== "log") return;
  for (const line of found) {
    const time = new Date(line.time * 1000);
    const item = make("li", { class: line.level });
    item.append(make("time", { datetime: time.toISOString() }, time.toLocaleTimeString()), make("span", { class: "level" }, line.level));
    item.append(make("span", { class: "text" }, line.worker ? `worker ${line.worker}: ${line.text}` : line.text));
    if (line.connection) item.append(make("a", { href: `#/sessions/${line.connection}` }, line.connection));
    $("lines").prepend(item);
  }
  while ($("lines").children.length > 4 * ROWS) $("lines").lastElementChild.remove();
}

// Logging in and out.

$("login").querySelector("form").onsubmit = async (event) => {
  event.preventDefault();
  put($("login-said"), "");
  try {
    await ask("POST", "login", { token: $("token").value.trim() });
    sessionStorage.setItem("veltix", "logged in");
    $("logout").hidden = false;
    $("token").value = "";
    route();
  } catch (error) {
    put($("login-said"), error.status === 401 ? "This token is not known." : error.message);
  }
};
$("logout").hidden = !sessionStorage.getItem("veltix");
$("logout").onclick = async () => {
  stop();
  await ask("POST", "logout", {});
  sessionStorage.removeItem("veltix");
  $("logout").hidden = true;
  show("login");
};

window.addEventListener("hashchange", route);
route();
