"""The pages in a real browser: they load from a folder, sort, filter, fit a phone, and can be read in both themes."""

import base64
import os
from itertools import pairwise
from pathlib import Path

import fabricate
import pandas as pd
import pytest
from browser import CHROMIUM, Browser

from reprood.audit.papers import Paper
from reprood.audit.verdicts import audit
from reprood.report.draw import draw_benchmark
from reprood.report.pages import write_report
from reprood.report.results import BenchmarkResults

# axe-core's file axe.min.js: of `npm install axe-core` in the checkout, or where this variable says
AXE = Path(os.environ.get("REPROOD_AXE", Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"))
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
CLAIM = {
    "metric": "top1_error", "better": "lower", "kind": "difference", "sides": [{"method": "good"}, {"method": "erm"}],
}  # fmt: skip
ARMS = ("vanilla", "cnc")
STUDIED = {
    "study": "cnc_toy", "metric": "empty_id_area", "better": "lower", "kind": "difference",
    "sides": [{"method": "cnc"}, {"method": "vanilla"}],
}  # fmt: skip
CONTRAST = """
(() => {
  const light = ([r, g, b]) => { const f = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const numbers = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const under = node => {
    for (; node; node = node.parentElement) {
      const c = numbers(getComputedStyle(node).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const low = [];
  const texts = "p, td, th, a, dt, dd, li, h1, h2, h3, span, strong, caption, summary, label, small, sup";
  for (const node of document.querySelectorAll(texts)) {
    if (![...node.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !node.offsetParent) continue;
    const a = light(numbers(getComputedStyle(node).color)), b = light(under(node));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(`${node.tagName} ${ratio.toFixed(2)} ${node.textContent.trim().slice(0, 40)}`);
  }
  return low;
})()
"""
NAMES = """
[...document.querySelectorAll("a, button, input, img, table, [role=group], [role=img]")].filter(node =>
  !(node.textContent.trim() || node.getAttribute("alt") || node.getAttribute("aria-label") || node.labels?.length
    || node.caption)).map(node => node.outerHTML.slice(0, 80))
"""
CUT = """
(() => {
  const cut = [], texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode, range = document.createRange();
    if (!/\\d/.test(node.data) || !node.parentElement.offsetParent || node.parentElement.closest(".unseen")) continue;
    let left = 0, right = document.documentElement.clientWidth;
    for (let box = node.parentElement; box; box = box.parentElement) {
      if (getComputedStyle(box).overflowX === "visible") continue;
      const around = box.getBoundingClientRect();
      left = Math.max(left, around.left), right = Math.min(right, around.right);
    }
    range.selectNodeContents(node);
    if ([...range.getClientRects()].some(r => r.left < left - 1 || r.right > right + 1)) cut.push(node.data.trim());
  }
  return cut;
})()
"""
OPEN = "document.querySelectorAll('main details').forEach(details => details.open = true)"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    suite = fabricate.results(folder, studies={"area": {"use": "cnc_toy", "title": "Toy area"}})
    rows = [("area", arm, seed, "empty_id_area", 1.0 + 2.0 * (arm == "vanilla") + 0.1 * seed) for arm in ARMS
            for seed in range(3)]  # fmt: skip
    (folder / "studies" / "area").mkdir(parents=True)
    table = pd.DataFrame(rows, columns=["study", "arm", "seed", "metric", "value"])
    table.to_csv(folder / "studies" / "area" / "values.csv", index=False)
    arms = {"good": {"means": "ours"}, "erm": {"means": "baseline"}, **{arm: {"means": arm} for arm in ARMS}}
    paper = Paper.model_validate({**fabricate.paper(CLAIM, STUDIED), "arms": arms})
    shown = BenchmarkResults("toy", suite, folder, folder / "examples.npz")
    draw_benchmark(shown, folder / "data", folder / "reports")
    audit(suite, [paper], folder, folder / "studies", folder / "verdicts.csv")
    names = write_report(
        suite,
        [paper],
        folder / "verdicts.csv",
        root=folder,
        studies=folder / "studies",
        data=folder / "data",
        figures=folder / "reports" / "figures",
        defects=Path(__file__).parents[2] / "config" / "defects.yaml",
        out=folder / "reports",
    )
    return folder / "reports", [name for name in names if name.endswith(".html")]


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


def test_every_page_loads_without_errors_and_asks_nobody(report, browser):
    folder, names = report
    for name in names:
        browser.open(folder / name)
        # lazy pictures load when they are scrolled to
        decoded = "i.decode().then(() => '', () => i.src)"
        broken = browser.run(f"Promise.all([...document.images].map(i => {{ i.loading = 'eager'; return {decoded} }}))")
        assert not [source for source in broken if source], name
        assert not browser.problems(), name


def test_tables_sort_by_numbers_and_say_how(report, browser):
    folder, _ = report
    browser.open(folder / "benchmarks" / "toy.html")
    column = (
        "[...document.querySelectorAll('#toy-classification tbody tr')].map(row => Number(row.cells[1].dataset.value))"
    )
    press = "document.querySelectorAll('#toy-classification thead button')[1].click()"
    state = "document.querySelectorAll('#toy-classification thead th')[1].getAttribute('aria-sort')"
    browser.run(press)
    up = browser.run(column)
    assert up == sorted(up)
    assert len(set(up)) > 1
    assert browser.run(state) == "ascending"
    browser.run(press)
    assert browser.run(column) == sorted(up, reverse=True)
    assert browser.run(state) == "descending"


def test_tables_filter(report, browser):
    folder, _ = report
    browser.open(folder / "benchmarks" / "toy.html")
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    shown = "[...document.querySelectorAll('#toy-detection tbody tr')].filter(row => !row.hidden).length"
    everything = browser.run(shown)
    field = "document.querySelector('[data-filter=toy-detection]')"
    browser.run(f"(i => {{ i.value = 'good &'; i.dispatchEvent(new Event('input')) }})({field})")
    some = browser.run(shown)
    assert 0 < some < everything
    count = browser.run(f"{field}.parentElement.querySelector('[aria-live=polite]').textContent")
    assert count == f"{some} of {everything} rows"
    assert browser.run(f"document.getElementById({field}.getAttribute('aria-describedby')).textContent")


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: npm install axe-core, set REPROOD_AXE")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1200, 390])
def test_axe_finds_nothing(report, browser, width, dark):
    folder, names = report
    for name in names:
        browser.open(folder / name, width=width, dark=dark)
        browser.run("document.querySelectorAll('details').forEach(d => d.open = !d.closest('nav'))")
        browser.run(AXE.read_text(encoding="utf-8") + "; true")
        found = "axe.run().then(r => r.violations.map(v => `${v.id}: ${v.nodes.map(n => n.html.slice(0, 120))}`))"
        assert browser.run(found) == [], name


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1200, 380])
def test_pages_can_be_read_in_both_themes_and_on_a_phone(report, browser, width, dark):
    folder, names = report
    for name in names:
        browser.open(folder / name, width=width, dark=dark)
        assert browser.run("document.documentElement.scrollWidth <= window.innerWidth"), (
            name
        )  # tables scroll by themselves
        assert browser.run(CONTRAST) == [], name
        assert browser.run(NAMES) == [], name


def test_no_number_is_cut_on_a_phone(report, browser):
    folder, names = report
    for name in names:
        browser.open(folder / name, width=390)
        browser.run(OPEN)
        assert browser.run(CUT) == [], name
    browser.open(folder / "studies" / "area.html", width=390)
    heads = "[...document.querySelectorAll('tbody td')].map(cell => getComputedStyle(cell, '::before').content)"
    assert browser.run(heads) == [f'"{head}"' for head in ["empty area classified as ID"] * 2]
    browser.open(folder / "benchmarks" / "toy.html", width=390)
    browser.run("document.querySelectorAll('table').forEach(table => table.removeAttribute('data-stacked'))")
    assert browser.run(CUT) != []  # the check finds them in tables that scroll


def test_what_scrolls_sideways_says_so(report, browser):
    folder, _ = report
    hint = "[...document.querySelectorAll('.picture')].map(part => [part.scrollWidth > part.clientWidth + 1, "
    hint += "getComputedStyle(part, '::before').content !== 'none'])"
    for width, scrolls in ((390, True), (1200, False)):
        browser.open(folder / "benchmarks" / "toy.html", width=width)
        browser.run(OPEN)
        found = browser.run("new Promise(done => setTimeout(done, 50)).then(() => " + hint + ")")
        assert all(overflows == has_hint for overflows, has_hint in found)
        assert any(overflows for overflows, _ in found) == scrolls


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_menus_open_inside_the_window(report, browser, width):
    folder, _ = report
    browser.open(folder / "benchmarks" / "toy.html", width=width)
    places = """[...document.querySelectorAll("details.menu")].map(menu => {
      menu.open = true;
      const list = menu.querySelector("ul").getBoundingClientRect();
      menu.open = false;
      return [list.left, list.right]; })"""
    found = browser.run(places)
    assert len(found) == 4
    assert all(0 <= left < right <= width for left, right in found)


@pytest.mark.parametrize("width", [390, 1200])
def test_the_ticks_of_the_overview_are_those_of_its_axes(report, browser, width):
    folder, _ = report
    browser.open(folder / "index.html", width=width)
    left = "[...document.querySelectorAll('.overview .{}')].map(node => node.getBoundingClientRect())"
    zeros, ticks, scales = (
        browser.run(f"{left.format(part)}.map(box => [box.left, box.right])") for part in ("zero", "scale i", "axis")
    )
    middle = [sum(tick) / 2 for tick in ticks]
    assert min(abs(place - zeros[0][0]) for place in middle) < 1.5
    assert ticks[0][0] == pytest.approx(scales[0][0], abs=1)
    assert ticks[-1][1] == pytest.approx(scales[0][1], abs=1)
    assert all(a[1] <= b[0] for a, b in pairwise(ticks)), "numbers at ticks run into each other"


def test_pages_link_both_ways_between_papers_benchmarks_studies_and_data(report, browser):
    folder, _ = report

    def links(page):
        browser.open(folder / page)
        found = browser.run("[...document.querySelectorAll('main a')].map(a => a.getAttribute('href'))")
        return {link.removeprefix("../").partition("#")[0] for link in found}

    assert {"papers/toy.html", "data.html"} <= links("benchmarks/toy.html")
    assert {"benchmarks/toy.html", "studies/area.html"} <= links("papers/toy.html")
    assert "papers/toy.html" in links("studies/area.html")
    assert "benchmarks/toy.html" in links("data.html")
    browser.open(folder / "studies" / "area.html")
    conclusion = "Empty area classified as in-distribution: No outliers 3.1, CnC 1.1; least: CnC (1.1)."
    assert browser.run("document.querySelector('#conclusion + p').textContent") == conclusion
    browser.open(folder / "benchmarks" / "toy.html")
    assert browser.run("document.querySelector('.result').textContent").startswith("Best: Good & better with MSP")


def test_everything_can_be_reached_with_the_keyboard(report, browser):
    folder, _ = report
    browser.open(folder / "benchmarks" / "toy.html")
    reachable = "[...document.querySelectorAll('a, button, summary, input')].every(node => node.tabIndex >= 0)"
    assert browser.run(reachable)
    # what scrolls is a stop with a name, what does not is none
    wrong = "[...document.querySelectorAll('.scroll, .picture')].filter(node => node.offsetParent && "
    wrong += "(node.scrollWidth > node.clientWidth + 1) !== (node.tabIndex === 0 && !!node.ariaLabel)).length"
    for width in (1200, 380):
        browser.open(folder / "benchmarks" / "toy.html", width=width)
        assert browser.run(wrong) == 0
    assert browser.run("document.querySelectorAll('[data-wide][role=group]').length") > 0
    assert browser.run("document.querySelector('.skip').getAttribute('href')") == "#content"
    order = "[...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))"
    levels = browser.run(order)
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_on_paper_the_dark_theme_and_the_navigation_are_gone(report, browser):
    folder, _ = report
    browser.open(folder / "benchmarks" / "toy.html", dark=True)
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.ask("Emulation.setEmulatedMedia", media="print", features=dark)
    assert browser.run("getComputedStyle(document.querySelector('nav.top')).display") == "none"
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    styles = "[...document.querySelectorAll('.scroll')].map(node => getComputedStyle(node).overflowX)"
    assert set(browser.run(styles)) == {"visible"}
    assert browser.run(CONTRAST) == []
    printed = browser.ask("Page.printToPDF", printBackground=False)["data"]
    assert base64.b64decode(printed).startswith(b"%PDF-")
    loading = "[...document.images].every(image => image.loading === 'eager')"
    assert browser.run(loading), "pictures that were not scrolled to are printed, too"


def test_what_claims_rest_on_is_printed(report, browser):
    folder, _ = report
    browser.open(folder / "papers" / "toy.html")
    opened = "[...document.querySelectorAll('.claim details')].map(details => details.open)"
    assert not any(browser.run(opened))
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert all(browser.run(opened))
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert not any(browser.run(opened))
