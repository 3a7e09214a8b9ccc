// The map as a whole: its colours, its zones side by side, what is looked at, and the controls above it.
{
  const { map } = page.facts;
  const ROOM = 470; // pixels of height that all zones together fill

  const colors = () => page.facts.colors[page.scheme()];

  page.contentColor = (content) => colors().contents[content][colors().contents[content].length - 1];
  page.kindColor = (kind) => colors().kinds[kind];

  /** What the colour of some pageblocks says: content by hue, pages in use by strength; or what changed. */
  page.blockColor = (zone, from, to, mode) => {
    const arrays = mode === "after" ? zone.after : zone.arrays;
    const worst = zone.worst(from, to, arrays.content);
    if (mode === "difference" && worst !== map.absent) return colors().changes[zone.change(from, to)];
    const shades = colors().contents[worst];
    const { free, present } = zone.sums(from, to, arrays);
    const used = (present - free) / Math.max(present, 1);
    return shades[Math.min(shades.length - 1, Math.floor(used * shades.length))];
  };

  const showMap = async () => {
    const box = document.getElementById("map");
    const zones = await page.readZones();
    const inspector = new page.Inspector(document.getElementById("inspector"));
    const spoken = document.getElementById("spoken");
    let chosen = null;
    const show = ({ strip, from, to }) => inspector.show(strip.zone, from, to, strip.mode);
    const events = {
      look: (strip, from, to) => {
        inspector.use();
        show({ strip, from, to });
      },
      choose: (strip, from, to) => {
        chosen = { strip, from, to };
        for (const each of strips) {
          each.chosenBlock = each === strip ? from : -1;
          each.mark(each.chosen, each.chosenBlock);
        }
        strip.at = from;
        show(chosen);
        events.say();
      },
      leave: () => chosen && show(chosen),
      say: () => (spoken.textContent = inspector.sentence()),
    };
    const strips = Array.from(box.querySelectorAll(".zone"), (figure, at) => new page.Strip(zones[at], figure, events));
    page.strips = strips;
    page.inspector = inspector;
    const all = zones.reduce((sum, zone) => sum + zone.length, 0);
    const place = () => {
      const side = Math.sqrt((strips[0].box.clientWidth * ROOM) / all);
      for (const strip of strips) strip.place(side);
    };
    const again = () => {
      for (const strip of strips) strip.draw();
      if (inspector.zone) inspector.show(inspector.zone, inspector.from, inspector.to, strips[0].mode);
    };
    place();
    let { clientWidth } = strips[0].box;
    new ResizeObserver(() => {
      if (clientWidth === strips[0].box.clientWidth || page.printing()) return;
      clientWidth = strips[0].box.clientWidth;
      place();
    }).observe(strips[0].box);
    page.onScheme(again);
    listenToControls(box, strips, again);
    const first = strips.reduce((most, strip) => (strip.zone.length > most.zone.length ? strip : most));
    events.choose(first, ...interesting(first.zone));
    spoken.textContent = "";
    await page.readKinds(zones);
    again();
  };

  /** The pageblock that the map opens with: the first of the worst. */
  const interesting = (zone) => {
    const { content } = zone.arrays;
    let found = 0;
    content.forEach((each, at) => {
      if (map.severity[each] > map.severity[content[found]]) found = at;
    });
    return [found, found + 1];
  };

  const listenToControls = (box, strips, again) => {
    for (const input of box.querySelectorAll("input[name=mode]")) {
      input.addEventListener("change", () => {
        for (const strip of strips) strip.mode = input.value;
        for (const legend of box.querySelectorAll("[data-legend]")) {
          legend.hidden = (legend.dataset.legend === "difference") !== (input.value === "difference");
        }
        again();
      });
    }
    const select = box.querySelector("select");
    select?.addEventListener("change", () => {
      for (const strip of strips) strip.owner = Number(select.value);
      again();
    });
  };

  if (map && page.canUnpack) {
    document.getElementById("map").classList.add("live");
    page.mapShown = showMap();
  }
}
