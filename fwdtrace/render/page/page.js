// Shows each trace of the page in a view of its own. All text goes in as text, never as markup.
"use strict";

const ROWS_AT_ONCE = 500;
const ROWS_TO_BEGIN_WITH = 120;
const MOST_LINKS = 8;
const NAME_ON_ONE_LINE = 50;
const FILTERS = {
  "differences": (kind, differs) => differs, "direct": (kind) => kind.direct, "errors": (kind) => kind.error,
  "shape changes": (kind) => kind.changed,
};
const MEASURED = ["flops", "memory", "mean", "std", "min", "max", "nan", "grad"];
const COLUMNS = ["called", "input", "output", "parameters", ...MEASURED, "time", "from"];
const SORTED = ["parameters", ...MEASURED, "time"];
const TITLES = { parameters: "params", flops: "FLOPs", nan: "NaN" };
const [PARENT, KIND, SITE, PATH, NTH, OWN] = [0, 1, 2, 3, 4, 5];  // the parts of a row
const APART = "\x7f";  // between the texts in the last one
const ATTACHED = { k: 1e3, M: 1e6, B: 1e9, T: 1e12 };
const UNITS = { ms: 1e3, s: 1e6, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };

// The number that a text begins with, in one unit for a column; below all others where there is none.
function numberIn(text) {
  const [, digits, letter, unit] = /^(-?[\d.,]+(?:e-?\d+)?)([kMBT]?) ?(\S*)/.exec(text) ?? [];
  return digits ? parseFloat(digits.replaceAll(",", "")) * (ATTACHED[letter] ?? UNITS[unit] ?? 1) : -Infinity;
}

function element(name, attributes, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...content);
  return made;
}

// A text that is broken behind a sign where there is no room, not inside a word.
function breakable(text) {
  return text.split(/(?<=[_=(,])(?=\S)/).flatMap((part, place) => place ? [element("wbr"), part] : [part]);
}

// A table; more cells for each row may be given, below a title of their own.
function tableOf([title, head, rows], moreTitle, more) {
  const line = (name, cells) => element("tr", null, ...cells.map((cell) => element(name, null, ...[cell].flat())));
  const body = rows.map((texts, row) => line("td", more ? [...texts, more[row]] : texts));
  const table = element("table", null, element("tbody", null, ...body));
  const titles = more ? [...rows[0].map((_, column) => head[column] ?? ""), moreTitle] : head;
  if (titles.length) table.prepend(element("thead", null, line("th", titles)));
  return element("section", null, element("h3", null, title), element("div", { class: "scroll" }, table));
}

// The rows of a trace by their number, and how they hang together; -1 is above those that nothing called.
function rowsOf(trace) {
  const below = new Map();
  const depths = [];
  trace.rows.forEach(([parent], row) => {
    if (!below.has(parent)) below.set(parent, []);
    below.get(parent).push(row);
    depths.push(parent < 0 ? 0 : depths[parent] + 1);
  });
  const rows = {
    number: trace.rows.length,
    depths,
    folds: new Map(trace.folds.map(([after, last, ...words]) => [after, { after, last, words }])),
    parent: (row) => trace.rows[row][PARENT],
    kind: (row) => trace.kinds[trace.rows[row][KIND]],
    site: (row) => trace.sites[trace.rows[row][SITE]],
    // A number among the words of a kind is the place of a text in the row.
    text: (row, word) => typeof word === "number" ? trace.rows[row][OWN].split(APART)[word] : word ?? "",
    cell: (row, column) => column === "from" ? rows.site(row)[0] ?? "" : rows.text(row, rows.kind(row)[column]),
    tables: (row) => [...rows.kind(row).tables, ...rows.site(row).slice(1)].map(([title, head, lines]) =>
      [title, head, lines.map((line) => line.map((word) => rows.text(row, word)))]),
    children: (row) => below.get(row) ?? [],
    ancestors(row) {
      const found = [];
      for (let above = rows.parent(row); above >= 0; above = rows.parent(above)) found.push(above);
      return found;
    },
    path(row) {
      const parts = [row, ...rows.ancestors(row)].map((each) => trace.rows[each][PATH]);
      const whole = parts.findIndex((part) => !part?.startsWith("."));
      return parts.slice(0, whole + 1).reverse().join("").replace(/^\./, "");
    },
    name(row) {
      const { [PATH]: path, [NTH]: nth } = trace.rows[row];
      const kind = rows.kind(row);
      const name = kind.op ? kind.name : path === null ? `(${kind.name})` : path.replace(/^\./, "") || kind.name;
      return nth > 1 ? `${name} #${nth}` : name;
    },
    searched(row) {
      const cells = ["name", "input", "output", "from"].map((column) => rows.cell(row, column));
      return [rows.path(row), rows.name(row), ...cells].join(" ").toLowerCase();
    },
  };
  return rows;
}

// Where the data of a trace came from and where it went, by row. Each tensor has a key, another one once it was changed.
function flowOf(trace, rows) {
  const tensor = (row, leaf) => {
    if (leaf === null || leaf === "") return leaf;
    const [maker, output, writer] = [leaf].flat();
    const made = typeof maker === "number" ? row - maker : maker;
    const changed = writer === undefined ? null : row - writer;
    return { made, changed, key: `${made}.${output ?? 0} ${changed}` };
  };
  const uses = new Map();
  const usesOfChanged = new Map();
  const add = (users, key, row) => users.set(key, (users.get(key) ?? new Set()).add(row));
  trace.flow.forEach(([inputs], row) => inputs.forEach((leaf) => {
    const given = tensor(row, leaf);
    if (given) add(uses, given.key, row);
    if (given && given.changed !== null) add(usesOfChanged, given.changed, row);
  }));
  const leaves = (row, side) => (trace.flow[row]?.[side] ?? []).map((leaf) => tensor(row, leaf));
  // Who used a tensor after this row had given it; what is inside the row is not told.
  const after = (row, users) => [...users ?? []]
    .filter((user) => user > row && !rows.ancestors(user).includes(row));
  const usersOfEach = (row) => leaves(row, 1).map((given) => after(row, uses.get(given?.key)));
  return {
    inputs: (row) => leaves(row, 0),
    usersOfEach,
    // What a row wrote into it need not give: `x[0] = y` gives nothing.
    users: (row) => [...usersOfEach(row).flat(), ...after(row, usesOfChanged.get(row))],
  };
}

function view(trace) {
  const rows = rowsOf(trace);
  const flow = flowOf(trace, rows);
  const differing = new Set(trace.differs);
  const columns = COLUMNS.filter((column) => column === "from" ? trace.sites.length > 1
    : trace.kinds.some((kind) => kind[column] !== undefined));
  const findings = new Map();
  for (const finding of trace.findings) {
    for (const row of finding.rows) findings.set(row, [...findings.get(row) ?? [], finding]);
  }

  // All that the user can change; everything that is seen follows from it.
  const toggled = new Set();
  const hidesADifference = ({ after, last }) => (trace.differs ?? []).some((row) => row > after && row <= last);
  const unfolded = new Set([...rows.folds.values()].filter(hidesADifference));
  const detailed = new Set();
  const filters = new Set();
  let kept = null;
  let matches = null;
  let limit = ROWS_AT_ONCE;
  let order = null;
  let ordered = [];
  let openDepth = depthToBeginWith();
  let current = rows.children(-1)[0];
  let texts = null;

  // What is drawn below a row: rows, and a fold in place of those that it hides. An entry is a row or a fold.
  function entries(parent) {
    if (order) return parent === -1 ? ordered : [];
    const found = [];
    let hiddenTo = -1;
    for (const row of rows.children(parent)) {
      if (row <= hiddenTo || kept && !kept.has(row)) continue;
      found.push(row);
      const fold = kept ? undefined : rows.folds.get(row);
      if (!fold) continue;
      found.push(fold);
      if (!unfolded.has(fold)) hiddenTo = fold.last;
    }
    return found;
  }

  function isOpen(row) {
    return (kept !== null || rows.depths[row] < openDepth) !== toggled.has(row);
  }

  // Every entry that is seen, with its level, lazily: there may be more than a page can hold.
  function* seen() {
    const stack = [entries(-1).values()];
    while (stack.length) {
      const { value: entry, done } = stack.at(-1).next();
      if (done) {
        stack.pop();
        continue;
      }
      yield [entry, stack.length];
      if (typeof entry === "number" && isOpen(entry)) stack.push(entries(entry).values());
    }
  }

  function depthToBeginWith() {
    let level = entries(-1);
    let number = level.length;
    for (let depth = 0; level.length; depth += 1) {
      level = level.flatMap((entry) => typeof entry === "number" ? entries(entry) : []);
      number += level.length;
      if (number > ROWS_TO_BEGIN_WITH && depth) return depth;
    }
    return Infinity;
  }

  // The rows among those that are drawn which gave the chosen row its inputs, or took its outputs. A row that is not
  // drawn is stood for by the fold that hides it, or else by what called it.
  function lights(drawn) {
    if (typeof current !== "number") return new Map();
    const above = new Set([current, ...rows.ancestors(current)]);
    const standIn = (row) => {
      for (const each of [row, ...rows.ancestors(row)]) {
        if (drawn.has(each)) return above.has(each) ? undefined : each;
        for (const fold of drawn) {
          if (typeof fold === "object" && each > fold.after && each <= fold.last) return fold;
        }
      }
      return undefined;
    };
    const found = new Map();
    const light = (row, word) => {
      const entry = standIn(row);
      if (entry !== undefined) found.set(entry, (found.get(entry) ?? new Set()).add(word));
    };
    for (const given of flow.inputs(current)) {
      for (const row of given ? [given.made, given.changed] : []) if (typeof row === "number") light(row, "gives");
    }
    for (const user of flow.users(current)) light(user, "takes");
    return found;
  }

  const wordsOf = (lit) => [...lit ?? []].map((word) => element("span", { class: "flow" }, word));

  function rowLine(row, level, lit) {
    const kind = rows.kind(row);
    const isParent = entries(row).length > 0;
    const marks = trace.marks[row] ?? [];
    const titles = (findings.get(row) ?? []).map((finding) => finding.title).filter((title) => !marks.includes(title));
    const notes = [...kind.notes ?? [], ...titles];
    const label = order && rows.path(row) || rows.name(row);
    const short = label.length + kind.name.length <= NAME_ON_ONE_LINE;
    const name = element("td", { class: short ? "name short" : "name" }, element("i", { class: "twisty" }),
      element("bdi", { class: "path" }, label));
    if (trace.rows[row][PATH]) name.append(" ", element("bdi", { class: "class" }, kind.name));
    const saidBelow = !order && isOpen(row) && rows.children(row).some((each) => rows.kind(each).raised);
    if (kind.raised && !saidBelow) name.append(element("div", { class: "raised" }, `✗ ${kind.raised}`));
    const cells = columns.map((column) => {
      const text = rows.cell(row, column);
      const alarming = ["nan", "none"].includes(text) ? " alarming" : "";
      return element("td", {
        class: MEASURED.includes(column) ? `${column} measured${alarming}` : column, "data-title": TITLES[column] ?? column,
      }, ...["input", "output"].includes(column) ? breakable(text) : [text]);
    });
    return element("tr", {
      class: ["op", "direct", "error"].filter((each) => kind[each])
        .concat(matches?.has(row) ? "match" : [], differing.has(row) ? "differs" : [], marks.length ? "marked" : [])
        .concat(...lit ?? []).join(" "),
      role: "row", tabindex: -1, "aria-level": level, "aria-expanded": isParent ? String(isOpen(row)) : undefined,
    }, name, ...cells, element("td", { class: "notes" }, ...wordsOf(lit), element("b", null, marks.join(" · ")),
      marks.length && notes.length ? " · " : "", notes.join(" · ")));
  }

  function foldLine(fold, level, lit) {
    const [label, count, hidden] = fold.words;
    return element("tr", {
      class: ["fold", ...lit ?? []].join(" "), role: "row", tabindex: -1, "aria-level": level,
      "aria-expanded": String(unfolded.has(fold)),
    }, element("td", { class: "name", colspan: columns.length + 2 }, element("i", { class: "twisty" }),
      element("bdi", { class: "path" }, label), ` ${count} `, element("span", { class: "quiet" }, hidden), " ",
      ...wordsOf(lit)));
  }

  // The full name of a row, which shows it.
  function linkTo(row) {
    const { op } = rows.kind(row);
    const nth = trace.rows[row][NTH];
    const path = op ? `${rows.name(row)}, ${rows.path(rows.parent(row)) || rows.name(rows.parent(row))}`
      : rows.path(row) ? rows.path(row) + (nth > 1 ? ` #${nth}` : "") : rows.name(row);
    return element("button", { class: "plain link", click: () => reveal(row) }, path);
  }

  const outermost = (users) => users.filter((user) => !rows.ancestors(user).some((each) => users.includes(each)));
  const shortened = (links) => links.length <= MOST_LINKS ? links.map(linkTo)
    : [...links.slice(0, MOST_LINKS).map(linkTo), `…${links.length - MOST_LINKS} more`];

  function originOf(given) {
    if (given === "") return "";
    if (given === null) return "not known";
    const made = typeof given.made === "number" ? linkTo(given.made) : given.made ?? "not known";
    return given.changed === null ? [made] : [made, " changed by ", linkTo(given.changed)];
  }

  function detailTable(row, table) {
    if (trace.flow.length && table[0] === "input" && trace.flow[row][0].length === table[2].length) {
      return tableOf(table, "data from", flow.inputs(row).map(originOf));
    }
    const users = trace.flow.length && table[0] === "output" ? flow.usersOfEach(row) : [];
    const some = users.length === table[2].length && users.some((each) => each.length);
    return some ? tableOf(table, "data to", users.map((each) => shortened(outermost(each)))) : tableOf(table);
  }

  function detailLine(row) {
    const about = (findings.get(row) ?? []).map((each) => tableOf([each.title, [], [[each.message]]]));
    return element("tr", { class: "details" }, element("td", { colspan: columns.length + 2 },
      element("div", { class: "tables" }, ...about, ...rows.tables(row).map((table) => detailTable(row, table)))));
  }

  function draw() {
    const levels = new Map();
    let left = 0;
    for (const [entry, level] of seen()) {
      if (levels.size < limit) levels.set(entry, level);
      else left += 1;
    }
    const lit = lights(new Set(levels.keys()));
    const drawn = [];
    for (const [entry, level] of levels) {
      const line = (typeof entry === "number" ? rowLine : foldLine)(entry, level, lit.get(entry));
      line.entry = entry;
      line.style.setProperty("--level", Math.min(level - 1, 40));
      drawn.push(line);
      if (detailed.has(entry)) drawn.push(detailLine(entry));
    }
    body.replaceChildren(...drawn);
    more.hidden = left <= 0;
    more.textContent = `${left.toLocaleString("en")} more rows`;
    const line = lines().find((each) => each.entry === current) ?? lines()[0];
    if (line) line.tabIndex = 0;
    const number = rows.number.toLocaleString("en");
    count.textContent = matches ? `${matches.size.toLocaleString("en")} of ${number} rows` : `${number} rows`;
  }

  const lines = () => [...body.children].filter((line) => line.entry !== undefined);

  function focus(entry) {
    current = entry;
    draw();
    const line = lines().find((each) => each.entry === entry);
    line?.focus({ preventScroll: true });
    line?.scrollIntoView({ block: "nearest" });
  }

  function flip(set, entry) {
    if (!set.delete(entry)) set.add(entry);
  }

  function openOrClose(entry) {
    flip(typeof entry === "number" ? toggled : unfolded, entry);
    focus(entry);
  }

  // Keeps what the search and the filters match, and what called it.
  function keep() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    matches = null;
    if (words.length || filters.size) {
      texts ??= trace.rows.map((_, row) => rows.searched(row));
      matches = new Set();
      trace.rows.forEach((_, row) => {
        const isKind = [...filters].every((filter) => FILTERS[filter](rows.kind(row), differing.has(row)));
        if (isKind && words.every((word) => texts[row].includes(word))) matches.add(row);
      });
    }
    kept = matches && new Set([...matches].flatMap((row) => [row, ...rows.ancestors(row)]));
    putInOrder();
    toggled.clear();
    limit = ROWS_AT_ONCE;
    draw();
  }

  // Rows by the number in a column, the largest first, with their whole names; without an order they are a tree.
  function putInOrder() {
    if (!order) return;
    const numbers = new Map(trace.rows.map((_, row) => [row, numberIn(rows.cell(row, order.column))]));
    const found = [...numbers.keys()].filter((row) => numbers.get(row) > -Infinity && (!matches || matches.has(row)));
    ordered = found.sort((row, other) => (numbers.get(other) - numbers.get(row)) * (order.ascending ? -1 : 1) || row - other);
  }

  // Once for the largest first, once more for the smallest, and again for the tree.
  function orderBy(column) {
    const again = order?.column === column;
    order = again && order.ascending ? null : { column, ascending: again };
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    if (order) {
      heads[columns.indexOf(column) + 1].setAttribute("aria-sort", order.ascending ? "ascending" : "descending");
    }
    putInOrder();
    limit = ROWS_AT_ONCE;
    draw();
  }

  // Shows a row wherever it is: everything above it opens.
  function reveal(row) {
    order = null;
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    search.value = "";
    filters.clear();
    chips.forEach((chip) => chip.setAttribute("aria-pressed", "false"));
    keep();
    for (const each of [row, ...rows.ancestors(row)]) {
      if (each !== row && !isOpen(each)) toggled.add(each);
      for (const fold of rows.folds.values()) {
        if (each > fold.after && each <= fold.last && rows.parent(each) === rows.parent(fold.after)) unfolded.add(fold);
      }
    }
    let place = 0;
    for (const [entry] of seen()) {
      place += 1;
      if (entry === row) break;
    }
    limit = Math.max(limit, place + ROWS_AT_ONCE);
    detailed.add(row);
    focus(row);
  }

  function openTo(depth) {
    openDepth = depth;
    toggled.clear();
    draw();
  }

  function pressed(event) {
    const line = event.target.closest("tr");
    if (event.target !== line || event.ctrlKey || event.metaKey || event.altKey) return;
    const { entry } = line;
    const all = lines();
    const place = all.indexOf(line);
    const expanded = line.getAttribute("aria-expanded");
    const to = (other) => other && focus(other.entry);
    const actions = {
      ArrowDown: () => to(all[place + 1]),
      ArrowUp: () => to(all[place - 1]),
      ArrowRight: () => expanded === "false" ? openOrClose(entry) : expanded === "true" && to(all[place + 1]),
      ArrowLeft: () => expanded === "true" ? openOrClose(entry) : rows.parent(entry) >= 0 && focus(rows.parent(entry)),
      Home: () => to(all[0]),
      End: () => to(all.at(-1)),
      Enter: () => clicked(event),
      " ": () => clicked(event),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }

  function clicked(event) {
    const line = event.target.closest("tr");
    if (line?.entry === undefined || String(getSelection())) return;
    const { entry } = line;
    const isTwisty = event.target.classList.contains("twisty") && line.hasAttribute("aria-expanded");
    if (typeof entry !== "number" || isTwisty) {
      openOrClose(entry);
      return;
    }
    flip(detailed, entry);
    focus(entry);
  }

  const search = element("input", { type: "search", placeholder: "search   /", "aria-label": "search", input: keep,
    keydown: (event) => {
      if (!["Escape", "ArrowDown", "Enter"].includes(event.key)) return;
      event.preventDefault();
      if (event.key === "Escape") {
        search.value = "";
        keep();
      }
      focus(event.key === "Escape" ? current : lines()[0]?.entry);
    } });
  const filtersShown = Object.entries(FILTERS).filter(([name]) => trace.differs || name !== "differences");
  const chips = filtersShown.map(([name, isKind]) => {
    const number = trace.rows.filter((_, row) => isKind(rows.kind(row), differing.has(row))).length;
    return element("button", { "aria-pressed": "false", disabled: !number, click: ({ currentTarget }) => {
      flip(filters, name);
      currentTarget.setAttribute("aria-pressed", filters.has(name));
      keep();
    } }, `${name} ${number.toLocaleString("en")}`);
  });
  const count = element("span", { class: "quiet", "aria-live": "polite" });
  const body = element("tbody", { keydown: pressed, click: clicked });
  const more = element("button", { class: "more", click: () => {
    limit += ROWS_AT_ONCE;
    draw();
  } });
  const heads = ["module", ...columns, ""].map((column) => {
    const title = TITLES[column] ?? column;
    return element("th", { class: MEASURED.includes(column) ? `${column} measured` : column }, SORTED.includes(column)
      ? element("button", { class: "sort", title: `sort by ${title}`, click: () => orderBy(column) }, title) : title);
  });
  const place = element("main", null,
    element("h1", null, element("bdi", null, ...breakable(trace.title))),
    element("p", { class: "facts" }, trace.facts.map((fact) => fact.replaceAll(" ", "\u00a0")).join(" · ")),
    ...trace.happened.map((text) => element("p", { class: "facts" }, text)),
    element("ul", { class: "findings", hidden: !trace.findings.length }, ...trace.findings.map((finding) => element("li", null,
      element("button", { disabled: !finding.rows.length, click: () => reveal(finding.rows[0]) }, finding.title), " ",
      element("span", { class: "quiet" }, finding.from), element("p", null, finding.message)))),
    element("div", { class: "toolbar" }, search, ...chips,
      element("button", { class: "plain", click: () => openTo(Infinity) }, "open all"),
      element("button", { class: "plain", click: () => openTo(1) }, "close all"), count),
    element("table", { class: "tree", role: "treegrid", "aria-label": trace.title },
      element("thead", null, element("tr", { role: "row" }, ...heads)), body),
    more, element("div", { class: "tables" }, ...trace.tables.map((table) => tableOf(table))));
  draw();
  return { place, search, reveal };
}

// What the page holds; a large one is compressed.
async function held() {
  const { type, textContent } = document.getElementById("data");
  if (type === "application/json") return JSON.parse(textContent);
  const bytes = Uint8Array.from(atob(textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
}

// A table of what is apart in two runs: a row leads to both sides.
function apartTable({ heads, apart }, views) {
  if (!apart.length) return [];
  const used = heads.map((_, place) => apart.some(([cells]) => cells[place]));
  const kept = (cells) => cells.filter((_, place) => used[place]);
  const lines = apart.map(([cells, first, second]) => {
    const lead = () => [second, first].forEach((row, side) => row !== null && views[1 - side].reveal(row));
    const [name, ...rest] = kept(cells);
    const button = element("button", { class: "plain link", click: lead, disabled: first === null && second === null }, name);
    return element("tr", null, element("td", null, button), ...rest.map((cell) => element("td", null, cell)));
  });
  return [element("div", { class: "apart" }, element("table", null,
    element("thead", null, element("tr", null, ...kept(heads).map((head) => element("th", null, head)))),
    element("tbody", null, ...lines)))];
}

// What is in columns must not wrap on a narrow page, as sentences do.
function paragraphs(text) {
  const inColumns = (paragraph) => /\S {3,}\S/.test(paragraph);
  return text.split("\n\n").map((each) => element("pre", { class: inColumns(each) && "table" }, each));
}

function show({ comparison, traces }) {
  const views = traces.map(view);
  const charts = document.querySelectorAll(".growth");
  if (!comparison) views[0].place.querySelector(".findings").before(...charts);
  if (comparison) {
    document.body.append(element("header", null,
      element("h1", { class: comparison.equal ? "same" : "raised" }, comparison.verdict), ...charts,
      ...apartTable(comparison, views), ...paragraphs(comparison.text)));
  }
  document.body.append(element("div", { class: "views" }, ...views.map(({ place }) => place)));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.tagName === "INPUT") return;
    event.preventDefault();
    views[0].search.focus();
  });
}

held().then(show);
