"use strict";
// Shows the values under the pointer. Everything is read from the drawing itself: the last paths
// of a figure are its lines, and data-x, data-y and data-box turn places into values.
(() => {
  const three = v => { const a = Math.abs(v);
    return a >= 99.95 || a === 0 ? v.toFixed(0) : String(Number(v.toPrecision(3))); };
  const scaled = (v, base, units) => { let i = 0;
    while (Math.abs(v) >= base * 0.9995 && i + 1 < units.length) { v /= base; i++; }
    return three(v) + " " + units[i]; };
  const show = { us: v => scaled(v, 1000, v < 1e6 ? ["µs", "ms"] : ["µs", "ms", "s"]),
    bytes: v => scaled(v, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]),
    count: v => Math.abs(v) < 9999.5 ? three(v) : scaled(v, 1000, ["", "k", "M", "G"]),
    "%": v => three(v) + " %",
    p: v => "p" + Number((100 - 100 * 10 ** -v).toFixed(Math.max(1, Math.ceil(v) - 1))) };
  const axis = text => { const [kind, unit, low, high] = text.split(","), a = +low, b = +high;
    return { value: kind === "log" ? t => a * (b / a) ** t : t => a + (b - a) * t,
      text: show[unit] || three }; };
  for (const svg of document.querySelectorAll("svg[data-box]")) {
    const count = Number(svg.dataset.lines);
    if (!count) continue;
    const names = svg.dataset.names.split("|");
    const x = axis(svg.dataset.x), y = axis(svg.dataset.y), [l, t, r, b] = svg.dataset.box.split(" ").map(Number);
    const paths = [...svg.querySelectorAll("polyline")].slice(-count).map((path, i) => ({
      name: names[i], colour: getComputedStyle(path).stroke,
      points: path.getAttribute("points").trim().split(" ").map(p => p.split(",").map(Number)) }));
    const tip = document.createElement("div"), rule = document.createElement("div");
    tip.className = "tip"; rule.className = "rule"; tip.hidden = rule.hidden = true;
    svg.parentNode.append(rule, tip);
    const hide = () => { tip.hidden = rule.hidden = true; };
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("pointermove", event => {
      const box = svg.getBoundingClientRect(), zoom = svg.viewBox.baseVal.width / box.width;
      const at = (event.clientX - box.left) * zoom;
      if (at < l || at > r) return hide();
      const rows = [];
      for (const path of paths) {
        const p = path.points, first = p[0], last = p[p.length - 1];
        if (at < first[0] - 30 || at > last[0] + 30) continue;
        let i = p.findIndex(q => q[0] >= at);
        if (i < 0) i = p.length - 1;
        let place = p[i][1];
        if (i > 0 && p[i][0] > p[i - 1][0])
          place = p[i - 1][1] + (p[i][1] - p[i - 1][1]) * Math.min(1, (at - p[i - 1][0]) / (p[i][0] - p[i - 1][0]));
        rows.push([path, y.value((b - place) / (b - t))]);
      }
      if (!rows.length) return hide();
      tip.replaceChildren();
      const head = document.createElement("b");
      head.textContent = x.text(x.value((at - l) / (r - l)));
      tip.append(head);
      for (const [path, value] of rows) {
        const row = document.createElement("div"), dot = document.createElement("i");
        dot.style.cssText = `display:inline-block;width:9px;height:9px;border-radius:2px;margin-right:6px;background:${path.colour}`;
        row.append(dot, `${path.name ? path.name + ": " : ""}${y.text(value)}`);
        tip.append(row);
      }
      tip.hidden = rule.hidden = false;
      const px = event.clientX - box.left;
      rule.style.cssText = `left:${px}px;top:${t / zoom}px;height:${(b - t) / zoom}px`;
      tip.style.left = (px > box.width / 2 ? px - tip.offsetWidth - 12 : px + 12) + "px";
      tip.style.top = Math.max(0, event.clientY - box.top - tip.offsetHeight / 2) + "px";
    });
  }
})();
