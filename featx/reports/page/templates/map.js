// Maps of images: points on a canvas that the reader moves, zooms and selects by mouse, finger or keyboard.
const MAP_COLOURS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#999999", "#b8a90c"];
const MAP_SIGNS = ["■", "□", "×"];
const MAP_RANGE = 65535;
const MAP_MARGIN = 16;
const MAP_PICTURE_PX = 96;
const MAP_HELP =
  "Map of images. Arrow keys move the box, [ and ] change its size, Enter selects the images in it, " +
  "plus and minus zoom, 0 shows all, Escape clears the selection.";

const shapeOf = (code) => Math.floor(code / MAP_COLOURS.length) % MAP_SIGNS.length;
const decodeNumbers = (text) => new Uint16Array(Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0)).buffer);

function addElement(parent, tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  parent.append(element);
  return element;
}

function isInside(polygon, x, y) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [xi, yi] = polygon[i];
    const [xj, yj] = polygon[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}

class ImageMap {
  constructor(block) {
    this.data = JSON.parse(block.querySelector('script[type="application/json"]').textContent);
    this.points = decodeNumbers(this.data.points);
    this.colourings = this.data.colours.map((item) => ({ ...item, codes: decodeNumbers(item.codes) }));
    this.selected = new Set();
    this.hidden = new Set();
    this.pointers = new Map();
    this.box = { x: 0, y: 0, side: 60, isShown: false };
    this.atlas = Object.assign(new Image(), { src: this.data.atlas });
    this.build(block);
    this.listen();
    this.chooseColouring(0);
    this.select([], true);
    this.status.textContent = "";
    new ResizeObserver(() => this.resize()).observe(this.frame);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  build(block) {
    const bar = addElement(block, "div", { className: "map-bar" });
    if (this.colourings.length) {
      const list = addElement(addElement(bar, "label", {}, "Colour by "), "select");
      for (const [value, item] of this.colourings.entries()) addElement(list, "option", { value }, item.name);
      list.addEventListener("change", () => this.chooseColouring(Number(list.value)));
    }
    const addButton = (parent, text, action) => {
      const button = addElement(parent, "button", { type: "button" }, text);
      button.addEventListener("click", action);
      return button;
    };
    this.isLasso = false;
    const lasso = addButton(bar, "Lasso", () => {
      this.isLasso = !this.isLasso;
      lasso.ariaPressed = String(this.isLasso);
    });
    lasso.ariaPressed = "false";
    addButton(bar, "Zoom in", () => this.zoom(1.5, this.width / 2, this.height / 2));
    addButton(bar, "Zoom out", () => this.zoom(1 / 1.5, this.width / 2, this.height / 2));
    addButton(bar, "Show all", () => this.reset());
    addButton(bar, "Clear the selection", () => this.select([], true));
    this.frame = addElement(block, "div", { className: "map-frame" });
    this.canvas = addElement(this.frame, "canvas", { tabIndex: 0, role: "application", ariaLabel: MAP_HELP });
    this.context = this.canvas.getContext("2d");
    this.tip = addElement(this.frame, "div", { className: "map-tip", hidden: true });
    this.picture = addElement(this.tip, "canvas", { width: MAP_PICTURE_PX, height: MAP_PICTURE_PX });
    this.tipText = addElement(this.tip, "span", { dir: "auto" });
    this.legend = addElement(block, "ul", { className: "map-legend" });
    this.status = addElement(block, "output", { className: "map-status", ariaLive: "polite" });
    this.details = addElement(block, "details", { className: "map-selection" });
    this.summary = addElement(this.details, "summary");
    this.area = addElement(this.details, "textarea", { readOnly: true, rows: 6, ariaLabel: "Selected ids" });
    addButton(this.details, "Copy the ids", () => {
      this.area.select();
      this.status.textContent = document.execCommand("copy") ? `${this.selected.size} ids copied` : "not copied";
    });
    this.link = addElement(this.details, "a", { download: "selected_ids.txt" }, "Download the ids");
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.width = this.frame.clientWidth;
    this.height = Math.round(Math.min(600, Math.max(320, this.width * 0.65)));
    Object.assign(this.canvas, { width: this.width * ratio, height: this.height * ratio });
    this.canvas.style.height = `${this.height}px`;
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.reset();
  }

  reset() {
    this.scale = [(this.width - 2 * MAP_MARGIN) / MAP_RANGE, (this.height - 2 * MAP_MARGIN) / MAP_RANGE];
    this.origin = [MAP_MARGIN, MAP_MARGIN];
    Object.assign(this.box, { x: this.width / 2, y: this.height / 2 });
    this.draw();
  }

  zoom(factor, x, y) {
    this.origin = [x - (x - this.origin[0]) * factor, y - (y - this.origin[1]) * factor];
    this.scale = this.scale.map((value) => value * factor);
    this.draw();
  }

  move(dx, dy) {
    this.origin = [this.origin[0] + dx, this.origin[1] + dy];
    this.draw();
  }

  place(i) {
    const x = this.origin[0] + this.points[2 * i] * this.scale[0];
    return [x, this.origin[1] + (MAP_RANGE - this.points[2 * i + 1]) * this.scale[1]];
  }

  // Visit the images that are not hidden, with their places on the canvas.
  visit(action) {
    const codes = this.colouring?.codes;
    for (let i = 0; i < this.data.ids.length; i++) {
      if (!codes || !this.hidden.has(codes[i])) action(...this.place(i), i, codes ? codes[i] : 0);
    }
  }

  rowsWhere(test) {
    const rows = [];
    this.visit((x, y, i) => test(x, y) && rows.push(i));
    return rows;
  }

  chooseColouring(number) {
    this.colouring = this.colourings[number];
    this.hidden.clear();
    this.legend.replaceChildren();
    (this.colouring?.values ?? []).forEach((name, code) => {
      const button = addElement(addElement(this.legend, "li"), "button", { type: "button", ariaPressed: "true" });
      const sign = addElement(button, "span", { ariaHidden: "true" }, MAP_SIGNS[shapeOf(code)]);
      sign.style.color = MAP_COLOURS[code % MAP_COLOURS.length];
      addElement(button, "span", { dir: "auto" }, name);
      button.addEventListener("click", () => {
        if (!this.hidden.delete(code)) this.hidden.add(code);
        button.ariaPressed = String(!this.hidden.has(code));
        this.draw();
      });
    });
    this.draw();
  }

  draw() {
    if (this.width === undefined) return;
    const context = this.context;
    const zoomed = (this.scale[0] * MAP_RANGE) / (this.width - 2 * MAP_MARGIN);
    const r = Math.min(5, (this.data.ids.length > 5000 ? 1.2 : 2.2) * Math.sqrt(Math.max(1, zoomed)));
    // One path for each colour, of the images that are not selected and of those that are.
    const layers = [new Map(), new Map()];
    this.visit((x, y, i, code) => {
      if (x < -r || y < -r || x > this.width + r || y > this.height + r) return;
      const paths = layers[Number(this.selected.has(i))];
      if (!paths.has(code)) paths.set(code, new Path2D());
      const path = paths.get(code);
      if (shapeOf(code) < 2) return path.rect(x - r, y - r, 2 * r, 2 * r);
      for (const side of [-r, r]) {
        path.moveTo(x - r, y - side);
        path.lineTo(x + r, y + side);
      }
    });
    context.clearRect(0, 0, this.width, this.height);
    for (const [code, path, isSelected] of layers.flatMap((paths, k) => [...paths].map((item) => [...item, k]))) {
      context.globalAlpha = isSelected ? 1 : this.selected.size ? 0.2 : 0.8;
      context.fillStyle = context.strokeStyle = MAP_COLOURS[code % MAP_COLOURS.length];
      context.lineWidth = 1.5;
      shapeOf(code) ? context.stroke(path) : context.fill(path);
    }
    context.globalAlpha = 1;
    context.strokeStyle = getComputedStyle(this.canvas).color;
    context.beginPath();
    for (const [k, [x, y]] of (this.outline ?? []).entries()) context[k ? "lineTo" : "moveTo"](x, y);
    const { x, y, side } = this.box;
    if (this.box.isShown) context.rect(x - side / 2, y - side / 2, side, side);
    context.stroke();
  }

  select(rows, isNew) {
    if (isNew) this.selected.clear();
    for (const i of rows) this.selected.add(i);
    const ids = [...this.selected].map((i) => this.data.ids[i]);
    this.area.value = ids.join("\n");
    this.summary.textContent = this.status.textContent = `${ids.length} images selected`;
    URL.revokeObjectURL(this.link.href);
    this.link.href = URL.createObjectURL(new Blob([ids.map((id) => `${id}\n`).join("")], { type: "text/plain" }));
    if (rows.length) this.details.open = true;
    this.draw();
  }

  describe(i) {
    const values = this.colourings.map((item) => `${item.name}: ${item.values[item.codes[i]]}`);
    return [this.data.ids[i], ...values].join("; ");
  }

  showTip(x, y) {
    let nearest = { distance: 10 };
    this.visit((px, py, i) => {
      const distance = Math.hypot(px - x, py - y);
      if (distance < nearest.distance) nearest = { i, distance };
    });
    this.tip.hidden = nearest.i === undefined;
    if (this.tip.hidden) return;
    const { tile, columns, atlas } = this.data;
    const source = [(nearest.i % columns) * tile, Math.floor(nearest.i / columns) * tile, tile, tile];
    this.picture.hidden = !(atlas && this.atlas.complete);
    const target = [0, 0, MAP_PICTURE_PX, MAP_PICTURE_PX];
    if (!this.picture.hidden) this.picture.getContext("2d").drawImage(this.atlas, ...source, ...target);
    this.tipText.textContent = this.describe(nearest.i);
    this.tip.style.left = `${Math.max(0, Math.min(x + 14, this.width - this.tip.offsetWidth))}px`;
    this.tip.style.top = `${y > this.height / 2 ? y - this.tip.offsetHeight - 14 : y + 14}px`;
  }

  listen() {
    const canvas = this.canvas;
    const placeOf = (event) => [event.offsetX, event.offsetY];
    const listenTo = (name, action) => canvas.addEventListener(name, (event) => action(event, placeOf(event)));
    listenTo("pointerdown", (event, place) => {
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, place);
      this.outline = this.pointers.size === 1 && (this.isLasso || event.shiftKey) ? [place] : null;
      this.box.isShown = false;
    });
    listenTo("pointermove", (event, place) => {
      const previous = this.pointers.get(event.pointerId);
      const other = [...this.pointers].find(([key]) => key !== event.pointerId)?.[1];
      if (!previous) return this.showTip(...place);
      this.pointers.set(event.pointerId, place);
      if (this.outline) {
        this.outline.push(place);
        return this.draw();
      }
      if (!other) return this.move(place[0] - previous[0], place[1] - previous[1]);
      const distance = ([x, y]) => Math.max(1, Math.hypot(x - other[0], y - other[1]));
      return this.zoom(distance(place) / distance(previous), ...other);
    });
    const release = (event, place) => {
      const outline = this.outline;
      this.outline = null;
      this.pointers.delete(event.pointerId);
      if (outline?.length > 2) this.select(this.rowsWhere((x, y) => isInside(outline, x, y)), !event.shiftKey);
      else if (event.pointerType === "touch") this.showTip(...place);
      this.draw();
    };
    listenTo("pointerup", release);
    listenTo("pointercancel", release);
    listenTo("pointerleave", () => (this.tip.hidden = true));
    listenTo("keydown", (event) => this.press(event));
    // Without focus, the wheel scrolls the page.
    const turn = (event) => {
      if (document.activeElement !== canvas) return;
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, ...placeOf(event));
    };
    canvas.addEventListener("wheel", turn, { passive: false });
  }

  press(event) {
    const box = this.box;
    const isBoxed = (x, y) => 2 * Math.max(Math.abs(x - box.x), Math.abs(y - box.y)) <= box.side;
    const go = (dx, dy) => () => Object.assign(box, { x: box.x + 16 * dx, y: box.y + 16 * dy });
    const actions = {
      ArrowLeft: go(-1, 0),
      ArrowRight: go(1, 0),
      ArrowUp: go(0, -1),
      ArrowDown: go(0, 1),
      "[": () => (box.side = Math.max(8, box.side / 1.3)),
      "]": () => (box.side = Math.min(this.width, box.side * 1.3)),
      "+": () => this.zoom(1.5, box.x, box.y),
      "-": () => this.zoom(1 / 1.5, box.x, box.y),
      0: () => this.reset(),
      Enter: () => this.select(this.rowsWhere(isBoxed), false),
      Escape: () => this.select([], true),
    };
    if (!actions[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    box.isShown = true;
    actions[event.key]();
    // A box that would leave the map moves the map instead.
    const [x, y] = [Math.min(Math.max(box.x, 0), this.width), Math.min(Math.max(box.y, 0), this.height)];
    const shift = [x - box.x, y - box.y];
    Object.assign(box, { x, y });
    this.move(...shift);
    if (event.key === "Enter" || event.key === "Escape") return;
    const rows = this.rowsWhere(isBoxed);
    const first = rows.length ? `, first ${this.describe(rows[0])}` : "";
    this.status.textContent = `${rows.length} images in the box${first}`;
  }
}

for (const block of document.querySelectorAll(".map")) new ImageMap(block);
