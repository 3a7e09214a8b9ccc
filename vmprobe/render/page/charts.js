// Charts, drawn by plotly once everything else is on the screen; each has a table that says the same.
{
  const { charts } = page.facts;
  const ON_PAPER = 330; // pixels of width
  const ALONE_ON_PAPER = 500;
  const FONT = 'system-ui, "Liberation Sans", Arial, sans-serif';

  const layoutOf = (chart, look) => {
    const axis = { gridcolor: look.line, zerolinecolor: look.line, linecolor: look.line, automargin: true };
    const title = (text) => ({ text, font: { size: 11.5, color: look.muted }, standoff: 8 });
    return {
      height: chart.height,
      margin: { l: 8, r: 12, t: 10, b: 8 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: FONT, size: 11.5, color: look.ink },
      colorway: look.traces,
      xaxis: { ...axis, ...chart.x, title: title(chart.x.title), fixedrange: false },
      yaxis: { ...axis, rangemode: "tozero", ...chart.y, title: title(chart.y.title) },
      showlegend: chart.traces.length > 1,
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 11 } },
      hoverlabel: { bgcolor: look.panel, bordercolor: look.line, font: { family: FONT, color: look.ink } },
      hovermode: "closest",
      shapes: (chart.marks ?? []).map((mark) => ({
        type: "line", x0: mark.x, x1: mark.x, y0: 0, y1: 1, yref: "paper",
        line: { color: look.alarm, width: 1.5, dash: "dot" },
      })),
      annotations: (chart.marks ?? []).map((mark) => ({
        x: mark.x, y: 1, yref: "paper", text: mark.text, showarrow: false, xanchor: mark.anchor ?? "left",
        yanchor: "top", xshift: mark.anchor === "right" ? -5 : 5, font: { size: 11.5, color: look.alarm },
      })),
    };
  };

  /** Bring the numbered colours of a trace to those of the scheme. */
  const traceOf = (trace, look) => {
    const color = look.traces[trace.color % look.traces.length];
    const made = { ...trace, line: { width: 1.8, ...trace.line, color }, marker: { ...trace.marker, color } };
    delete made.color;
    return made;
  };

  const draw = (box, chart) => {
    const look = page.facts.colors[page.scheme()];
    const layout = layoutOf(chart, look);
    if (page.printing()) layout.width = box.closest(".side") ? ALONE_ON_PAPER : ON_PAPER;
    const traces = chart.traces.map((trace) => traceOf(trace, look));
    return window.Plotly.react(box, traces, layout, { displayModeBar: false, responsive: true });
  };

  const load = async () => {
    const code = await page.unpack("plotly");
    const script = document.createElement("script");
    script.src = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    await new Promise((done, failed) => {
      script.addEventListener("load", done);
      script.addEventListener("error", failed);
      document.head.append(script);
    });
    URL.revokeObjectURL(script.src);
  };

  const showCharts = async () => {
    await load();
    const boxes = charts.map((chart) => [document.getElementById(chart.id), chart]);
    const all = () => Promise.all(boxes.map((each) => draw(...each)));
    for (const [box] of boxes) box.replaceChildren();
    await all();
    page.onScheme(all);
  };

  const whenPainted = (work) => requestAnimationFrame(() => setTimeout(work, 0));

  if (!page.canUnpack) {
    const said = "This browser cannot unpack what the page carries (it has no DecompressionStream): the tables remain.";
    for (const note of document.querySelectorAll(".waits")) note.textContent = said;
  } else if (charts.length) {
    page.chartsShown = new Promise((done, failed) => {
      document.addEventListener("DOMContentLoaded", () => {
        Promise.resolve(page.mapShown).then(() => whenPainted(() => showCharts().then(done, failed)), failed);
      });
    });
  }
}
