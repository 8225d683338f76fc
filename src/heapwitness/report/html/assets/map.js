(() => {
  /* A place in a heap is one number: its pools lie one behind the other, without what is between them. */
  const MOST_BYTES = 512, TARGET = 28, WIDE_BYTE = 15;
  const STATES = { u: "live", f: "free", c: "cached", l: "header lost" };
  const HUES = [211, 28, 145, 275, 52, 330, 182, 100, 4, 240, 75, 305];
  const amount = (n) => {
    if (n < 10000) return n.toLocaleString("en") + (n === 1 ? " byte" : " bytes");
    const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let power = 0;
    while (n >= 1024 && power < 4) { n /= 1024; power++; }
    return n.toFixed(1) + " " + units[power];
  };

  /* --- the heap as numbers --- */
  const load = (data) => {
    let base = 0;
    const heap = { pools: [], size: 0, data };
    for (const pool of data.pools) {
      const one = { ...pool, base, big: BigInt(pool.address), stretches: [] };
      for (const stretch of pool.stretches) {
        const starts = new Float64Array(stretch.sizes.length + 1);
        starts[0] = stretch.at + base;
        stretch.sizes.forEach((size, i) => { starts[i + 1] = starts[i] + size; });
        one.stretches.push({ ...stretch, starts, count: stretch.sizes.length, pool: one });
      }
      heap.pools.push(one);
      base += pool.size;
    }
    heap.size = base;
    heap.stretches = heap.pools.flatMap((pool) => pool.stretches);
    heap.places = data.places.map((one) => ({ ...one, from: heap.pools[one.pool].base + one.at }));
    heap.known = new Map();
    for (const one of data.bytes) {
      for (let i = 0; i < one.actual.length / 2; i++) {
        heap.known.set(heap.pools[one.pool].base + one.at + i, [one.actual.substr(2 * i, 2), one.expected.substr(2 * i, 2)]);
      }
    }
    return heap;
  };
  const poolAt = (heap, at) => {
    let low = 0, high = heap.pools.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (heap.pools[middle].base <= at) low = middle; else high = middle - 1;
    }
    return heap.pools[low];
  };
  const address = (heap, at) => {
    const pool = poolAt(heap, at);
    return "0x" + (pool.big + BigInt(Math.floor(at - pool.base))).toString(16);
  };
  const nodeAt = (heap, at) => {
    for (const stretch of heap.stretches) {
      const starts = stretch.starts;
      if (at < starts[0] || at >= starts[stretch.count]) continue;
      let low = 0, high = stretch.count - 1;
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (starts[middle] <= at) low = middle; else high = middle - 1;
      }
      return { stretch, index: low, from: starts[low], to: starts[low + 1] };
    }
    return null;
  };
  const binAt = (heap, at) => {
    const pool = poolAt(heap, at), index = Math.min(Math.floor((at - pool.base) / pool.width), pool.live.length - 1);
    const from = pool.base + index * pool.width;
    return { pool, index, from, to: Math.min(from + pool.width, pool.base + pool.size) };
  };

  /* --- one map on a page --- */
  const Map_ = (section) => {
    const pick = (what) => section.querySelector(what);
    const heap = load(JSON.parse(pick(".heap-data").textContent));
    const canvas = pick(".map"), context = canvas.getContext("2d");
    const colours = pick(".colours"), jumps = pick(".jumps"), range = pick(".range"), key = pick(".key"), block = pick(".block");
    let view = { from: 0, to: heap.size }, cursor = null, colour = {}, layout = null;

    const readColours = () => {
      const style = getComputedStyle(document.documentElement);
      for (const name of ["card", "ink", "soft", "line", "bad", "bad-back", "used", "free", "cached", "lost", "header", "backup", "slack-back", "mono", "link"]) {
        colour[name] = style.getPropertyValue("--" + name).trim();
      }
      colour.slack = colour["slack-back"];
      colour.dark = matchMedia("(prefers-color-scheme: dark)").matches;
    };
    const hue = (index) => {
      if (index === undefined || index < 0) return colour.soft;
      const ring = Math.floor(index / HUES.length) % 3;
      return "hsl(" + HUES[index % HUES.length] + " " + (colour.dark ? 45 : 50) + "% " + (colour.dark ? 52 + ring * 9 : 42 + ring * 12) + "%)";
    };
    const fill = (state, site, owner) => {
      if (state !== "u") return { f: colour.free, c: colour.cached, l: colour.lost }[state];
      if (colours.value === "site") return hue(site);
      if (colours.value === "owner") return hue(owner);
      return colour.used;
    };

    const measure = () => {
      const width = canvas.clientWidth, height = canvas.clientHeight, ratio = devicePixelRatio || 1;
      if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(height * ratio);
      }
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      const span = view.to - view.from;
      let rows = Math.max(1, Math.floor(height / TARGET)), each = span / rows;
      const most = Math.max(16, 16 * Math.floor(width / (16 * WIDE_BYTE)));
      /* A row is a whole number of bytes; close up, one of granules, and rows are as many as that takes. */
      each = Math.ceil(each);
      if (each < 4 * most) { each = Math.max(most, 16 * Math.ceil(each / 16)); rows = Math.ceil(span / each); }
      layout = { width, height, rows, each, tall: Math.min(height / rows, 2 * TARGET), scale: width / each };
    };
    /* The closest that one can get: rows of bytes that can be read. */
    const least = () => {
      const across = Math.max(16, 16 * Math.floor(canvas.clientWidth / (16 * WIDE_BYTE)));
      return Math.min(heap.size, MOST_BYTES, across * Math.max(1, Math.floor(canvas.clientHeight / TARGET)));
    };
    const placeOf = (x, y) => {
      const row = Math.min(layout.rows - 1, Math.max(0, Math.floor(y / layout.tall)));
      return Math.min(view.to - 1, view.from + row * layout.each + x / layout.scale);
    };
    /* Calls draw(x, y, width, begins) for each row that a stretch of the heap lies in. */
    const pieces = (from, to, draw) => {
      let at = Math.max(from, view.from);
      const end = Math.min(to, view.to);
      while (at < end) {
        const row = Math.min(layout.rows - 1, Math.floor((at - view.from) / layout.each));
        const start = view.from + row * layout.each, stop = Math.min(end, start + layout.each);
        if (stop <= at) return;
        draw((at - start) * layout.scale, row * layout.tall, (stop - at) * layout.scale, at === from);
        at = stop;
      }
    };

    const drawBins = () => {
      const gap = layout.tall > 8 ? 3 : 1, high = layout.tall - gap;
      const step = Math.max(2, layout.width / Math.ceil(layout.width / 2)) / layout.scale;
      for (let row = 0; row < layout.rows; row++) {
        let at = view.from + row * layout.each;
        const stop = Math.min(view.to, at + layout.each), start = at;
        while (at < stop) {
          const first = binAt(heap, at);
          /* What is narrower than a pixel is summed up, what is wider is one. */
          const next = Math.min(stop, Math.max(first.to, at + step));
          let sums = { u: 0, f: 0, c: 0, l: 0 }, all = 0, bin = first, best = first, most = -1;
          for (;;) {
            const pool = bin.pool, i = bin.index;
            sums.u += pool.live[i]; sums.f += pool.free[i]; sums.c += pool.cached[i]; sums.l += pool.lost[i];
            all += bin.to - bin.from;
            if (pool.live[i] > most) { most = pool.live[i]; best = bin; }
            if (bin.to >= next || bin.to >= heap.size) break;
            bin = binAt(heap, bin.to);
          }
          const x = (at - start) * layout.scale, wide = (next - at) * layout.scale + 0.5;
          let y = row * layout.tall;
          for (const state of ["l", "u", "c", "f"]) {
            if (!sums[state]) continue;
            const part = Math.max(state === "l" ? 2 : 0, high * sums[state] / all);
            context.fillStyle = fill(state, best.pool.sites[best.index], best.pool.owners[best.index]);
            context.fillRect(x, y, wide, part);
            y += part;
          }
          at = next;
        }
      }
    };
    const drawNodes = () => {
      const gap = layout.tall > 8 ? 3 : 1, high = layout.tall - gap, scale = layout.scale;
      let drawn = 0;
      for (const stretch of heap.stretches) {
        if (stretch.starts[stretch.count] <= view.from || stretch.starts[0] >= view.to) continue;
        const first = nodeAt(heap, Math.max(view.from, stretch.starts[0]));
        for (let i = first.index; i < stretch.count && stretch.starts[i] < view.to; i++) {
          const from = stretch.starts[i], to = stretch.starts[i + 1], state = stretch.states[i];
          const edge = (to - from) * scale > 4 ? 1 : 0;
          context.fillStyle = fill(state, stretch.sites[i], stretch.owners[i]);
          pieces(from, to, (x, y, wide, begins) => {
            context.clearRect(x, y, wide, high);
            context.fillRect(x + (begins ? edge : 0), y, Math.max(0.5, wide - (begins ? edge : 0)), high);
          });
          drawn++;
          if (scale * 16 < 4) continue;
          let behind = from;
          for (const [name, offset, size] of stretch.pool.parts) {
            context.fillStyle = colour[name];
            pieces(from + offset, from + offset + size, (x, y, wide) => { context.fillRect(x + 1, y, wide - 1, high / 3.5); });
            behind = Math.max(behind, from + offset + size);
          }
          if (state === "u" && behind + stretch.requested[i] < to) {
            context.fillStyle = colour.slack;
            pieces(behind + stretch.requested[i], to, (x, y, wide) => { context.fillRect(x, y, wide, high); });
          }
        }
      }
      return drawn;
    };
    const drawBytes = () => {
      if (layout.scale < 13) return;
      context.font = Math.min(13, layout.scale * 0.75) + "px " + colour.mono;
      context.textAlign = "center";
      context.textBaseline = "middle";
      const high = layout.tall - 3;
      for (let at = Math.floor(view.from); at < view.to; at++) {
        const known = heap.known.get(at);
        pieces(at, at + 1, (x, y, wide) => {
          context.strokeStyle = colour.card;
          context.globalAlpha = 0.35;
          context.strokeRect(x + 0.5, y + 0.5, wide, high);
          context.globalAlpha = 1;
          if (!known) return;
          context.fillStyle = colour.card;
          context.fillRect(x + 1, y + high * 0.28, wide - 1, high * 0.72);
          context.fillStyle = damaged(at) && known[0] !== known[1] ? colour.bad : colour.ink;
          context.fillText(known[0], x + wide / 2, y + high * 0.64);
        });
      }
    };
    const damaged = (at) => heap.places.some((one) => at >= one.from && at < one.from + one.length);
    const drawPlaces = () => {
      context.strokeStyle = colour.bad;
      context.lineWidth = 2;
      for (const one of heap.places) {
        const least = 5 / layout.scale, from = one.from, to = Math.max(one.from + one.length, one.from + least);
        pieces(from, to, (x, y, wide) => {
          context.strokeRect(x - 1, y, Math.max(wide, 4) + 2, layout.tall - 3);
        });
      }
    };
    const drawCursor = () => {
      if (cursor === null) return;
      const there = nodeAt(heap, cursor) || binAt(heap, cursor);
      context.strokeStyle = colour.ink;
      context.lineWidth = 2;
      pieces(there.from, there.to, (x, y, wide) => context.strokeRect(x + 1, y + 1, Math.max(2, wide - 2), layout.tall - 5));
    };
    const draw = () => {
      const started = performance.now();
      measure();
      context.clearRect(0, 0, layout.width, layout.height);
      drawBins();
      const nodes = drawNodes();
      drawBytes();
      drawPlaces();
      drawCursor();
      Object.assign(canvas.dataset, {
        from: view.from, to: view.to, nodes, size: heap.size, places: heap.places.length, took: (performance.now() - started).toFixed(1),
      });
      range.textContent = address(heap, view.from) + " to " + address(heap, view.to - 1) + ", " + amount(Math.round(view.to - view.from))
        + (view.to - view.from < heap.size ? " of " + amount(heap.size) : "") + "; a row is " + amount(Math.round(layout.each));
      drawKey();
    };

    const drawKey = () => {
      const chosen = colours.value;
      const entries = chosen === "state" ? [["live", colour.used]]
        : (chosen === "site" ? heap.data.names : heap.data.owners).slice(0, 8).map((name, i) => [name || "not known", hue(i)]);
      entries.push(["free", colour.free]);
      if (heap.pools.some((pool) => pool.cached.some(Boolean))) entries.push(["cached", colour.cached]);
      if (heap.pools.some((pool) => pool.lost.some(Boolean))) entries.push(["header lost", colour.lost]);
      if (layout.scale * 16 >= 4 && heap.pools.length) for (const name of [...heap.pools[0].parts.map(([part]) => part), "slack"]) entries.push([name, colour[name]]);
      if (heap.places.length) entries.push(["found", colour.bad]);
      key.replaceChildren(...entries.map(([name, of]) => {
        const item = document.createElement("li"), space = "http://www.w3.org/2000/svg";
        const picture = document.createElementNS(space, "svg"), box = document.createElementNS(space, "rect");
        box.setAttribute("width", "100%");
        box.setAttribute("height", "100%");
        box.setAttribute("fill", of);
        picture.append(box);
        item.append(picture, name);
        return item;
      }));
    };

    const say = (lines, stack, finding) => {
      const words = lines.map((line) => Object.assign(document.createElement("p"), { textContent: line }));
      if (stack && stack.length) {
        const list = document.createElement("ol");
        list.append(...stack.map((line) => {
          const item = document.createElement("li");
          item.append(Object.assign(document.createElement("code"), { textContent: line }));
          return item;
        }));
        words.push(list);
      }
      for (const one of finding) {
        const link = Object.assign(document.createElement("a"), { href: "#finding-" + one.finding, textContent: "finding: " + one.kind });
        link.addEventListener("click", () => { const found = document.getElementById("finding-" + one.finding); if (found) found.open = true; });
        words.push(link);
      }
      block.replaceChildren(...words);
      block.hidden = false;
    };
    const tell = () => {
      const node = nodeAt(heap, cursor);
      if (!node) {
        const { pool, index, from, to } = binAt(heap, cursor);
        const parts = [["live", pool.live], ["free", pool.free], ["cached", pool.cached], ["lost", pool.lost]].filter(([, of]) => of[index]);
        say([
          address(heap, from) + " to " + address(heap, to - 1) + ": " + pool.blocks[index].toLocaleString("en") + " blocks begin here",
          parts.map(([name, of]) => amount(of[index]) + " " + name).join(", ") || "nothing but control data",
          "Single blocks are known around what was found, and where the heap is small.",
        ], heap.data.sites[pool.sites[index]], []);
        return;
      }
      const { stretch, index, from, to } = node, state = stretch.states[index];
      const start = stretch.pool.parts.reduce((most, [, offset, size]) => Math.max(most, offset + size), 0);
      const owner = stretch.owners.length && stretch.owners[index] >= 0 ? ", task " + heap.data.owners[stretch.owners[index]] : "";
      const site = heap.data.sites[stretch.sites[index]];
      say([
        address(heap, from + start) + ": " + amount(stretch.requested[index]) + ", " + STATES[state] + owner
          + " (a node of " + amount(to - from) + " at " + address(heap, from) + ")",
        ...(site ? [(state === "u" ? "allocated" : "released") + " by"] : []),
      ], site, heap.places.filter((one) => one.from < to && one.from + one.length > from));
    };

    const show = (from, to) => {
      const span = Math.min(heap.size, Math.max(least(), to - from));
      const start = Math.max(0, Math.min(heap.size - span, from));
      const from16 = span < 65536 ? 16 * Math.floor(start / 16) : Math.floor(start);
      view = { from: from16, to: from16 + Math.ceil(span) };
      view.to = Math.min(view.to, heap.size);
      draw();
    };
    const zoom = (factor, about) => {
      const span = view.to - view.from, at = about === undefined ? (cursor === null ? (view.from + view.to) / 2 : cursor) : about;
      const share = Math.min(1, Math.max(0, (at - view.from) / span));
      show(at - share * span * factor, at - share * span * factor + span * factor);
    };
    const select = (at) => {
      cursor = Math.min(heap.size - 1, Math.max(0, at));
      const span = view.to - view.from;
      if (cursor < view.from || cursor >= view.to) show(cursor - span / 2, cursor + span / 2); else draw();
      tell();
    };

    canvas.addEventListener("keydown", (event) => {
      const here = cursor === null ? view.from : cursor;
      const there = nodeAt(heap, here) || binAt(heap, here);
      const does = {
        "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "0": () => show(0, heap.size),
        ArrowRight: () => select(cursor === null ? view.from : there.to), ArrowLeft: () => select(there.from - 1),
        ArrowDown: () => select(here + layout.each), ArrowUp: () => select(here - layout.each),
        Enter: () => { const room = Math.max(there.to - there.from, 128); cursor = there.from; show(there.from - room, there.to + room); tell(); },
      }[event.key];
      if (!does || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      does();
    });
    let held = null;
    canvas.addEventListener("pointerdown", (event) => { held = { x: event.offsetX, y: event.offsetY, view: { ...view }, moved: false }; });
    canvas.addEventListener("pointermove", (event) => {
      if (!held || !event.buttons) return;
      const x = event.offsetX - held.x, y = event.offsetY - held.y;
      if (!held.moved && Math.abs(x) + Math.abs(y) < 6) return;
      held.moved = true;
      const by = -x / layout.scale - Math.round(y / layout.tall) * layout.each;
      show(held.view.from + by, held.view.to + by);
    });
    canvas.addEventListener("click", (event) => { if (!held || !held.moved) select(placeOf(event.offsetX, event.offsetY)); held = null; });
    canvas.addEventListener("dblclick", (event) => zoom(0.25, placeOf(event.offsetX, event.offsetY)));
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      zoom(event.deltaY > 0 ? 1.25 : 0.8, placeOf(event.offsetX, event.offsetY));
    }, { passive: false });
    pick(".in").addEventListener("click", () => zoom(0.25));
    pick(".out").addEventListener("click", () => zoom(4));
    pick(".whole").addEventListener("click", () => { if (jumps) jumps.value = ""; show(0, heap.size); });
    colours.addEventListener("change", draw);
    if (jumps) {
      jumps.addEventListener("change", () => {
        if (jumps.value === "") return show(0, heap.size);
        const place = heap.places[Number(jumps.value)];
        const length = Math.min(place.length, 2048), room = Math.max(32, (least() - length) / 2);
        cursor = place.from;
        show(place.from - room, place.from + length + room);
        tell();
      });
    }
    for (const one of [pick(".tools"), canvas, range, key]) one.hidden = false;
    readColours();
    draw();
    new ResizeObserver(draw).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); draw(); });
  };
  for (const section of document.querySelectorAll(".heap")) Map_(section);
})();
