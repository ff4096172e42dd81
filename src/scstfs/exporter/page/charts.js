// Curves (uPlot) and the heat map of latencies.

import { element } from "./lists.js";

const POINTS = 300;
const HEAT_POINTS = 120;

export function rate(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(1)} k`;
  return value >= 100 || value === Math.round(value) ? value.toFixed(0) : value.toFixed(1);
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at++;
  }
  return `${value >= 100 || value === Math.round(value) ? value.toFixed(0) : value.toFixed(1)} ${units[at]}`;
}

export function duration(microseconds) {
  if (microseconds === null || microseconds === undefined) return "–";
  if (microseconds >= 1e6) return `${(microseconds / 1e6).toFixed(microseconds >= 1e7 ? 0 : 1)} s`;
  if (microseconds >= 1e3) return `${(microseconds / 1e3).toFixed(microseconds >= 1e5 ? 0 : 1)} ms`;
  return `${microseconds.toFixed(0)} µs`;
}

const CHARTS = [
  { title: "Commands per second", show: rate, curves: [
    ["reads", "--read", (live) => live.total?.[0]],
    ["writes", "--write", (live) => live.total?.[1]],
    ["others", "--other", (live) => live.total?.[2]],
  ] },
  { title: "Data per second", show: bytes, curves: [
    ["read", "--read", (live) => live.total?.[3]],
    ["written", "--write", (live) => live.total?.[4]],
  ] },
  { title: "Latency", show: duration, curves: [
    ["reads, 50 %", "--read", (live) => live.latency?.read[0], []],
    ["reads, 99 %", "--read", (live) => live.latency?.read[2], [6, 4]],
    ["writes, 50 %", "--write", (live) => live.latency?.write[0], []],
    ["writes, 99 %", "--write", (live) => live.latency?.write[2], [6, 4]],
  ] },
  { title: "Commands under way", show: rate, curves: [
    ["queue depth", "--read", (live) => live.total?.[5]],
  ] },
];

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

class Curves {
  constructor(place, chart) {
    this.chart = chart;
    this.data = [[], ...chart.curves.map(() => [])];
    this.figure = element("figure");
    this.caption = element("figcaption", "");
    this.plot = element("div");
    this.plot.setAttribute("role", "img");
    this.figure.append(element("strong", "", chart.title), this.plot, this.caption);
    place.append(this.figure);
    new ResizeObserver(() => this.resize()).observe(this.figure);
    this.make();
  }

  make() {
    this.uplot?.destroy();
    const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    this.uplot = new window.uPlot({
      width: Math.max(this.figure.clientWidth, 200),
      height: 180,
      legend: { show: false },
      cursor: { y: false },
      scales: { y: { range: (_, least, most) => [0, Math.max(most * 1.1, 1)] } },
      axes: [axis, { ...axis, size: 70, values: (_, values) => values.map(this.chart.show) }],
      series: [{}, ...this.chart.curves.map(([label, stroke, , dash]) => (
        { label, stroke: colour(stroke), width: 2, dash, points: { show: false } }))],
    }, this.data, this.plot);
  }

  resize() {
    const width = Math.max(this.figure.clientWidth, 200);
    if (this.uplot.width !== width) this.uplot.setSize({ width, height: 180 });
  }

  add(live) {
    this.data[0].push(live.time);
    const texts = this.chart.curves.map(([label, , get], at) => {
      const value = get(live) ?? null;
      this.data[at + 1].push(value);
      return `${label} ${this.chart.show(value)}`;
    });
    if (this.data[0].length > POINTS) for (const column of this.data) column.shift();
    this.caption.textContent = texts.join(", ");
    this.plot.setAttribute("aria-label", `${this.chart.title}: ${texts.join(", ")}`);
    this.uplot.setData(this.data);
  }
}

// How often commands took how long: time to the right, latency upwards.
class HeatMap {
  constructor(place) {
    this.columns = [];
    this.figure = element("figure");
    this.canvas = element("canvas", "heat");
    this.canvas.setAttribute("role", "img");
    this.caption = element("figcaption", "");
    const title = element("strong", "", "How long commands took (10 µs to 10 s upwards)");
    this.figure.append(title, this.canvas, this.caption);
    place.append(this.figure);
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  make() {
    this.draw();
  }

  add(live) {
    const heat = live.heat;
    const column = heat ? heat.read.map((count, at) => count + heat.write[at] + heat.other[at]) : [];
    this.columns.push(column);
    if (this.columns.length > HEAT_POINTS) this.columns.shift();
    const count = column.reduce((sum, each) => sum + each, 0);
    const times = live.latency ? [...live.latency.read, ...live.latency.write] : [];
    const slowest = Math.max(0, ...times.filter((each) => each !== null));
    this.caption.textContent = count
      ? `${rate(count)} commands in the last interval, 99 % within ${duration(slowest)}`
      : "no commands in the last interval";
    this.canvas.setAttribute("aria-label", `Heat map of latencies: ${this.caption.textContent}`);
    this.draw();
  }

  draw() {
    const { canvas, columns } = this;
    const scale = window.devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * scale;
    canvas.height = canvas.clientHeight * scale;
    const context = canvas.getContext("2d");
    const rows = columns.find((column) => column.length)?.length;
    if (!rows || !canvas.width) return;
    const most = Math.max(1, ...columns.map((column) => Math.max(0, ...column)));
    const width = canvas.width / HEAT_POINTS;
    const height = canvas.height / rows;
    const heat = colour("--heat");
    columns.forEach((column, at) => {
      const x = canvas.width - (columns.length - at) * width;
      column.forEach((count, row) => {
        if (!count) return;
        const strength = 0.15 + 0.85 * Math.log1p(count) / Math.log1p(most);
        context.fillStyle = `rgb(${heat} / ${strength})`;
        context.fillRect(x, canvas.height - (row + 1) * height, Math.ceil(width), Math.ceil(height));
      });
    });
    // Each power of ten has five rows, behind one for what is shorter than 10 µs.
    context.font = `${12 * scale}px system-ui, sans-serif`;
    context.fillStyle = colour("--faint");
    for (let row = 1, time = 10; row < rows; row += 5, time *= 10) {
      const y = canvas.height - row * height;
      context.fillRect(0, y, 6 * scale, 1);
      context.fillText(duration(time), 9 * scale, y + 4 * scale);
    }
  }
}

export class Charts {
  constructor(place) {
    this.all = [...CHARTS.map((chart) => new Curves(place, chart)), new HeatMap(place)];
  }

  add(live) {
    for (const chart of this.all) chart.add(live);
  }

  // The colours have changed.
  make() {
    for (const chart of this.all) chart.make();
  }
}
