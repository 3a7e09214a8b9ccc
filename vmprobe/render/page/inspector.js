// What stands in the pageblock that is looked at: its figures, and its single pages.
{
  const COLUMNS = 32;
  const SUMS = { free: "pages free", moves: "can move", stays: "stay", unknown: "not known", absent: "no memory" };
  const { map } = page.facts;

  const fact = (list, label, value, swatch) => {
    const name = page.element("dt", label);
    if (swatch) {
      const box = page.element("i", undefined, "swatch");
      box.style.background = swatch;
      name.prepend(box);
    }
    list.append(name, page.element("dd", value));
  };

  page.Inspector = class {
    constructor(box) {
      this.box = box;
      this.title = box.querySelector("h3");
      this.figures = box.querySelector("dl");
      this.canvas = box.querySelector("canvas");
      this.kinds = box.querySelector(".kinds");
      this.told = box.querySelector(".told");
      this.page = 0;
      this.canvas.addEventListener("pointermove", (event) => this.tellPage(this.pageAt(event)));
      this.canvas.addEventListener("pointerleave", () => this.tellPage(-1));
      this.canvas.addEventListener("keydown", (event) => this.press(event));
    }

    /** Keep it in sight from now on: somebody looks at pageblocks. */
    use() {
      this.box.classList.add("used");
    }

    /** Show pageblocks `from` to `to` (not included) of a zone, in one of the map's modes. */
    show(zone, from, to, mode) {
      Object.assign(this, { zone, from, to, mode });
      const last = zone.pfn(to) - 1;
      const many = to - from > 1;
      const which = many ? `pageblocks ${page.count(from)} to ${page.count(to - 1)}` : `pageblock ${page.count(from)}`;
      this.title.textContent = `${zone.label}, ${which}`;
      const list = document.createDocumentFragment();
      fact(list, "pfn", `${zone.pfn(from)} to ${last}`);
      const { content } = mode === "after" ? zone.after : zone.arrays;
      const worst = zone.worst(from, to, content);
      fact(list, many ? "worst content" : "content", map.contents[worst], page.contentColor(worst));
      this.tellSums(list, mode);
      if (!many) {
        fact(list, "held by", page.ownerText(zone.arrays.owner[from]) ?? "nobody");
        fact(list, "used by", page.ownerText(zone.arrays.user[from]) ?? "nobody named");
      }
      this.figures.replaceChildren(list);
      this.showPages();
    }

    tellSums(list, mode) {
      const { zone, from, to } = this;
      const now = zone.sums(from, to);
      const then = zone.after && mode !== "now" ? zone.sums(from, to, zone.after) : null;
      for (const [name, label] of Object.entries(SUMS)) {
        if (name === "absent" && !now.absent) continue;
        const pages = page.count(now[name]);
        fact(list, label, then ? `${pages} \u2192 ${page.count(then[name])}` : pages);
      }
    }

    showPages() {
      const single = this.to - this.from === 1;
      this.pages = single ? this.zone.kinds(this.from) : null;
      this.canvas.hidden = this.pages === null;
      this.kinds.replaceChildren();
      if (this.pages === null) {
        this.told.textContent = single ? this.why() : "Zoom in for single pages.";
        return;
      }
      this.draw();
      const nr = new Uint32Array(page.facts.pages.kinds.length);
      for (const kind of this.pages) nr[kind] += 1;
      const found = Array.from(nr, (pages, kind) => ({ kind, pages })).filter((each) => each.pages);
      found.sort((one, other) => other.pages - one.pages || one.kind - other.kind);
      const list = document.createDocumentFragment();
      for (const { kind, pages } of found) {
        fact(list, page.facts.pages.kinds[kind], page.count(pages), page.kindColor(kind));
      }
      this.kinds.append(list);
      this.tellPage(-1);
    }

    why() {
      if (!page.facts.pages) return "The single pages are not in this page.";
      if (this.zone.uniform === null) return "The single pages are being unpacked.";
      return "The single pages of this pageblock are left out, for the size of this page.";
    }

    draw() {
      const scale = window.devicePixelRatio || 1;
      const rows = Math.ceil(this.pages.length / COLUMNS);
      const side = Math.max(4, Math.floor(this.box.clientWidth / COLUMNS) || 9);
      this.side = Math.min(side, 11);
      const { canvas } = this;
      canvas.width = COLUMNS * this.side * scale;
      canvas.height = rows * this.side * scale;
      canvas.style.width = `${COLUMNS * this.side}px`;
      const context = canvas.getContext("2d");
      context.scale(scale, scale);
      this.pages.forEach((kind, at) => {
        context.fillStyle = page.kindColor(kind);
        const [x, y] = [(at % COLUMNS) * this.side, Math.floor(at / COLUMNS) * this.side];
        context.fillRect(x, y, this.side - 1, this.side - 1);
      });
    }

    pageAt(event) {
      const bounds = this.canvas.getBoundingClientRect();
      const column = Math.floor((event.clientX - bounds.left) / this.side);
      const at = Math.floor((event.clientY - bounds.top) / this.side) * COLUMNS + column;
      return column < 0 || column >= COLUMNS || at < 0 || at >= this.pages.length ? -1 : at;
    }

    tellPage(at) {
      if (at < 0) {
        this.told.textContent = `${page.count(this.pages.length)} pages, 32 a row`;
        return;
      }
      this.page = at;
      const kind = page.facts.pages.kinds[this.pages[at]];
      this.told.textContent = `pfn ${this.zone.pfn(this.from) + at}: ${kind}`;
    }

    press(event) {
      const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -COLUMNS, ArrowDown: COLUMNS };
      if (!(event.key in steps)) return;
      event.preventDefault();
      this.tellPage(Math.max(0, Math.min(this.pages.length - 1, this.page + steps[event.key])));
    }

    /** What is shown, in one sentence for those who do not see it. */
    sentence() {
      const { zone, from, to } = this;
      const sums = zone.sums(from, to);
      const worst = map.contents[zone.worst(from, to)];
      return `${this.title.textContent}: ${worst}, ${sums.free} free, ${sums.stays} stay.`;
    }
  };
}
