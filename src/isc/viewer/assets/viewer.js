/* One sequence of tokens: messages, chunks that the browser lays out when they come near, a card for the token pointed at. */

const CHUNK = 300;  // tokens after which a chunk ends at the next line's end
const LONGEST_CHUNK = 1500;  // and where it ends without one
const SLIM = 12;  // tokens of nobody that are shown on one line with their heading
const LINE = 26;  // pixels of a line of tokens, and of a letter: what is not laid out yet is guessed to be as high as that
const LETTER = 8.2;
const SLICE = 12;  // milliseconds of building between two frames

/* Characters that are shown by their code point: controls, formats (bidi among them), private and unassigned ones, lone
   halves of pairs, spaces that look like none, and variation selectors. */
const UNSEEN = /[\p{C}\p{Zl}\p{Zp}\p{Variation_Selector}\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0]/u;
const PLAIN = /^[\x20-\x7e]+$/;
const hex = (value, width) => value.toString(16).toUpperCase().padStart(width, "0");

/* Yield the nodes of a token's text. A byte that is no character by itself is a lone surrogate from U+DC80. */
function* shownText(text, completed, whitespace) {
  let plain = "";
  let bytes = [];
  const flush = () => { const node = plain; plain = ""; return node; };
  const flushBytes = () => {
    const note = bytes.join(" ") + (completed ? "=" + completed : "");
    bytes = [];
    completed = "";
    return make("i", "code", note);
  };
  for (const character of text) {
    const point = character.codePointAt(0);
    const isByte = point >= 0xdc80 && point <= 0xdcff;
    if (!isByte && bytes.length) yield flushBytes();
    if (isByte) {
      if (plain) yield flush();
      bytes.push(hex(point - 0xdc00, 2));
    } else if (character === "\n") {
      if (plain) yield flush();
      yield make("i", "nl", "\n");
    } else if (character === "\t") {
      if (plain) yield flush();
      yield make("i", "tab", "\t");
    } else if (character === " ") {
      if (!whitespace) { plain += " "; continue; }
      if (plain) yield flush();
      yield make("i", "sp", " ");
    } else if (UNSEEN.test(character)) {
      if (plain) yield flush();
      yield make("i", "code", "U+" + hex(point, 4));
    } else {
      plain += character;
    }
  }
  if (bytes.length) yield flushBytes();
  if (plain) yield plain;
}

function utf8(text) {
  const bytes = [];
  for (const character of text) {
    const point = character.codePointAt(0);
    if (point >= 0xdc80 && point <= 0xdcff) bytes.push(point - 0xdc00);
    else bytes.push(...new TextEncoder().encode(character));
  }
  return bytes.map((byte) => hex(byte, 2)).join(" ");
}

const LIKELY = [[0.9, "90 % or more"], [0.5, "50 to 90 %"], [0.2, "20 to 50 %"], [0.05, "5 to 20 %"], [0, "below 5 %"]];
const likelihood = (logprob) => LIKELY.findIndex(([least]) => Math.exp(logprob) >= least);

const viewer = {
  sequence: null, groups: [], sections: [], current: -1, held: null, turn: 0, going: 0, letters: 80,

  close() {
    this.turn += 1;
    this.sequence = null;
    this.letGo();
    byId("subtitle").textContent = data.subtitle;
    byId("outline").replaceChildren();
  },

  open(place) {
    this.close();
    this.sequence = data.sequences[place];
    this.specials = new Set(data.specials);
    this.groups = this.grouped();
    this.current = -1;
    byId("subtitle").textContent = [data.subtitle, `${number.format(this.sequence.ids.length)} tokens`].filter(Boolean).join(" · ");
    this.drawTop(place);
    this.drawOutline();
    this.refill();
  },

  /* Messages in the order of their tokens: a message that a format splits up comes more than once. */
  grouped() {
    const groups = [];
    let start = 0;
    let trained = 0;
    const spans = this.sequence.trained || [];
    const total = this.sequence.ids.length;
    for (const [length, owner, body, part] of this.sequence.runs) {
      let group = groups.at(-1);
      if (!group || group.owner !== owner) {
        group = { owner, start, end: start, body: 0, trained: 0, runs: [] };
        groups.push(group);
      }
      group.runs.push({ start, end: start + length, body: Boolean(body), part: part || "" });
      group.body += body ? length : 0;
      start += length;
      group.end = start;
      for (; trained < spans.length && spans[trained][0] < start; trained += 1) {
        const [from, to] = spans[trained];
        group.trained += Math.min(to, start) - Math.max(from, start - length);
        if (to > start) break;
      }
    }
    const seen = new Set();
    for (const group of groups) {
      for (const [at, run] of group.runs.entries()) {  // parts of one body stand in one ribbon
        run.opens = group.runs[at - 1]?.body !== run.body;
        run.closes = group.runs[at + 1]?.body !== run.body;
      }
      const [role, tool] = group.owner < 0 ? ["nobody", null] : this.sequence.messages[group.owner];
      group.role = role;
      group.name = role;
      if (tool) group.name += ` (${tool})`;
      if (seen.has(group.owner) && group.owner >= 0) group.name += ", continued";
      seen.add(group.owner);
    }
    for (const [at, group] of groups.entries()) {
      if (group.owner >= 0) continue;
      const prompts = group.end === total || groups[at + 1].role === "assistant";
      group.name = group.start === 0 ? "opening" : prompts ? "generation prompt" : "added by the format";
    }
    return groups;
  },

  drawTop(place) {
    const parts = [];
    if (data.sequences.length > 1 && !data.report) {
      parts.push(make("nav", "tabs", data.sequences.map((sequence, at) => {
        const link = make("a", "", sequence.title, { href: "#" + at });
        if (at === place) link.setAttribute("aria-current", "page");
        return link;
      }), { "aria-label": "Sequences" }));
    }
    if (this.sequence.notes.length) parts.push(make("ul", "notes", this.sequence.notes.map((note) => make("li", "", note))));
    parts.push(make("div", "", [], { id: "legend", "aria-label": "Legend", role: "group" }));
    main.append(...parts);
    this.drawLegend();
  },

  drawLegend() {
    const legend = byId("legend");
    if (!legend) return;
    const entry = (className, text, meaning, role = "assistant") =>
      make("span", "", [make("span", "t " + className, text, { "data-role": role }), meaning]);
    const entries = [entry("s", "scaffold", "what the format adds", "nobody"), entry("s x", "special", "control token, bold in a body", "nobody")];
    const colour = root.dataset.colour;
    if (colour === "part") {
      const parts = [...new Set(this.sequence.runs.map((run) => run[3]).filter(Boolean))];
      entries.push(...parts.map((part) => entry(`b first last part-${part}`, part.replaceAll("_", " "), "")));
    } else if (colour === "logprob") {
      entries.push(...LIKELY.map(([, meaning], at) => entry(`b first last p${at}`, "token", meaning)));
    } else {
      entries.push(entry("b first last", "body", "what a message says", "user"));
    }
    if (this.sequence.trained) entries.push(entry("b l first last", "trained", "on a thick line"));
    legend.replaceChildren(...entries);
  },

  drawOutline() {
    const links = this.groups.map((group, at) => {
      const link = make("a", "", [
        make("span", "number", group.owner < 0 ? "–" : String(group.owner)), make("span", "who", group.name),
        make("span", "count", number.format(group.end - group.start)),
      ], { href: "#", "data-role": group.role, title: `${number.format(group.end - group.start)} tokens` });
      link.addEventListener("click", (event) => { event.preventDefault(); this.show(at); });
      return link;
    });
    byId("outline").replaceChildren(...links);
  },

  /* Build all messages, a few milliseconds at a time: what is far away is there to be searched, and laid out when near. */
  refill() {
    const turn = ++this.turn;
    this.letGo();
    for (const section of this.sections) section.remove();
    this.sections = this.groups.map((group, at) => this.frame(group, at));
    main.append(...this.sections);
    this.letters = Math.max(10, (main.clientWidth - 82) / LETTER);  // in a line; asked for once, since it costs a layout
    const filling = this.fill();
    const slice = () => {
      if (turn !== this.turn) return;
      const until = performance.now() + SLICE;
      let step = filling.next();
      while (!step.done && performance.now() < until) step = filling.next();
      if (!step.done) requestAnimationFrame(slice);
      else root.dataset.ready = String(turn);
    };
    delete root.dataset.ready;
    slice();
  },

  frame(group, at) {
    const slim = group.owner < 0 && group.end - group.start <= SLIM;
    const count = [`${number.format(group.end - group.start)} tokens`, `${number.format(group.body)} body`];
    if (this.sequence.trained) count.push(`${number.format(group.trained)} trained`);
    const heading = make("h2", "", [make("span", "number", group.owner < 0 ? "–" : String(group.owner)), group.name], { id: "m" + at });
    const section = make("section", "message" + (group.body ? "" : " bare") + (slim ? " slim" : ""), [
      make("header", "", [heading, make("p", "count", count.join(" · "))]), make("div", "tokens"),
    ], { "data-role": group.role, "aria-labelledby": "m" + at, tabindex: "-1" });
    section.at = at;
    return section;
  },

  *fill() {
    for (const [at, group] of this.groups.entries()) {
      const tokens = this.sections[at].lastChild;
      for (const chunk of this.chunked(group)) {
        tokens.append(chunk);
        yield;
      }
    }
  },

  /* Yield the chunks of a message. A chunk ends where a line does, since a line breaks between two. */
  *chunked(group) {
    let chunk = make("div", "chunk");
    let count = 0;
    let lines = 0;
    const ended = () => {
      chunk.style.containIntrinsicSize = `auto ${Math.ceil(lines + 0.5) * LINE}px`;
      lines = count = 0;
      return chunk;
    };
    for (const run of group.runs) {
      let block = chunk.appendChild(document.createElement("bdi"));
      for (let at = run.start; at < run.end;) {
        const [token, next] = this.token(at, run);
        block.append(token);
        at = next;
        count += 1;
        const text = this.text(at - 1);
        const ends = text.endsWith("\n");
        lines += text.length / this.letters + (ends ? 0.5 : 0);
        if ((count >= LONGEST_CHUNK || (count >= CHUNK && ends)) && at < group.end) {
          yield ended();
          chunk = make("div", "chunk");
          block = chunk.appendChild(document.createElement("bdi"));
        }
      }
    }
    yield ended();
  },

  text(at) {
    const id = this.sequence.ids[at];
    return data.texts[id] ?? "";
  },

  isTrained(at) {
    const spans = this.sequence.trained || [];
    let low = 0;
    let high = spans.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (spans[middle][1] <= at) low = middle + 1; else high = middle;
    }
    return low < spans.length && spans[low][0] <= at;
  },

  /* Make the element of a token, or of all tokens of one image, and say where the next begins. */
  token(at, run) {
    const id = this.sequence.ids[at];
    const media = this.sequence.media[at];
    const next = media ? Math.min(at + media[0], run.end) : at + 1;
    const text = this.text(at);
    const logprob = this.sequence.logprobs ? this.sequence.logprobs[at] : null;
    const token = document.createElement("span");
    token.className = (run.body ? "t b" : "t s") + (this.specials.has(id) ? " x" : "") + (this.isTrained(at) ? " l" : "")
      + (run.part ? " part-" + run.part : "") + (logprob === null ? "" : " like p" + likelihood(logprob))
      + (run.opens && at === run.start ? " first" : "") + (run.closes && next === run.end ? " last" : "") + (text.endsWith("\n") ? " eol" : "");
    token.at = at;
    token.run = run;
    if (media) token.textContent = `${text} × ${media[0]}: ${media[1]}`;
    else if (PLAIN.test(text) && root.dataset.whitespace !== "on") token.textContent = text;
    else token.append(...this.shown(at, root.dataset.whitespace === "on"));
    return [token, next];
  },

  /* The nodes of a token's text, or of what is known in its place. */
  shown(at, whitespace) {
    const id = this.sequence.ids[at];
    if (!Object.hasOwn(data.texts, id)) return [make("i", "code", `id ${id}`)];
    if (data.texts[id] === "") return [make("i", "code", "no text")];
    return [...shownText(data.texts[id], this.sequence.completed[at], whitespace)];
  },

  show(at) {
    if (at < 0 || at >= this.sections.length) return;
    this.letGo();
    this.mark(at);
    this.go(at);
    this.sections[at].focus({ preventScroll: true });
    byId("outline").classList.remove("open");
    byId("menu").setAttribute("aria-expanded", "false");
  },

  /* Scroll to a message until it stays there: what comes near is laid out, and may be higher than was guessed. */
  go(at, frames = 12) {
    const going = ++this.going;
    const section = this.sections[at];
    const step = (left, last) => {
      if (going !== this.going) return;
      section.scrollIntoView({ block: "start" });
      const place = scrollY;
      if (left && (place !== last || left > frames - 3)) requestAnimationFrame(() => step(left - 1, place));
      else this.going = 0;
    };
    step(frames, -1);
  },

  mark(at) {
    if (at === this.current) return;
    const links = byId("outline").children;
    if (this.current >= 0) {
      this.sections[this.current]?.classList.remove("current");
      links[this.current]?.removeAttribute("aria-current");
    }
    this.current = at;
    this.sections[at].classList.add("current");
    links[at].setAttribute("aria-current", "true");
    links[at].scrollIntoView({ block: "nearest" });
  },

  /* Mark the message that stands at the top of the window, found by halves: there may be thousands. */
  follow() {
    if (this.going || this.held || !this.sections.length) return;
    const top = Math.max(0, byId("bar").getBoundingClientRect().bottom) + 24;
    let low = 0;
    let high = this.sections.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.sections[middle].getBoundingClientRect().bottom <= top) low = middle + 1; else high = middle;
    }
    this.mark(low);
  },

  walkMessages(step) {
    if (!this.sequence) return;
    let next = this.current + step;
    while (this.groups[next]?.owner < 0 && this.groups[next + step]) next += step;
    this.show(Math.max(0, Math.min(this.sections.length - 1, next)));
  },

  walkTokens(step) {
    if (!this.sequence) return;
    const from = this.held ?? this.firstNear(step);
    let next = this.held ? this.neighbour(from, step) : from;
    while (next && root.dataset.scaffold === "off" && !next.run.body) next = this.neighbour(next, step);
    if (next) this.hold(next);
  },

  firstNear(step) {
    const tokens = this.sections[Math.max(this.current, 0)].getElementsByClassName("t");
    return tokens[step > 0 ? 0 : tokens.length - 1];
  },

  /* The token beside another: in its run, else in the next run, chunk or message that holds one. */
  neighbour(token, step) {
    const side = step > 0 ? "nextElementSibling" : "previousElementSibling";
    let node = token;
    while (node && node !== main) {
      const beside = node[side];
      if (!beside) { node = node.parentElement; continue; }
      const tokens = beside.classList.contains("t") ? [beside] : beside.getElementsByClassName("t");
      if (tokens.length) return tokens[step > 0 ? 0 : tokens.length - 1];
      node = beside;
    }
    return null;
  },

  hold(token) {
    this.letGo();
    this.held = token;
    token.classList.add("on");
    token.tabIndex = 0;
    token.setAttribute("aria-describedby", "card");
    this.mark(token.closest(".message").at);
    token.scrollIntoView({ block: "nearest" });
    this.point(token);
    token.focus({ preventScroll: true });
  },

  letGo() {
    byId("card").hidden = true;
    const held = this.held;
    if (!held) return false;
    this.held = null;
    held.classList.remove("on");
    held.removeAttribute("tabindex");
    held.removeAttribute("aria-describedby");
    return true;
  },

  point(token) {
    const card = byId("card");
    card.replaceChildren(make("dl", "", this.facts(token.at, token.run).flatMap(([name, value, mono]) =>
      [make("dt", "", name), make("dd", mono ? "mono" : "", value)])));
    card.hidden = false;
    const place = token.getClientRects()[0] ?? token.getBoundingClientRect();
    const below = place.bottom + 8;
    const fits = below + card.offsetHeight < innerHeight;
    card.style.top = `${Math.max(8, fits ? below : place.top - card.offsetHeight - 8)}px`;
    card.style.left = `${Math.max(8, Math.min(place.left, innerWidth - card.offsetWidth - 8))}px`;
  },

  facts(at, run) {
    const id = this.sequence.ids[at];
    const group = this.groups.find((candidate) => at < candidate.end);
    const owner = group.owner < 0 ? `nobody: ${group.name}` : `message ${group.owner}, ${group.name}`;
    const kind = run.body ? (group.role === "assistant" ? "body, sampled" : "body") : "scaffold";
    const facts = [["token", number.format(at)], ["id", String(id) + (this.specials.has(id) ? ", special" : "")]];
    if (Object.hasOwn(data.texts, id)) {
      facts.push(["text", this.shown(at, true), true], ["bytes", utf8(data.texts[id]) || "none", true]);
    }
    facts.push(["owner", owner], ["part", run.part ? `${kind}: ${run.part.replaceAll("_", " ")}` : kind]);
    if (this.sequence.trained) facts.push(["trained on", this.isTrained(at) ? "yes" : "no"]);
    const logprob = this.sequence.logprobs ? this.sequence.logprobs[at] : null;
    if (logprob !== null) facts.push(["log-prob", `${logprob.toFixed(4)} (${percent(Math.exp(logprob))})`]);
    const media = this.sequence.media[at];
    if (media) facts.push(["stands for", `${media[1]}, ${number.format(media[0])} tokens`]);
    return facts;
  },
};

main.addEventListener("pointerover", (event) => {
  const token = event.target.closest(".chunk .t");
  if (token) viewer.point(token);
  else if (viewer.held) viewer.point(viewer.held);
  else byId("card").hidden = true;
});
main.addEventListener("pointerleave", () => { if (viewer.held) viewer.point(viewer.held); else byId("card").hidden = true; });
main.addEventListener("click", (event) => {
  const token = event.target.closest(".chunk .t");
  if (token && !String(getSelection())) viewer.hold(token);
});
let following = 0;
addEventListener("scroll", () => {
  if (viewer.sequence && !following) following = requestAnimationFrame(() => { following = 0; viewer.follow(); });
  if (!viewer.held) byId("card").hidden = true;
  else if (!byId("card").hidden) viewer.point(viewer.held);
}, { passive: true });
