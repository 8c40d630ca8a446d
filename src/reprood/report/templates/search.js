// Search over claims, papers, benchmarks and methods; the index is a script, so that it works from a folder.
const box = document.getElementById("search"), list = document.getElementById("found");
let loading = null;
const index = () => loading ??= new Promise(resolve => {
  const script = document.createElement("script");
  script.src = box.dataset.root + "assets/index.js";
  script.onload = () => resolve(window.reproodIndex);
  document.head.append(script);
});
box.addEventListener("input", async () => {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  const entries = words.length ? await index() : [];
  const found = entries.filter(entry => words.every(word => (entry.kind + " " + entry.text).toLowerCase().includes(word)));
  list.replaceChildren(...found.slice(0, 12).map(entry => {
    const item = document.createElement("li"), link = document.createElement("a"), kind = document.createElement("small");
    link.href = box.dataset.root + entry.page; link.textContent = entry.text; kind.textContent = entry.kind;
    item.append(kind, " ", link);
    return item;
  }));
  if (words.length && !found.length) list.append(Object.assign(document.createElement("li"), {textContent: "Nothing found."}));
  list.hidden = !words.length;
});
// One menu is open at a time; Escape closes menus and results.
const menus = [...document.querySelectorAll("details.menu")];
for (const menu of menus) menu.addEventListener("toggle", () => { if (menu.open) for (const other of menus) if (other !== menu) other.open = false; });
document.addEventListener("keydown", event => { if (event.key === "Escape") { menus.forEach(menu => menu.open = false); list.hidden = true; } });
document.addEventListener("click", event => { for (const menu of menus) if (!menu.contains(event.target)) menu.open = false; });
