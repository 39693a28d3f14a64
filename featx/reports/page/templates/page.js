// Tables: a button in each heading sorts the rows, and check boxes choose the columns.
function cellValue(row, position) {
  const cell = row.cells[position];
  const number = cell.dataset.value === undefined ? NaN : Number.parseFloat(cell.dataset.value);
  return cell.dataset.value === undefined ? cell.textContent.trim() : number;
}

function compareValues(one, other) {
  if (typeof one === "string") return one.localeCompare(other, undefined, { numeric: true });
  if (Number.isNaN(one) || Number.isNaN(other)) return Number.isNaN(one) - Number.isNaN(other);
  return one - other;
}

function sortRows(table, heading) {
  const direction = heading.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", direction);
  const body = table.tBodies[0];
  const isMissing = (value) => typeof value === "number" && Number.isNaN(value);
  const rows = [...body.rows].sort((one, other) => {
    const values = [cellValue(one, heading.cellIndex), cellValue(other, heading.cellIndex)];
    const order = compareValues(...values);
    return direction === "ascending" || values.some(isMissing) ? order : -order;
  });
  body.append(...rows);
}

function prepareTable(block) {
  const table = block.querySelector("table");
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sortRows(table, heading));
    heading.append(button);
  }
  for (const box of block.querySelectorAll("input[data-column]")) {
    const show = () => {
      for (const cell of table.querySelectorAll(`[data-column="${box.dataset.column}"]`)) cell.hidden = !box.checked;
    };
    box.addEventListener("change", show);
    show();
  }
}

// Galleries: lists filter the images by their tags.
function prepareGallery(gallery) {
  const lists = [...gallery.querySelectorAll("select[data-filter]")];
  const output = gallery.querySelector("output");
  const items = [...gallery.querySelectorAll(".items > li")];
  const show = () => {
    for (const item of items) {
      item.hidden = lists.some((list) => list.value && item.getAttribute(`data-${list.dataset.filter}`) !== list.value);
    }
    const n = items.filter((item) => !item.hidden).length;
    output.textContent = n === 1 ? "1 image" : `${n} images`;
  };
  for (const list of lists) list.addEventListener("change", show);
}

// Confusion matrices: the link in a cell opens the images of the cell.
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.tagName === "DETAILS") target.open = true;
}

// Thresholds: the counts of each threshold are in the page; the slider chooses one, and the scores follow.
function prepareThreshold(block) {
  const slider = block.querySelector("input");
  const output = block.querySelector("output");
  const counts = JSON.parse(block.dataset.counts);
  const thresholds = JSON.parse(block.dataset.thresholds);
  const ratio = (part, whole) => (whole ? (part / whole).toFixed(3) : "–");
  const show = () => {
    const [tp, fp, fn, tn] = counts[slider.value];
    output.textContent =
      `threshold ${thresholds[slider.value].toFixed(2)}: accuracy ${ratio(tp + tn, tp + fp + fn + tn)}, ` +
      `precision ${ratio(tp, tp + fp)}, recall ${ratio(tp, tp + fn)}, specificity ${ratio(tn, tn + fp)}, ` +
      `F1 ${ratio(2 * tp, 2 * tp + fp + fn)}; ${tp} true and ${fp} false positives, ` +
      `${tn} true and ${fn} false negatives`;
  };
  slider.addEventListener("input", show);
  show();
}

for (const block of document.querySelectorAll(".table")) prepareTable(block);
for (const gallery of document.querySelectorAll(".gallery:has(.filters)")) prepareGallery(gallery);
for (const block of document.querySelectorAll(".threshold")) prepareThreshold(block);
window.addEventListener("hashchange", openTarget);
openTarget();
