// Lists of any length: only the rows that can be seen exist.

const BEYOND = 6; // rows above and below that exist, too

// An element with a class and contents: texts, elements, or nothing.
export function element(name, className, ...contents) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...contents.filter((each) => each !== null && each !== undefined));
  return made;
}

// A list in `place`. `label` is its name for screen readers. `render` makes the contents of a row
// from an item; `choose`, if given, is called with the item that the user chooses.
export class VirtualList {
  constructor(place, label, { key, render, tone = () => "", choose = null, empty = "none" }) {
    this.key = key;
    this.render = render;
    this.tone = tone;
    this.choose = choose;
    this.empty = empty;
    this.items = [];
    this.shown = new Map();
    this.active = -1;
    this.chosen = null;
    this.changed = () => {};
    this.box = element("div", "virtual");
    this.box.tabIndex = 0;
    this.rows = element("ul", "rows");
    this.rows.id = `list-${VirtualList.count++}`;
    this.box.setAttribute("role", choose ? "listbox" : "group");
    this.box.setAttribute("aria-label", label);
    this.rows.setAttribute("role", choose ? "presentation" : "list");
    this.box.append(this.rows);
    place.append(this.box);
    this.box.addEventListener("scroll", () => this.draw(), { passive: true });
    this.box.addEventListener("keydown", (event) => this.press(event));
    this.rows.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (row && this.choose) this.take(Number(row.dataset.at));
    });
    new ResizeObserver(() => this.draw()).observe(this.box);
  }

  get rowHeight() {
    const root = getComputedStyle(document.documentElement);
    return parseFloat(root.getPropertyValue("--row")) * parseFloat(root.fontSize);
  }

  show(items) {
    const active = this.items[this.active];
    this.items = items;
    this.active = active ? items.findIndex((each) => this.key(each) === this.key(active)) : -1;
    this.draw(true);
  }

  draw(again = false) {
    const height = this.rowHeight;
    const count = this.items.length;
    this.rows.style.height = count ? `${count * height}px` : "";
    const first = Math.max(Math.floor(this.box.scrollTop / height) - BEYOND, 0);
    const seen = Math.ceil((this.box.clientHeight || 400) / height) + 2 * BEYOND;
    const last = Math.min(first + seen, count);
    const wanted = new Map();
    for (let at = first; at < last; at++) {
      const item = this.items[at];
      const key = this.key(item);
      let row = this.shown.get(key);
      if (!row) {
        row = element("li", "row");
        row.setAttribute("role", this.choose ? "option" : "listitem");
      }
      if (again || row.dataset.at !== String(at) || !this.shown.has(key)) {
        row.dataset.at = at;
        row.dataset.key = key;
        row.id = `${this.rows.id}-${at}`;
        row.style.top = `${at * height}px`;
        row.setAttribute("aria-posinset", at + 1);
        row.setAttribute("aria-setsize", count);
        const contents = this.render(item);
        const text = contents.map((each) => each.textContent).join("\0");
        if (row.dataset.text !== text) {
          row.replaceChildren(...contents);
          row.dataset.text = text;
        }
      }
      const isChosen = this.chosen !== null && key === this.chosen;
      const classes = ["row", this.tone(item), this.choose ? "link" : ""];
      if (isChosen) classes.push("chosen");
      if (at === this.active && document.activeElement === this.box) classes.push("active");
      row.className = classes.filter(Boolean).join(" ");
      if (this.choose) row.setAttribute("aria-selected", isChosen);
      wanted.set(key, row);
    }
    for (const [key, row] of this.shown) if (!wanted.has(key)) row.remove();
    for (const row of wanted.values()) if (!row.isConnected) this.rows.append(row);
    this.shown = wanted;
    if (!count && !this.rows.firstChild) {
      const none = element("li", "empty", this.empty);
      none.setAttribute("role", this.choose ? "option" : "listitem");
      if (this.choose) none.setAttribute("aria-disabled", "true");
      this.rows.append(none);
    } else if (count) this.rows.querySelector(".empty")?.remove();
    if (this.choose && this.active >= 0 && this.active < count) {
      const id = `${this.rows.id}-${this.active}`;
      if (document.getElementById(id)) this.box.setAttribute("aria-activedescendant", id);
    } else this.box.removeAttribute("aria-activedescendant");
    this.changed();
  }

  press(event) {
    const count = this.items.length;
    const page = Math.max(Math.floor(this.box.clientHeight / this.rowHeight) - 1, 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page };
    let to;
    if (event.key in steps) to = this.active + steps[event.key];
    else if (event.key === "Home") to = 0;
    else if (event.key === "End") to = count - 1;
    else if ((event.key === "Enter" || event.key === " ") && this.choose && this.active >= 0) {
      event.preventDefault();
      this.take(this.active);
      return;
    } else return;
    event.preventDefault();
    this.active = Math.min(Math.max(to, 0), count - 1);
    const height = this.rowHeight;
    const top = this.active * height;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    const bottom = top + height - this.box.clientHeight;
    if (bottom > this.box.scrollTop) this.box.scrollTop = bottom;
    this.draw();
  }

  take(at) {
    this.active = at;
    if (at in this.items) this.choose(this.items[at]);
    this.draw();
  }
}
VirtualList.count = 0;
