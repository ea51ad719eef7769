/* A build as a whole: how long its samples are, what is trained on, what was rejected, which samples to look at. */

const MOST_BARS = 28;

function panel(title, lead, content) {
  return make("section", "panel", [make("h2", "", title), make("p", "lead", lead), ...[content].flat()]);
}

function headlines(report) {
  const tokens = report.roles.reduce((sum, row) => sum + row.tokens, 0);
  const trained = report.roles.reduce((sum, row) => sum + row.trained, 0);
  const card = (name, figure, aside) =>
    make("dl", "panel", [make("dt", "", name), make("dd", "figure", figure), make("dd", "aside", aside)]);
  return make("div", "cards", [
    card("Samples", number.format(report.samples), `from ${number.format(report.lines)} lines`),
    card("Tokens", number.format(tokens), `${number.format(Math.round(tokens / Math.max(report.samples, 1)))} a sample`),
    card("Trained on", number.format(trained), `${percent(trained / Math.max(tokens, 1))} of all tokens`),
    card("Rejected", number.format(report.rejected), report.rejected ? `${percent(report.rejected / Math.max(report.lines, 1))} of the lines` : "no line"),
  ]);
}

/* Bins joined until they are few enough for bars. There are as many bars from any length to its double, or half as many,
   and they begin where bins do: each bin is in one bar. */
function bars(report) {
  for (const steps of [4, 2, 1, 0.5, 0.25]) {
    const slot = (length) => {
      const octave = 31 - Math.clz32(length);
      return steps < 1 ? Math.floor(octave * steps) : octave * steps + Math.floor((length / 2 ** octave - 1) * steps);
    };
    const least = (place) => steps < 1 ? 2 ** (place / steps)
      : Math.ceil(2 ** Math.floor(place / steps) * (1 + (place % steps) / steps));
    const first = slot(report.bins[0][0]);
    const last = slot(report.bins.at(-1)[0]);
    if (last - first >= MOST_BARS && steps > 0.25) continue;
    const joined = Array.from({ length: last - first + 1 }, (_, at) => ({ least: least(first + at), count: 0 }));
    for (const [start, count] of report.bins) joined[slot(start) - first].count += count;
    return joined.filter((bar, at) => bar.least !== joined[at + 1]?.least);  // short lengths leave bars that hold none
  }
  return [];
}

function quantile(bins, share) {
  const total = bins.reduce((sum, bin) => sum + bin[1], 0);
  let before = 0;
  for (const [least, count] of bins) {
    before += count;
    if (before >= share * total) return least;
  }
  return 0;
}

function lengths(report) {
  const joined = bars(report);
  const most = Math.max(...joined.map((bar) => bar.count));
  const chart = make("ol", "bins", joined.map((bar, at) => {
    const next = joined[at + 1] ? `${number.format(joined[at + 1].least - 1)}` : `${number.format(report.longest)}`;
    const told = `${number.format(bar.least)} to ${next} tokens: ${number.format(bar.count)} samples`;
    const box = make("div", bar.count ? "bar" : "bar none");
    box.style.height = `calc((100% - 1.25rem) * ${bar.count / most})`;
    return make("li", "", [make("span", "amount", bar.count && joined.length <= 20 ? number.format(bar.count) : "", { "aria-hidden": "true" }), box], { title: told, "aria-label": told });
  }), { "aria-label": "Samples by length" });
  const every = Math.ceil(joined.length / 8);
  const axis = make("ol", "axis", joined.map((bar, at) => make("li", "", at % every ? "" : number.format(bar.least))), { "aria-hidden": "true" });
  const facts = [["shortest", report.shortest], ["median, about", quantile(report.bins, 0.5)], ["90 % up to about", quantile(report.bins, 0.9)],
    ["99 % up to about", quantile(report.bins, 0.99)], ["longest", report.longest]];
  return panel("Lengths", "Samples by their number of tokens, on a logarithmic scale.", [
    chart, axis,
    make("dl", "quantiles", facts.map(([name, value]) => make("div", "", [make("dt", "", name), make("dd", "", number.format(value))]))),
  ]);
}

function cells(values, tag = "td") {
  return values.map(([content, className = ""]) => make(tag, className, content, tag === "th" ? { scope: "col" } : {}));
}

function roles(report) {
  const total = report.roles.reduce((sum, row) => sum + row.tokens, 0);
  const rows = report.roles.map((row) => {
    const pieces = [["of-trained", row.trained, "trained on"], ["of-body", row.body - Math.min(row.body, row.trained), "body, not trained on"],
      ["of-scaffold", row.tokens - Math.max(row.body, row.trained), "scaffold"]];
    const told = pieces.map(([, count, name]) => `${percent(count / Math.max(row.tokens, 1))} ${name}`).join(", ");
    const share = make("div", "share", pieces.map(([name, count]) => {
      const piece = make("span", name);
      piece.style.width = `${(100 * count) / Math.max(row.tokens, 1)}%`;
      return piece;
    }), { role: "img", "aria-label": told, title: told });
    return make("tr", "", cells([
      [make("span", "role", row.role, { "data-role": row.role })], [number.format(row.tokens), "n"], [percent(row.tokens / total), "n"],
      [number.format(row.body), "n"], [number.format(row.trained), "n"], [share],
    ]));
  });
  const head = make("thead", "", make("tr", "", cells([["role"], ["tokens", "n"], ["of all", "n"], ["body", "n"], ["trained on", "n"], ["of the role's tokens"]], "th")));
  const key = make("div", "key", [["of-trained", "trained on"], ["of-body", "body, not trained on"], ["of-scaffold", "scaffold"]].map(([name, meaning]) => make("span", "", [make("i", name), meaning])));
  return panel("Tokens by role", "Whose tokens they are, and which of them are trained on.", [key, make("div", "scroll", make("table", "", [head, make("tbody", "", rows)]), { tabindex: "0", role: "group", "aria-label": "Tokens by role" })]);
}

function rejections(report) {
  if (!report.rejected) return [];
  return [panel("Rejected lines", "Reasons that differ only in numbers and values are one kind. The rejects file has every line.", report.kinds.map((row) =>
    make("details", "kind", [
      make("summary", "", [make("b", "", number.format(row.count)), row.kind]),
      make("ul", "", row.examples.map((example) => make("li", "", [`line ${number.format(example.line)}: ${example.reason}`, make("code", "", [...shownText(example.beginning, "", false)])]))),
    ])))];
}

function samples(report) {
  return make("div", "pair", report.lists.filter((list) => list.rows.length).map((list) => panel(list.title, list.lead, make("div", "scroll", make("table", "", [
    make("thead", "", make("tr", "", cells([["sample"], ["tokens", "n"], ["trained on", "n"]], "th"))),
    make("tbody", "", list.rows.map((row) => {
      const name = `line ${number.format(row.line)}` + (row.index ? `, sample ${row.index + 1}` : "");
      return make("tr", "", cells([[make("a", "", name, { href: "#" + row.at })], [number.format(row.length), "n"], [percent(row.trained / Math.max(row.length, 1)), "n"]]));
    })),
  ]), { tabindex: "0", role: "group", "aria-label": list.title }))));
}

function showReport(report) {
  main.append(headlines(report));
  if (report.notes.length) main.append(make("ul", "notes", report.notes.map((note) => make("li", "", note))));
  if (report.bins.length) main.append(lengths(report), roles(report));
  main.append(...rejections(report), samples(report));
  root.dataset.ready = "report";
}
