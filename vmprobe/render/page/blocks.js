// The pageblocks of every zone: packed arrays, and what several of them come to.
{
  const { map } = page.facts;

  /** One zone's arrays; `after` is the same zone as a forecast leaves it, where there is one. */
  class Zone {
    constructor(facts, buffer) {
      Object.assign(this, { node: facts.node, name: facts.zone, firstPfn: facts.first_pfn });
      this.label = `node ${facts.node} ${facts.zone}`;
      this.length = facts.pageblocks;
      const arrays = (named) => Object.fromEntries(
        Object.entries(named).map(([name, where]) => [name, page.arrayIn(buffer, where)]),
      );
      this.arrays = arrays(facts.arrays);
      this.after = facts.after && arrays(facts.after);
      this.uniform = null;
    }

    /** First frame of a pageblock. */
    pfn(block) {
      return this.firstPfn + block * map.pages;
    }

    /** What a forecast changes in some pageblocks, as an index of `map.changes`; what matters most wins. */
    change(from, to) {
      const { changes } = this.after;
      let found = changes[from];
      for (let at = from + 1; at < to; at += 1) {
        if (map.change_weights[changes[at]] > map.change_weights[found]) found = changes[at];
      }
      return found;
    }

    /** The worst content of some pageblocks, the loudest in the list of severities. */
    worst(from, to, content = this.arrays.content) {
      let found = content[from];
      for (let at = from + 1; at < to; at += 1) {
        if (map.severity[content[at]] > map.severity[found]) found = content[at];
      }
      return found;
    }

    /** Pages of some pageblocks that are free, stay, are not known or absent, and the rest: those that can move. */
    sums(from, to, arrays = this.arrays) {
      const sums = { free: 0, stays: 0, unknown: 0, absent: 0 };
      for (let at = from; at < to; at += 1) {
        sums.free += arrays.free[at];
        sums.stays += arrays.stays[at];
        sums.unknown += arrays.unknown[at];
        sums.absent += arrays.absent[at];
      }
      sums.present = (to - from) * map.pages - sums.absent;
      sums.moves = sums.present - sums.free - sums.stays - sums.unknown;
      return sums;
    }

    /** Kinds of the single pages of a pageblock, one byte each; null where the page does not have them. */
    kinds(block) {
      if (this.uniform === null) return null;
      const kind = this.uniform[block];
      if (kind === page.facts.pages.mixed) {
        const at = this.rank[block] * map.pages;
        return this.mixed.subarray(at, at + map.pages);
      }
      return kind === page.facts.pages.left_out ? null : new Uint8Array(map.pages).fill(kind);
    }

    /** Take the kinds of single pages: `uniform` for blocks of one kind, and the rest one after the other. */
    takeKinds(uniform, mixed) {
      this.uniform = uniform;
      this.mixed = mixed;
      this.rank = new Uint32Array(this.length);
      let rank = 0;
      for (let at = 0; at < this.length; at += 1) {
        this.rank[at] = rank;
        rank += uniform[at] === page.facts.pages.mixed;
      }
    }
  }

  /** All zones, once they are unpacked. */
  page.readZones = async () => {
    const buffer = await page.unpack("blocks");
    return map.zones.map((facts) => new Zone(facts, buffer));
  };

  page.readKinds = async (zones) => {
    if (!page.facts.pages) return;
    const buffer = await page.unpack("pages");
    page.facts.pages.zones.forEach((where, at) => {
      zones[at].takeKinds(page.arrayIn(buffer, where.uniform), page.arrayIn(buffer, where.mixed));
    });
  };

  page.ownerText = (index) => (index < 0 ? null : map.owners[index]);
}
