"use strict";
(() => {
  const D = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const COSTS = Object.keys(D.costs);
  const FAILED = ["error", "diverged", "timeout", "killed", "unsupported"];
  const SHOWN = 200; // rows of a table before it asks

  // -- numbers -------------------------------------------------------------------------------------------------------

  const number = (x, digits = 3) => {
    if (x === null || x === undefined) return "–";
    if (!Number.isFinite(x)) return "never";
    const size = Math.abs(x);
    const rounded = +x.toPrecision(digits);
    return size !== 0 && (size < 1e-3 || size >= 1e5) ? rounded.toExponential() : String(rounded);
  };

  const median = (values) => {
    const v = values.filter((x) => x !== null).sort((a, b) => a - b);
    if (!v.length) return null;
    return (v[(v.length - 1) >> 1] + v[v.length >> 1]) / 2;
  };

  // Wilson 1927; see usd_bench/analysis/statistics.py.
  const wilson = (k, n) => {
    const z = 1.959963984540054, p = k / n, shrink = 1 / (1 + z * z / n);
    const centre = (p + z * z / (2 * n)) * shrink;
    const half = z * Math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) * shrink;
    return [Math.max(0, centre - half), Math.min(1, centre + half)];
  };

  // -- state ---------------------------------------------------------------------------------------------------------

  const fill = (id, options, chosen) => {
    $(id).replaceChildren(...options.map(([value, text]) => {
      const option = document.createElement("option");
      option.value = value;
      option.textContent = text;
      return option;
    }));
    $(id).value = chosen;
  };

  const chosen = () => ({
    problem: $("problem").value === "" ? null : +$("problem").value,
    method: $("method").value === "" ? null : +$("method").value,
    target: +$("target").value,
    cost: $("cost").value,
    measure: $("measure").value,
    search: $("search").value.trim().toLowerCase(),
  });

  const selected = (state) => D.runs.filter((run) =>
    (state.problem === null || run.problem === state.problem) &&
    (state.method === null || run.method === state.method) &&
    (!state.search || [run.id, run.reason, D.settings[run.settings], run.status, D.methods[run.method], D.instances[run.problem]]
      .some((text) => String(text).toLowerCase().includes(state.search))));

  // What the run cost until the target, Infinity if it never got there; and in all.
  const reached = (run, state) => run.hits[state.target] ? run.hits[state.target][COSTS.indexOf(state.cost)] : Infinity;
  const spent = (run, state) => ({ time_solve_s: run.time_solve_s, iteration: run.iterations, work: run.work })[state.cost] ?? 0;

  const groupBy = (items, key) => items.reduce((map, item) => {
    const k = key(item);
    if (!map.has(k)) map.set(k, []);
    map.get(k).push(item);
    return map;
  }, new Map());

  // -- tables --------------------------------------------------------------------------------------------------------

  const table = (id, columns, rows, all = false) => {
    const element = $(id), sort = element.sort;
    if (sort) {
      const value = columns[sort.column].value;
      rows = [...rows].sort((a, b) => sort.sign * compare(value(a), value(b)));
    }
    const head = document.createElement("tr");
    columns.forEach((column, i) => {
      const cell = document.createElement("th"), button = document.createElement("button");
      cell.scope = "col";
      button.type = "button";
      button.textContent = column.name;
      button.onclick = () => {
        element.sort = { column: i, sign: sort && sort.column === i ? -sort.sign : 1 };
        table(id, columns, rows, all);
      };
      if (sort && sort.column === i) cell.ariaSort = sort.sign > 0 ? "ascending" : "descending";
      cell.append(button);
      head.append(cell);
    });
    const body = (all ? rows : rows.slice(0, SHOWN)).map((row) => {
      const line = document.createElement("tr");
      for (const column of columns) {
        const cell = document.createElement("td");
        cell.textContent = (column.show ?? column.value)(row) ?? "–";
        if (column.long) cell.className = "long";
        line.append(cell);
      }
      return line;
    });
    const thead = document.createElement("thead"), tbody = document.createElement("tbody");
    thead.append(head);
    tbody.append(...body);
    element.replaceChildren(thead, tbody);
    element.parentElement.querySelector(".more")?.remove();
    if (!all && rows.length > SHOWN) {
      const more = document.createElement("button");
      more.className = "more";
      more.textContent = `show all ${rows.length}`;
      more.onclick = () => table(id, columns, rows, true);
      element.after(more);
    }
    if (!rows.length) {
      const line = document.createElement("tr"), cell = document.createElement("td");
      cell.textContent = "none";
      line.append(cell);
      tbody.append(line);
    }
  };

  const compare = (a, b) => {
    if (a === b) return 0;
    if (a === null || a === undefined) return 1;
    if (b === null || b === undefined) return -1;
    return a < b ? -1 : 1;
  };

  // -- who is best ---------------------------------------------------------------------------------------------------

  const ranked = (runs, state) => {
    const rows = [];
    for (const [key, group] of groupBy(runs, (run) => `${run.problem}|${run.method}`)) {
      const [problem, method] = key.split("|").map(Number);
      const costs = group.map((run) => reached(run, state)), hits = costs.filter(Number.isFinite);
      const total = group.reduce((sum, run, i) => sum + (Number.isFinite(costs[i]) ? costs[i] : spent(run, state)), 0);
      rows.push({
        problem, method, runs: group, n: group.length, solved: hits.length,
        rate: wilson(hits.length, group.length), expected: hits.length ? total / hits.length : Infinity,
        median: median(group.map((run) => run.residual ?? Infinity)),
        digits: median(group.map((run) => run.lam_digits)),
      });
    }
    const best = new Map();
    for (const row of rows) best.set(row.problem, Math.min(best.get(row.problem) ?? Infinity, row.expected));
    for (const row of rows) row.ratio = Number.isFinite(row.expected) ? row.expected / best.get(row.problem) : Infinity;
    return rows.sort((a, b) => a.problem - b.problem || a.expected - b.expected || a.median - b.median);
  };

  const showRanking = (runs, state) => {
    const rows = ranked(runs, state), target = number(D.targets[state.target]);
    table("ranking", [
      { name: "problem", value: (r) => D.instances[r.problem] },
      { name: "solver", value: (r) => D.methods[r.method] },
      { name: "solved", value: (r) => r.solved / r.n, show: (r) => `${r.solved} of ${r.n}` },
      { name: "rate", value: (r) => r.rate[0], show: (r) => r.rate.map((x) => x.toFixed(2)).join(" … ") },
      { name: `expected ${D.costs[state.cost]}`, value: (r) => r.expected, show: (r) => number(r.expected) },
      { name: "× best", value: (r) => r.ratio, show: (r) => number(r.ratio) },
      { name: "median residual", value: (r) => r.median, show: (r) => number(r.median, 2) },
      { name: "digits of λ", value: (r) => r.digits, show: (r) => r.digits === null ? "–" : r.digits.toFixed(1) },
    ], rows);
    const answer = $("answer");
    answer.replaceChildren();
    const problems = [...new Set(rows.map((row) => row.problem))];
    if (problems.length !== 1) {
      const best = problems.map((p) => rows.find((row) => row.problem === p)).filter((row) => row.solved);
      const wins = groupBy(best, (row) => row.method);
      const most = [...wins].sort((a, b) => b[1].length - a[1].length)[0];
      answer.textContent = most
        ? `${D.methods[most[0]]} has the lowest expected ${D.costs[state.cost]} to ${target} on ${most[1].length} of ${problems.length} problems. Choose one to see by how much.`
        : `No solver reaches ${target} on any problem shown.`;
      return;
    }
    const [first, second] = rows;
    if (!first.solved) {
      answer.textContent = `No solver reaches ${target} on ${D.instances[first.problem]}; the smallest median residual is ${number(first.median, 2)}, by ${D.methods[first.method]}.`;
      return;
    }
    const run = first.runs.find((r) => Number.isFinite(reached(r, state))), machine = D.environments[run.env_id] ?? {};
    const behind = second && second.solved ? `; ${D.methods[second.method]} takes ${number(second.ratio)} times as much` : "";
    const line = document.createElement("span"), command = document.createElement("code");
    line.textContent = `${D.methods[first.method]}: ${first.solved} of ${first.n} runs to ${target}, expected ${number(first.expected)} ${D.costs[state.cost]}${behind}. ` +
      `On ${machine.cpu ?? run.device}, ${run.threads} thread${run.threads === 1 ? "" : "s"}, commit ${run.commit}. Again: `;
    command.textContent = `usd-bench reproduce ${run.id.slice(0, 10)}`;
    answer.append(line, command);
  };

  // -- figures -------------------------------------------------------------------------------------------------------

  const colour = (method) => `hsl(${(method * 137.5) % 360} 65% ${matchMedia("(prefers-color-scheme: dark)").matches ? 62 : 42}%)`;
  const dash = (method) => [[], [6, 3], [2, 3], [8, 3, 2, 3]][Math.floor(method / 6) % 4];
  const plots = {};

  // ``series``: [{method, columns: [x, y] or [x, y, low, high]}]
  const plot = (id, series, labels, logarithmic, stepped) => {
    const figure = $(id);
    plots[id]?.destroy();
    delete plots[id];
    figure.replaceChildren();
    if (!series.length) {
      figure.textContent = "Nothing to draw in this selection.";
      return;
    }
    const style = getComputedStyle(document.documentElement);
    const axis = (label) => ({
      label, stroke: style.getPropertyValue("--soft"), labelSize: 20, font: "12px system-ui", labelFont: "12px system-ui",
      grid: { stroke: style.getPropertyValue("--line"), width: 0.5 },
      values: (_, ticks) => ticks.map((tick) => tick === null ? "" : number(tick, 2)),
    });
    const options = {
      width: Math.max(280, figure.clientWidth), height: 360, legend: { live: false },
      scales: {
        x: { time: false, distr: logarithmic[0] ? 3 : 1 },
        y: { distr: logarithmic[1] ? 3 : 1, ...(logarithmic[1] === false ? { range: [0, 1.02] } : {}) }, // shares
      },
      axes: [axis(labels[0]), { ...axis(labels[1]), size: 64 }],
      series: [{ label: labels[0] }], bands: [],
    };
    for (const { method, columns } of series) {
      const at = options.series.length, line = { stroke: colour(method), dash: dash(method), spanGaps: true, points: { show: false } };
      if (stepped) line.paths = uPlot.paths.stepped({ align: 1 });
      options.series.push({ ...line, label: D.methods[method], width: 2 });
      if (columns.length === 4) {
        options.series.push({ ...line, label: "", width: 0 }, { ...line, label: "", width: 0 });
        options.bands.push({ series: [at + 2, at + 1], fill: colour(method).replace(")", " / 0.12)") });
      }
    }
    plots[id] = new uPlot(options, uPlot.join(series.map((s) => s.columns)), figure);
    const rows = figure.querySelectorAll(".u-series");
    options.series.forEach((one, i) => { if (!one.label) rows[i - 1]?.remove(); }); // the edges of bands; x has no row
    figure.append(download(id, series, labels));
  };

  const download = (id, series, labels) => {
    const link = document.createElement("a"), lines = [["solver", ...labels, "low", "high"].join(",")];
    for (const { method, columns } of series) {
      columns[0].forEach((_, i) => lines.push([JSON.stringify(D.methods[method]), ...columns.map((c) => c[i] ?? "")].join(",")));
    }
    link.href = "data:text/csv;charset=utf-8," + encodeURIComponent(lines.join("\n"));
    link.download = `${id}.csv`;
    link.textContent = "data of this figure (CSV)";
    return link;
  };

  const showCurves = (runs, state) => {
    const problem = state.problem ?? Math.min(...runs.map((run) => run.problem), D.instances.length - 1);
    const known = D.curves[state.measure]?.[state.cost]?.[problem] ?? {};
    const series = Object.keys(known).map(Number).filter((m) => runs.some((run) => run.problem === problem && run.method === m))
      .map((method) => ({ method, columns: known[method].map((column) => column.map((x) => x === 0 ? 1e-17 : x)) }));
    $("curve-note").textContent = `${D.instances[problem] ?? ""}: ${D.measures[state.measure]}, median over seeds with a 95 % bootstrap band.`;
    plot("curves", series, [D.costs[state.cost], D.measures[state.measure]], [true, true], false);
  };

  const showProfiles = (runs, state) => {
    const cells = [...groupBy(runs, (run) => `${run.problem}|${run.seed}`).values()];
    const methods = [...new Set(runs.map((run) => run.method))].sort((a, b) => a - b);
    const ratios = new Map(methods.map((m) => [m, []])), costs = new Map(methods.map((m) => [m, []]));
    for (const cell of cells) {
      const best = Math.min(...cell.map((run) => reached(run, state)));
      for (const run of cell) {
        const cost = reached(run, state);
        if (!Number.isFinite(cost)) continue;
        ratios.get(run.method).push(best > 0 ? cost / best : cost > 0 ? Infinity : 1);
        costs.get(run.method).push(cost);
      }
    }
    // Of its own cells: a deterministic solver has one seed where others have several.
    const cellsOf = (m) => runs.filter((run) => run.method === m).length;
    const steps = (values, m) => {
      const v = values.filter(Number.isFinite).sort((a, b) => a - b), n = cellsOf(m);
      return [v.map((x) => Math.max(x, 1e-9)), v.map((_, i) => (i + 1) / n)];
    };
    const unique = ([x, y]) => x.reduce(([a, b], value, i) => (a.at(-1) === value ? b[b.length - 1] = y[i] : (a.push(value), b.push(y[i])), [a, b]), [[], []]);
    const extended = (map) => {
      const most = Math.max(...[...map.values()].flat().filter(Number.isFinite), 1e-9);
      return methods.filter((m) => map.get(m).some(Number.isFinite)).map((m) => {
        const [x, y] = unique(steps(map.get(m), m));
        if (x.at(-1) < most) { x.push(most); y.push(y.at(-1)); }
        return { method: m, columns: [x, y] };
      });
    };
    plot("profile", extended(ratios), [`${D.costs[state.cost]} over the least`, "share"], [true, false], true);
    plot("ecdf", extended(costs), [D.costs[state.cost], "share"], [true, false], true);
  };

  // -- the rest ------------------------------------------------------------------------------------------------------

  const showExponents = (runs) => {
    const rows = [...groupBy(runs, (run) => run.problem)].map(([problem, group]) => {
      const best = group.filter((run) => run.residual !== null).sort((a, b) => a.residual - b.residual)[0];
      return { problem, known: group.find((run) => run.lam_ref !== null)?.lam_ref ?? null, best };
    });
    table("exponents", [
      { name: "problem", value: (r) => D.instances[r.problem] },
      { name: "λ known", value: (r) => r.known, show: (r) => r.known === null ? "–" : String(r.known) },
      { name: "λ of the smallest residual", value: (r) => r.best?.lam ?? null, show: (r) => r.best ? r.best.lam.toPrecision(13) : "–" },
      { name: "digits", value: (r) => r.best?.lam_digits ?? null, show: (r) => r.best?.lam_digits?.toFixed(1) ?? "–" },
      { name: "residual", value: (r) => r.best?.residual ?? null, show: (r) => number(r.best?.residual, 2) },
      { name: "solver", value: (r) => r.best ? D.methods[r.best.method] : null },
    ], rows);
  };

  const showRuns = (runs) => {
    const failed = runs.filter((run) => FAILED.includes(run.status));
    table("failures", [
      { name: "run", value: (r) => r.id.slice(0, 8) },
      { name: "problem", value: (r) => D.instances[r.problem] },
      { name: "solver", value: (r) => D.methods[r.method] },
      { name: "seed", value: (r) => r.seed },
      { name: "status", value: (r) => r.status },
      { name: "reason", value: (r) => r.reason, long: true },
    ], failed);
    table("runs", [
      { name: "run", value: (r) => r.id.slice(0, 8) },
      { name: "problem", value: (r) => D.instances[r.problem] },
      { name: "solver", value: (r) => D.methods[r.method] },
      { name: "seed", value: (r) => r.seed },
      { name: "status", value: (r) => r.status },
      { name: "λ", value: (r) => r.lam, show: (r) => r.lam === null ? "–" : r.lam.toFixed(10) },
      { name: "digits", value: (r) => r.lam_digits, show: (r) => r.lam_digits === null ? "–" : r.lam_digits.toFixed(1) },
      { name: "residual", value: (r) => r.res_max, show: (r) => number(r.res_max, 2) },
      { name: "error", value: (r) => r.err_max, show: (r) => number(r.err_max, 2) },
      { name: "iterations", value: (r) => r.iterations },
      { name: "seconds", value: (r) => r.time_solve_s, show: (r) => number(r.time_solve_s) + (r.contended ? "*" : "") },
    ], runs);
  };

  // Viridis at nine places, by Smith & van der Walt (CC0); straight lines between.
  const VIRIDIS = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37]];
  const shade = (share) => {
    const at = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1), i = Math.min(Math.floor(at), VIRIDIS.length - 2);
    return VIRIDIS[i].map((from, c) => from + (at - i) * (VIRIDIS[i + 1][c] - from));
  };

  const heat = (name, picture) => {
    const figure = document.createElement("figure"), canvas = document.createElement("canvas"), caption = document.createElement("figcaption");
    const values = picture.fields[name], flat = values.flat(), low = Math.min(...flat), high = Math.max(...flat);
    canvas.className = "heat";
    [canvas.width, canvas.height] = [values.length, values[0].length];
    const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
    values.forEach((column, i) => column.forEach((value, j) => {
      const at = 4 * ((canvas.height - 1 - j) * canvas.width + i); // the second coordinate upwards
      image.data.set([...shade((value - low) / (high - low || 1)), 255], at);
    }));
    context.putImageData(image, 0, 0);
    const [across, up] = picture.axes.map((axis) => `${number(axis[0])} … ${number(axis.at(-1))}`);
    caption.textContent = `${name}: ${number(low)} (dark) … ${number(high)}; ${picture.coords[0]} ${across}, ${picture.coords[1]} ${up} upwards`;
    figure.setAttribute("role", "img");
    figure.setAttribute("aria-label", caption.textContent);
    figure.append(canvas, caption);
    return figure;
  };

  const spectrumOf = (known) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), [w, h] = [420, 220];
    const shown = known.eigenvalues.filter(([re]) => re > -2), most = Math.max(1.2, ...shown.map(([re]) => re));
    const height = Math.max(0.5, ...shown.map(([, im]) => Math.abs(im)));
    const x = (re) => 30 + (w - 60) * (re + 2) / (most + 2), y = (im) => h / 2 - (h / 2 - 20) * im / height;
    const add = (tag, attributes, text = "") => {
      const element = document.createElementNS(svg.namespaceURI, tag);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      element.textContent = text;
      svg.append(element);
    };
    svg.setAttribute("viewBox", `0 0 ${w} ${h}`);
    svg.setAttribute("width", w);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `Eigenvalues; unstable: ${known.unstable.map(([re]) => number(re, 6)).join(", ") || "none"}`);
    add("line", { x1: x(-2), x2: x(most), y1: h / 2, y2: h / 2, stroke: "var(--line)" });
    add("line", { x1: x(0), x2: x(0), y1: 10, y2: h - 10, stroke: "var(--line)" });
    for (const [re, im] of shown) {
      const unstable = known.unstable.some(([a, b]) => a === re && b === im);
      add("circle", { cx: x(re), cy: y(im), r: 4, fill: unstable ? "var(--accent)" : "none", stroke: "var(--ink)" });
    }
    for (const re of [-2, -1, 0, 1]) add("text", { x: x(re) - 4, y: h - 2 }, re);
    return svg;
  };

  const showPictures = (runs, state) => {
    const known = runs.filter((run) => D.profiles?.[run.id]).sort((a, b) => a.problem - b.problem);
    $("pictures").hidden = !known.length;
    $("fields").replaceChildren();
    $("spectrum").replaceChildren();
    if (!known.length) return;
    const run = known[0], picture = D.profiles[run.id];
    $("profile-note").textContent = `${D.instances[run.problem]} by ${D.methods[run.method]}, λ = ${run.lam}, residual ${number(run.res_max, 2)}: the best run with a stored profile.`;
    for (const name of Object.keys(picture.fields)) {
      if (picture.coords.length > 1) {
        $("fields").append(heat(name, picture));
        continue;
      }
      const figure = document.createElement("figure");
      figure.id = `field-${name}`;
      $("fields").append(figure);
      plot(figure.id, [{ method: run.method, columns: [picture.axes[0], picture.fields[name]] }], [picture.coords[0], name], [false, null], false);
    }
    if (picture.spectrum) $("spectrum").append(spectrumOf(picture.spectrum));
  };

  const showEnvironments = () => {
    const used = groupBy(D.runs, (run) => `${run.env_id}|${run.commit}|${run.threads}|${run.device}`);
    table("environments", [
      { name: "runs", value: (r) => r.runs.length },
      { name: "processor", value: (r) => r.record.cpu ?? "–" },
      { name: "cores", value: (r) => r.record.cores ?? "–" },
      { name: "threads", value: (r) => r.runs[0].threads },
      { name: "device", value: (r) => r.runs[0].device },
      { name: "commit", value: (r) => r.runs[0].commit },
      { name: "python", value: (r) => r.record.python ?? "–" },
      { name: "torch", value: (r) => r.record.torch ?? "–" },
      { name: "system", value: (r) => r.record.system ?? "–" },
    ], [...used.values()].map((runs) => ({ runs, record: D.environments[runs[0].env_id] ?? {} })));
  };

  const draw = () => {
    const state = chosen(), runs = selected(state);
    showRanking(runs, state);
    showExponents(runs);
    showRuns(runs);
    // Tables first: a page that can be read need not wait for its figures.
    requestAnimationFrame(() => setTimeout(() => { showCurves(runs, state); showProfiles(runs, state); showPictures(runs, state); }));
  };

  const solvedAt = (k) => D.runs.filter((run) => run.hits[k]).length;
  const start = D.targets.findLastIndex((_, k) => solvedAt(k) >= Math.max(1, D.runs.length / 4));
  fill("problem", [["", "all"], ...D.instances.map((name, i) => [i, name])], "");
  fill("method", [["", "all"], ...D.methods.map((name, i) => [i, name])], "");
  fill("target", D.targets.map((target, i) => [i, number(target)]), Math.max(start, 0));
  fill("cost", Object.entries(D.costs), COSTS[0]);
  fill("measure", Object.entries(D.measures), Object.keys(D.measures)[0]);
  const counts = groupBy(D.runs, (run) => run.status);
  $("summary").textContent = `${D.runs.length} runs: ` + [...counts].map(([status, group]) => `${group.length} ${status}`).join(", ") + ".";
  // The selection is in the address, so that it can be linked to: #problem=burgers[order=0]&target=1e-6
  const NAMED = { problem: D.instances, method: D.methods, target: D.targets };
  const remember = () => {
    const parameters = new URLSearchParams();
    for (const id of ["problem", "method", "target", "cost", "measure", "search"]) {
      if ($(id).value !== "") parameters.set(id, NAMED[id] ? NAMED[id][+$(id).value] : $(id).value);
    }
    history.replaceState(null, "", `#${parameters}`);
  };
  for (const [id, value] of new URLSearchParams(location.hash.slice(1))) {
    if (!$(id) || !$("filters").contains($(id))) continue;
    const at = NAMED[id] ? NAMED[id].findIndex((known) => String(known) === value || known === +value) : value;
    if (at !== -1) $(id).value = at;
  }
  $("filters").addEventListener("input", () => { remember(); draw(); });
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  let resized;
  addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(draw, 200); });
  showEnvironments();
  draw();
})();
