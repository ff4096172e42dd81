// The page: asks for what is new about once a second, and shows it.

import { bytes, Charts, duration, rate } from "./charts.js";
import { element, VirtualList } from "./lists.js";
import { TargetMap } from "./map.js";

const INTERVAL = 1000; // ms
const LOG_INTERVAL = 3000;
const MOST_EVENTS = 500;

const at = (id) => document.getElementById(id);
let map = { running: false };
let live = {};
let mapNumber = null;

// Colours

const systemIsDark = window.matchMedia("(prefers-color-scheme: dark)");

function theme() {
  const wanted = at("theme").value;
  const isDark = wanted === "dark" || (wanted === "auto" && systemIsDark.matches);
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
}

at("theme").value = localStorage.getItem("theme") || "auto";
theme();

// Parts

const charts = new Charts(at("charts"));
const targetMap = new TargetMap(at("columns"), at("show-all"));

function changeTheme() {
  localStorage.setItem("theme", at("theme").value);
  theme();
  charts.make();
}
at("theme").addEventListener("change", changeTheme);
systemIsDark.addEventListener("change", changeTheme);

function headings(place, ...cells) {
  const row = element("div", "headings", ...cells.map(([name, text]) => element("span", name, text)));
  row.setAttribute("aria-hidden", "true");
  place.append(row);
}

const NO_RATES = [0, 0, 0, 0, 0, 0];

headings(at("session-list"), ["name", "initiator"], ["name wide", "target"], ["grow wide", "address"],
  ["number", "reads/s"], ["number", "writes/s"], ["number wide", "bytes/s"], ["number", "depth"]);
const sessions = new VirtualList(at("session-list"), "Sessions", {
  key: (session) => session.path,
  tone: (session) => (session.luns === 0 ? "warn" : ""),
  choose: (session) => details(session),
  empty: "no sessions",
  render(session) {
    const rates = live.sessions?.[session.path] || NO_RATES;
    return [
      element("span", "name", session.initiator),
      element("span", "name wide", session.target),
      element("span", "grow wide", session.connections.map(([from]) => from).join(", ")),
      element("span", "number", rate(rates[0])),
      element("span", "number", rate(rates[1])),
      element("span", "number wide", bytes(rates[3] + rates[4])),
      element("span", "number", String(rates[5])),
    ];
  },
});

headings(at("device-list"), ["name", "device"], ["grow wide", "backing store"], ["grow", "state"],
  ["number", "reads/s"], ["number", "writes/s"], ["number wide", "read 99 %"],
  ["number wide", "write 99 %"], ["number", "depth"], ["number wide", "errors"]);
const devices = new VirtualList(at("device-list"), "Devices", {
  key: (device) => device.name,
  tone: (device) => (device.problem ? "bad" : device.reservation?.type ? "warn" : ""),
  empty: "no devices",
  render(device) {
    const seen = live.devices?.[device.name];
    return [
      element("span", "name", device.name),
      element("span", "grow wide", device.file || device.scsi_device || "–"),
      element("span", "grow", device.problem || reservation(device.reservation)),
      element("span", "number", rate(seen?.rates[0])),
      element("span", "number", rate(seen?.rates[1])),
      element("span", "number wide", duration(seen?.read[2])),
      element("span", "number wide", duration(seen?.write[2])),
      element("span", "number", String(seen?.depth ?? "–")),
      element("span", "number wide", String(seen?.errors ?? "–")),
    ];
  },
});

function reservation(found) {
  if (!found) return "";
  if (!found.type) return `${found.registrants} registered`;
  const kind = found.type.toLowerCase().replaceAll("_", " ");
  return `reserved (${kind}) by ${found.holders.join(", ")}`;
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

const ALARMING = new Set(["error", "login_refused", "lost"]);
const eventItems = [];
const events = new VirtualList(at("event-list"), "Events, newest first", {
  key: (event) => event.key,
  tone: (event) => (ALARMING.has(event.kind) ? "bad" : event.kind === "reservation" ? "warn" : ""),
  empty: "nothing has happened yet",
  render: (event) => [
    element("span", "when", clock(event.time)),
    element("span", "kind", event.kind.replaceAll("_", " ")),
    element("span", "grow", event.text),
  ],
});

const SEVERE = new Set(["ERROR", "CRITICAL"]);
const log = new VirtualList(at("log-list"), "Log, newest first", {
  key: (line) => line.key,
  tone: (line) => (SEVERE.has(line.level) ? "bad" : line.level === "WARNING" ? "warn" : ""),
  empty: "no lines",
  render: (line) => [
    element("span", "when", clock(line.time)),
    element("span", "kind", line.level),
    element("span", "grow", line.text),
  ],
});

// Drawing

function matches(filter, ...texts) {
  const wanted = at(filter).value.trim().toLowerCase();
  return !wanted || texts.some((text) => text && text.toLowerCase().includes(wanted));
}

function drawLists() {
  const busy = (session) => live.sessions?.[session.path]?.reduce((sum, each) => sum + each, 0) || 0;
  sessions.show((map.sessions || [])
    .filter((s) => matches("session-filter", s.initiator, s.target, s.group, ...s.connections.flat()))
    .sort((a, b) => busy(b) - busy(a) || (a.path < b.path ? -1 : 1)));
  const problems = new Map((map.problems || []).map((problem) => [problem.path, problem.message]));
  devices.show((map.devices || [])
    .map((device) => ({ ...device, problem: problems.get(`devices/${device.name}`) || "" }))
    .filter((d) => matches("device-filter", d.name, d.handler, d.file, d.problem, reservation(d.reservation))));
}

function drawProblems() {
  const found = map.problems || [];
  const items = found.map((problem) => element("li", "", `⚠ ${problem.path || "SCST"}: ${problem.message}`));
  if (!map.running) items.push(element("li", "", "⚠ SCST does not run"));
  else if (!items.length) items.push(element("li", "none", "none"));
  at("problem-list").replaceChildren(...items);
  at("problem-list").tabIndex = items.length > 5 ? 0 : -1;
}

function drawNumbers() {
  const total = live.total || NO_RATES;
  const shown = [
    ["sessions", (map.sessions || []).length.toLocaleString("en")],
    ["devices", (map.devices || []).length.toLocaleString("en")],
    ["reads/s", rate(total[0])],
    ["writes/s", rate(total[1])],
    ["read/s", bytes(total[3])],
    ["written/s", bytes(total[4])],
    ["reads, 99 %", duration(live.latency?.read[2])],
    ["writes, 99 %", duration(live.latency?.write[2])],
    ["under way", String(total[5])],
  ];
  at("numbers").replaceChildren(...shown.map(([name, value]) =>
    element("div", "", element("dt", "", name), element("dd", "", value))));
}

function drawState(text = "") {
  const version = map.core?.build || map.core?.version || "";
  at("state").textContent = text || (map.running ? `${version} at ${map.tree}` : "SCST does not run");
}

// One session

async function details(session) {
  const answer = await fetch(`api/session?path=${encodeURIComponent(session.path)}`);
  if (!answer.ok) {
    at("details-title").textContent = session.initiator;
    at("details-body").replaceChildren(element("p", "", "This session has ended."));
    at("details").showModal();
    return;
  }
  const found = await answer.json();
  const pairs = (values) => {
    const list = element("dl");
    for (const [name, value] of values) list.append(element("dt", "", name), element("dd", "", value));
    return list;
  };
  const luns = found.lun_list.map((lun) => {
    const counts = Object.entries(lun.times)
      .map(([kind, [count, seconds]]) => `${rate(count)} ${kind}s, ${duration(seconds / count * 1e6)} on average`);
    return [`LUN ${lun.lun}`, `${lun.device}: ${[`${lun.active} under way`, ...counts].join("; ")}`];
  });
  at("details-title").textContent = found.initiator;
  at("details-body").replaceChildren(
    pairs([
      ["target", found.target],
      ["group", found.group ?? "the target's LUNs"],
      ["connections", found.connections.map(([from, to]) => `${from} to ${to}`).join(", ") || "none"],
    ]),
    element("h3", "", "LUNs"), pairs(luns),
    element("h3", "", "Negotiated"), pairs(Object.entries(found.negotiated)),
  );
  at("details").showModal();
}

for (const filter of ["session-filter", "device-filter"])
  at(filter).addEventListener("input", drawLists);

// Asking

let tag = "";

async function askForMap() {
  const answer = await fetch("api/map", { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
  if (answer.status === 304) return;
  if (!answer.ok) throw new Error(String(answer.status));
  tag = answer.headers.get("ETag") || "";
  map = await answer.json();
  targetMap.show(map);
  drawProblems();
}

async function ask() {
  if (!document.hidden) {
    try {
      const answer = await fetch("api/live", { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const found = await answer.json();
      const isNew = found.time !== live.time;
      live = found;
      if (live.map !== mapNumber) {
        await askForMap();
        mapNumber = live.map;
      }
      if (isNew) {
        charts.add(live);
        drawNumbers();
        drawLists();
      }
      drawState();
    } catch {
      drawState("no answer from the exporter");
    }
  }
  setTimeout(ask, INTERVAL / 2);
}

async function askForLog() {
  if (!document.hidden) {
    try {
      const lines = await (await fetch("api/log", { cache: "no-store" })).json();
      log.show(lines.map(([time, level, text], number) => ({ key: `${time} ${number} ${text}`, time, level, text })).reverse());
    } catch {
      // The state says that there is no answer.
    }
  }
  setTimeout(askForLog, LOG_INTERVAL);
}

let eventNumber = 0;
const source = new EventSource("api/events");
const KINDS = ["login", "logout", "login_refused", "configuration", "reservation", "error", "medium", "task_management", "lost"];
source.addEventListener("open", () => {
  eventItems.length = 0; // the latest ones are sent again
});
let isDrawing = false;
for (const kind of KINDS)
  source.addEventListener(kind, (message) => {
    const event = JSON.parse(message.data);
    eventItems.unshift({ ...event, key: String(eventNumber++) });
    eventItems.length = Math.min(eventItems.length, MOST_EVENTS);
    if (isDrawing) return;
    isDrawing = true;
    requestAnimationFrame(() => {
      isDrawing = false;
      events.show(eventItems);
    });
  });

events.show([]);
log.show([]);
drawLists();
ask();
askForLog();
