// The map: initiators, targets, LUNs, devices and what is behind them, in columns with connections.

import { bytes } from "./charts.js";
import { element, VirtualList } from "./lists.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const MOST_LINES = 400;

const COLUMNS = ["Initiators", "Targets", "LUNs", "Devices", "Backing stores"];

// The nodes of each column and the edges between them.
export function graph(map) {
  const columns = COLUMNS.map(() => new Map());
  const edges = [];
  const bad = new Map((map.problems || []).map((problem) => [problem.path, problem.message]));
  const node = (column, key, text, problem, note = "") => {
    const known = columns[column].get(key);
    if (!known) columns[column].set(key, { key, text, problem: problem || "", note });
    return key;
  };
  const devices = new Map((map.devices || []).map((device) => [device.name, device]));
  const setOf = new Map();
  for (const target of map.targets || []) {
    const path = `targets/${target.driver}/${target.name}`;
    node(1, path, target.name, bad.get(path) || (target.enabled === false ? "disabled" : ""), target.driver);
    const sets = [[null, target.luns], ...target.groups.map((group) => [group.name, group.luns])];
    for (const [group, luns] of sets) {
      setOf.set(`${path} ${group ?? ""}`, luns.map((lun) => `${path} ${group ?? ""} ${lun.lun}`));
      for (const lun of luns) {
        const key = `${path} ${group ?? ""} ${lun.lun}`;
        const device = devices.get(lun.device);
        const problem = device ? bad.get(`devices/${lun.device}`) : "no device";
        const text = `${lun.lun}: ${lun.device}${lun.read_only ? " (read-only)" : ""}`;
        node(2, key, text, problem, group === null ? "" : group);
        edges.push([1, path, key]);
        edges.push([2, key, `devices/${lun.device}`]);
      }
    }
  }
  for (const device of devices.values()) {
    const path = `devices/${device.name}`;
    node(3, path, device.name, bad.get(path), device.handler || "");
    const store = device.file || device.scsi_device;
    if (!store) continue;
    const missing = device.file_state && device.file_state !== "present" ? device.file_state : "";
    node(4, store, store, missing, bytes(device.size));
    edges.push([3, path, store]);
  }
  for (const session of map.sessions || []) {
    const path = `targets/${session.driver}/${session.target}`;
    const address = session.connections.map(([from]) => from).join(", ");
    node(0, session.path, session.initiator, session.luns === 0 ? "sees no LUNs" : "", address);
    edges.push([0, session.path, path]);
  }
  return { columns: columns.map((column) => [...column.values()]), edges };
}

// The keys of what leads to a node and where it leads.
function connected(edges, column, key) {
  const kept = COLUMNS.map(() => new Set());
  kept[column].add(key);
  for (let at = column; at < COLUMNS.length - 1; at++)
    for (const [from, source, destination] of edges)
      if (from === at && kept[at].has(source)) kept[at + 1].add(destination);
  for (let at = column - 1; at >= 0; at--)
    for (const [from, source, destination] of edges)
      if (from === at && kept[at + 1].has(destination)) kept[at].add(source);
  return kept;
}

export class TargetMap {
  constructor(place, button) {
    this.place = place;
    this.button = button;
    this.chosen = null;
    this.graph = { columns: COLUMNS.map(() => []), edges: [] };
    this.svg = document.createElementNS(NAMESPACE, "svg");
    this.svg.setAttribute("aria-hidden", "true");
    place.append(this.svg);
    this.lists = COLUMNS.map((title, column) => {
      const box = element("div", "column");
      this[`heading${column}`] = element("h3", "", title);
      box.append(this[`heading${column}`]);
      place.append(box);
      const list = new VirtualList(box, title, {
        key: (item) => item.key,
        tone: (item) => (item.problem ? "bad" : ""),
        choose: (item) => this.choose(column, item.key),
        render: (item) => {
          const name = element("span", "grow tail", element("bdi", "", item.problem ? `⚠ ${item.text}` : item.text));
          name.title = item.problem ? `${item.text}: ${item.problem}` : item.text;
          return [name, element("span", "note", item.problem || item.note)];
        },
      });
      list.changed = () => this.later();
      return list;
    });
    button.addEventListener("click", () => this.choose(null, null));
    new ResizeObserver(() => this.later()).observe(place);
  }

  choose(column, key) {
    const again = this.chosen && this.chosen[0] === column && this.chosen[1] === key;
    this.chosen = column === null || again ? null : [column, key];
    this.draw();
  }

  show(map) {
    this.graph = graph(map);
    this.draw();
  }

  draw() {
    const { columns, edges } = this.graph;
    const [column, key] = this.chosen || [null, null];
    const exists = column !== null && columns[column].some((item) => item.key === key);
    if (column !== null && !exists) this.chosen = null;
    const kept = exists ? connected(edges, column, key) : null;
    this.button.disabled = !exists;
    columns.forEach((items, at) => {
      this.lists[at].chosen = exists && at === column ? key : null;
      const shown = kept ? items.filter((item) => kept[at].has(item.key)) : items;
      this[`heading${at}`].textContent = `${COLUMNS[at]} (${shown.length.toLocaleString("en")})`;
      this.lists[at].show(shown);
    });
  }

  later() {
    if (this.waits) return;
    this.waits = true;
    requestAnimationFrame(() => {
      this.waits = false;
      this.connect();
    });
  }

  // Draw lines between rows that can be seen.
  connect() {
    const outer = this.place.getBoundingClientRect();
    const left = outer.left - this.place.scrollLeft;
    this.svg.style.width = `${this.place.scrollWidth}px`;
    this.svg.style.height = `${this.place.clientHeight}px`;
    const boxes = this.lists.map((list) => list.box.getBoundingClientRect());
    const lines = [];
    for (const [column, source, destination] of this.graph.edges) {
      const from = this.lists[column].shown.get(source);
      const to = this.lists[column + 1].shown.get(destination);
      if (!from || !to) continue;
      const a = from.getBoundingClientRect();
      const b = to.getBoundingClientRect();
      const y1 = (a.top + a.bottom) / 2;
      const y2 = (b.top + b.bottom) / 2;
      const isSeen = (y, box) => y > box.top && y < box.bottom;
      if (!isSeen(y1, boxes[column]) || !isSeen(y2, boxes[column + 1])) continue;
      const line = document.createElementNS(NAMESPACE, "path");
      const x1 = boxes[column].right - left;
      const x2 = boxes[column + 1].left - left;
      const middle = (x1 + x2) / 2;
      const [top1, top2] = [y1 - outer.top, y2 - outer.top];
      line.setAttribute("d", `M${x1} ${top1}C${middle} ${top1} ${middle} ${top2} ${x2} ${top2}`);
      if (from.classList.contains("bad") || to.classList.contains("bad")) line.setAttribute("class", "bad");
      lines.push(line);
      if (lines.length >= MOST_LINES) break;
    }
    this.svg.replaceChildren(...lines);
  }
}
