// One zone drawn as a strip of pageblocks in physical order, row by row; several pageblocks share a cell where
// the strip would not fit otherwise, and the worst of them gives it its colour.
{
  const LEAST_SIDE = 3; // pixels of a cell
  const MOST_SIDE = 22;
  const GUTTER = 66; // room for addresses beside the rows
  const LINE = 13;
  const DIMMED = 0.13;
  const LEAST_MARK = 11; // pixels of the mark around a cell
  const LEAST_LOUD = 5; // pixels of a cell that has room for an outline
  const { map } = page.facts;

  /** Where cells lie: side of a cell, pageblocks in one, cells in a row, rows. */
  const geometry = (blocks, width, side) => {
    let perCell = 1;
    let rounded = Math.max(LEAST_SIDE, Math.min(MOST_SIDE, Math.floor(side)));
    while (perCell * side * side < LEAST_SIDE * LEAST_SIDE) perCell *= 2;
    if (perCell > 1) rounded = LEAST_SIDE;
    const fit = Math.max(1, Math.floor(width / rounded));
    // Rows of a round number of pageblocks show what lies below what.
    const grain = fit >= 48 ? 16 : fit >= 16 ? 8 : 1;
    const columns = fit - (fit % grain);
    const cells = Math.ceil(blocks / perCell);
    return { side: rounded, perCell, columns, cells, rows: Math.ceil(cells / columns) };
  };

  /** A physical address as rows have it: close enough to tell one row from the next. */
  const address = (bytes) =>
    bytes < 2 ** 30 ? `${Math.round(bytes / 2 ** 20)} MiB` : `${(bytes / 2 ** 30).toFixed(2)} GiB`;

  page.Strip = class {
    constructor(zone, figure, events) {
      Object.assign(this, { zone, figure, events, from: 0, to: zone.length, mode: "now", owner: -1 });
      this.canvas = figure.querySelector("canvas");
      this.box = figure.querySelector(".strip");
      this.cursor = figure.querySelector(".cursor");
      this.chosen = figure.querySelector(".chosen");
      this.range = figure.querySelector(".range");
      this.at = 0;
      this.chosenBlock = -1;
      this.listen();
    }

    /** Make room: `side` is that of a cell which lets all zones together fill the map. */
    place(side) {
      const width = this.box.clientWidth;
      this.gutter = width >= 600 ? GUTTER : 0;
      this.width = width - this.gutter;
      this.whole = geometry(this.zone.length, this.width, side);
      this.height = Math.max(this.whole.rows * this.whole.side, LINE);
      this.shape = this.fitted();
      this.draw();
    }

    /** The shape of what is shown: the whole zone as placed, a part of it as large as the same room allows. */
    fitted() {
      const blocks = this.to - this.from;
      if (blocks === this.zone.length) return this.whole;
      let side = Math.sqrt((this.width * this.height) / blocks);
      let shape = geometry(blocks, this.width, side);
      while (shape.rows * shape.side > this.height && side > 0.01) {
        side *= 0.95;
        shape = geometry(blocks, this.width, side);
      }
      return shape;
    }

    draw() {
      const scale = window.devicePixelRatio || 1;
      const { canvas, shape, width, gutter, height } = this;
      canvas.width = Math.round((width + gutter) * scale);
      canvas.height = Math.round(height * scale);
      canvas.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
      const context = canvas.getContext("2d");
      context.scale(scale, scale);
      // On paper the strip is scaled, and fine lines between cells would come and go.
      const gap = shape.side > 4 && !page.printing() ? 1 : 0;
      const { outline } = page.facts.colors[page.scheme()];
      context.lineWidth = 1;
      for (let cell = 0; cell < shape.cells; cell += 1) {
        const [from, to] = this.blocksOf(cell);
        context.globalAlpha = this.isOf(from, to) ? 1 : DIMMED;
        context.fillStyle = page.blockColor(this.zone, from, to, this.mode);
        const { x, y } = this.corner(cell);
        context.fillRect(x, y, shape.side - gap, shape.side - gap);
        if (shape.side >= LEAST_LOUD && this.mode !== "difference" && this.isLoud(from, to)) {
          context.strokeStyle = outline;
          context.strokeRect(x + 0.5, y + 0.5, shape.side - gap - 1, shape.side - gap - 1);
        }
      }
      context.globalAlpha = 1;
      this.drawAddresses(context);
      this.tellRange();
      this.mark(this.chosen, this.chosenBlock);
      this.cursor.hidden = true;
    }

    drawAddresses(context) {
      if (!this.gutter) return;
      const { side, columns, perCell, rows } = this.shape;
      const each = Math.max(1, Math.ceil(LINE / side));
      context.font = '10.5px system-ui, "Liberation Sans", Arial, sans-serif';
      context.textBaseline = "top";
      context.textAlign = "right";
      context.fillStyle = page.facts.colors[page.scheme()].ink;
      for (let row = 0; row < rows && row * side + LINE <= this.height; row += each) {
        const pfn = this.zone.pfn(this.from + row * columns * perCell);
        context.fillText(address(pfn * map.page_size), this.gutter - 8, row * side);
      }
    }

    tellRange() {
      const { zone, from, to, shape } = this;
      const whole = to - from === zone.length;
      const each = shape.perCell > 1 ? `; ${shape.perCell} pageblocks a cell, coloured by the worst` : "";
      const part = whole ? "" : `pageblocks ${page.count(from)} to ${page.count(to - 1)}`;
      this.range.textContent = `${part}${whole && each ? each.slice(2) : each}`;
      this.figure.querySelector("[data-zoom=out]").disabled = whole;
      this.figure.querySelector("[data-zoom=whole]").disabled = whole;
      this.figure.querySelector("[data-zoom=in]").disabled = to - from <= 1;
    }

    corner(cell) {
      const { side, columns } = this.shape;
      return { x: this.gutter + (cell % columns) * side, y: Math.floor(cell / columns) * side };
    }

    blocksOf(cell) {
      const from = this.from + cell * this.shape.perCell;
      return [from, Math.min(this.to, from + this.shape.perCell)];
    }

    isOf(from, to) {
      if (this.owner < 0) return true;
      const { owner, user } = this.zone.arrays;
      for (let at = from; at < to; at += 1) {
        if (owner[at] === this.owner || user[at] === this.owner) return true;
      }
      return false;
    }

    /** Whether one page alone keeps one of these pageblocks from being free. */
    isLoud(from, to) {
      const arrays = this.mode === "after" ? this.zone.after : this.zone.arrays;
      return this.zone.worst(from, to, arrays.content) === map.loud;
    }

    /** The cell below a pointer; -1 where there is none. */
    cellAt(event) {
      const bounds = this.canvas.getBoundingClientRect();
      const { side, columns, cells } = this.shape;
      const column = Math.floor((event.clientX - bounds.left - this.gutter) / side);
      const row = Math.floor((event.clientY - bounds.top) / side);
      const cell = row * columns + column;
      return column < 0 || column >= columns || row < 0 || cell >= cells ? -1 : cell;
    }

    mark(box, block) {
      box.hidden = block < this.from || block >= this.to;
      if (box.hidden) return;
      const { x, y } = this.corner(Math.floor((block - this.from) / this.shape.perCell));
      const { side } = this.shape;
      const size = Math.max(side + 3, LEAST_MARK);
      const off = (size - side + 1) / 2;
      box.style.transform = `translate(${x - off}px, ${y - off}px)`;
      box.style.width = box.style.height = `${size}px`;
    }

    /** Show the pageblocks of a cell, and keep them shown when `chosen`. */
    look(cell, chosen) {
      const [from, to] = this.blocksOf(cell);
      this.mark(this.cursor, from);
      if (chosen) this.events.choose(this, from, to);
      else this.events.look(this, from, to);
    }

    /** Zoom by a factor around a pageblock, so that it stays where it is as far as there is room. */
    zoom(factor, block) {
      const { zone } = this;
      const blocks = Math.max(1, Math.min(zone.length, Math.round((this.to - this.from) * factor)));
      const share = (block - this.from) / (this.to - this.from);
      const from = Math.max(0, Math.min(zone.length - blocks, Math.round(block - share * blocks)));
      Object.assign(this, { from, to: from + blocks, at: block });
      this.shape = this.fitted();
      this.draw();
    }

    listen() {
      const { canvas } = this;
      canvas.addEventListener("pointermove", (event) => {
        const cell = this.cellAt(event);
        if (cell >= 0) this.look(cell, false);
      });
      canvas.addEventListener("pointerleave", () => {
        this.cursor.hidden = true;
        this.events.leave();
      });
      canvas.addEventListener("click", (event) => {
        const cell = this.cellAt(event);
        if (cell >= 0) this.enter(cell);
      });
      canvas.addEventListener(
        "wheel",
        (event) => {
          // A wheel alone scrolls the page, as it does everywhere else.
          const cell = event.ctrlKey ? this.cellAt(event) : -1;
          if (cell < 0) return;
          event.preventDefault();
          this.zoom(event.deltaY < 0 ? 0.5 : 2, this.blocksOf(cell)[0]);
        },
        { passive: false },
      );
      canvas.addEventListener("keydown", (event) => this.press(event));
      for (const button of this.figure.querySelectorAll("[data-zoom]")) {
        const factor = { in: 0.25, out: 4, whole: Infinity }[button.dataset.zoom];
        button.addEventListener("click", () => this.zoom(factor, this.middle()));
      }
    }

    middle() {
      const shown = this.chosenBlock >= this.from && this.chosenBlock < this.to;
      return shown ? this.chosenBlock : Math.floor((this.from + this.to - 1) / 2);
    }

    /** Go into a cell: to its pageblocks where there are several, to the pages of the one otherwise. */
    enter(cell) {
      const [from, to] = this.blocksOf(cell);
      if (to - from > 1) this.zoom(1 / 16, from);
      else this.look(cell, true);
    }

    press(event) {
      const { columns, perCell, cells } = this.shape;
      const cell = Math.floor((Math.max(this.from, Math.min(this.to - 1, this.at)) - this.from) / perCell);
      const steps = {
        ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns,
        PageUp: -columns * 8, PageDown: columns * 8, Home: -cells, End: cells,
      };
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key in steps) {
        const next = Math.max(0, Math.min(cells - 1, cell + steps[event.key]));
        [this.at] = this.blocksOf(next);
        this.look(next, false);
        this.events.say();
      } else if (event.key === "Enter" || event.key === " ") this.enter(cell);
      else if (event.key === "+" || event.key === "=") this.zoom(0.5, this.at);
      else if (event.key === "-") this.zoom(2, this.at);
      else if (event.key === "0" || event.key === "Escape") this.zoom(Infinity, this.at);
      else return;
      event.preventDefault();
    }
  };
}
