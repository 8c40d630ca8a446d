"""Pages on fabricated results: whole, accessible, the same numbers as the tables, nothing from elsewhere."""

import csv
import html
import re
from html.parser import HTMLParser

import fabricate
from toy_paper import CLAIMS, DEFECTS, KINDS, PAPER

from reprood.report.hardest import hardest_table
from reprood.report.leaderboard import leaderboard
from reprood.report.pages import TEMPLATES, write_report
from reprood.report.paper_page import provenance
from reprood.report.provenance import runs_of
from reprood.report.published import comparable, published
from reprood.report.tables import classification, detection, matrix


def test_a_benchmark_without_ood_sets_has_a_page(folder, results, tmp_path, pages):
    record = fabricate.SUITE["benchmarks"]["toy"]
    suite = fabricate.suite(benchmarks={"toy": {**record, "ood": {}, "evaluations": ["classification"]}})
    figures = folder / "reports" / "figures"
    write_report(
        suite,
        [PAPER],
        folder / "verdicts.csv",
        root=folder,
        studies=folder / "studies",
        data=folder / "data",
        figures=figures,
        defects=DEFECTS,
        out=tmp_path,
    )
    text = (tmp_path / "benchmarks" / "toy.html").read_text()
    assert '<h2 id="classification">Classification</h2>' in text
    assert "<h2>Detection</h2>" not in text
    assert len(read(text).images) == 3


def test_pages_name_the_data_in_place_of_official_ones(folder, tmp_path, pages):
    """Also those of papers and benchmarks, and only where they use them."""
    write_report(
        fabricate.suite(substitutes={"d": "D (JPEG copy)", "unused": "U"}),
        [PAPER],
        folder / "verdicts.csv",
        root=folder,
        studies=folder / "studies",
        data=folder / "data",
        figures=folder / "reports" / "figures",
        defects=DEFECTS,
        out=tmp_path,
    )
    words = "Other data stand in for official data sets:</strong> D (JPEG copy) for d"
    for name, more in (("index", "; U for unused"), ("papers/toy", " ("), ("benchmarks/toy", " (")):
        assert words + more in " ".join((tmp_path / f"{name}.html").read_text().split()).replace(" (<a", " (<a")
        assert "stand in for" not in pages[f"{name}.html"]


class Reader(HTMLParser):
    VOID = {"meta", "link", "img", "br", "input"}

    def __init__(self):
        super().__init__()
        self.stack, self.links, self.images, self.heads, self.ids, self.problems = [], [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag not in self.VOID:
            self.stack.append(tag)
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.links.append(values["href"])
        if tag == "img":
            self.images.append(values)
        if tag == "th":
            self.heads.append(values.get("scope"))
        for name in ("src", "href"):
            if values.get(name, "").startswith(("http:", "https:", "//")) and tag != "a":
                self.problems.append(f"{tag} {values[name]}")

    def handle_endtag(self, tag):
        if not self.stack or self.stack.pop() != tag:
            self.problems.append(f"</{tag}>")


def read(page):
    reader = Reader()
    reader.feed(page)
    return reader


def test_pages_are_whole_small_and_bring_nothing_from_elsewhere(pages):
    for name, page in pages.items():
        reader = read(page)
        assert not reader.problems, name
        assert not reader.stack, name
        assert len(reader.ids) == len(set(reader.ids)), name
        assert not re.search(r"@import|url\(\s*['\"]?http", page)
        assert len(page) < 1_000_000


def test_every_link_and_picture_of_the_pages_resolves(folder, pages):
    ids = {name: set(read(page).ids) for name, page in pages.items()}
    outside = ("../results/", "../../results/", "../CITATION", "../../CITATION")  # made elsewhere; not in the fixture
    for name, page in pages.items():
        reader, here = read(page), (folder / "reports" / name).parent
        for link in [*reader.links, *(image["src"] for image in reader.images)]:
            path, _, part = link.partition("#")
            target = (here / path).resolve() if path else folder / "reports" / name
            if link.startswith(("http", *outside, "tables/")) or "/tables/" in link:
                continue
            assert target.exists(), (name, link)
            if part:
                assert part in ids[str(target.relative_to((folder / "reports").resolve()))], (name, link)


def test_pages_are_accessible(pages):
    assert len(read(pages["benchmarks/toy.html"]).images) == len(KINDS)
    for name, page in pages.items():
        reader = read(page)
        assert all(image["alt"] and image["loading"] == "lazy" and image["width"] for image in reader.images), name
        assert all(scope in ("col", "row") for scope in reader.heads), name
        assert '<html lang="en">' in page
        assert page.count("<h1>") == 1, name
        assert page.count('aria-current="page"') == 1, name
    assert "prefers-color-scheme: dark" in (TEMPLATES / "report.css").read_text()


def test_every_head_stands_over_its_column(pages):
    seen = 0
    for name, page in pages.items():
        for table in re.findall(r"<table.*?</table>", page, re.S):
            heads = [" class=" in head for head in re.findall(r'<th scope="col"[^>]*>', table)]
            for row in re.findall(r"<tr>(<th scope=\"row\".*?)</tr>", table, re.S):
                cells = ['class="text"' in cell for cell in re.findall(r"<td[^>]*>", row)]
                assert cells == heads[1:], (name, row)
                seen += 1
    assert seen > 20


def test_every_cell_of_the_pages_is_that_of_the_tables(results, pages):
    rows = {}
    page = pages["benchmarks/toy.html"] + pages["papers/toy.html"]
    for name, body in re.findall(r'<table class="sortable[^"]*" id="([^"]+)"[^>]*>.*?<tbody>(.*?)</tbody>', page, re.S):
        rows[name] = [
            re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in re.findall(r"<tr>(.*?)</tr>", body)
        ]
    tables = {
        "toy-leaderboard": leaderboard(results),
        "toy-hardest": hardest_table(results),
        "provenance-toy": provenance(PAPER, [results], {"toy": {"runs": runs_of(results)}}),
        "toy-classification": classification(results),
        "toy-matrix": matrix(results),
        "toy-detection": detection(results),
        "published-toy": published(PAPER, [results]),
        "comparable-toy": comparable(published(PAPER, [results])),
    }
    assert rows.keys() == tables.keys()
    for name, table in tables.items():
        for shown, cells in zip(rows[name], table.rows, strict=True):
            for text, cell in zip(shown, cells, strict=True):
                words_alone = re.sub(r'<a class="rows".*?</a>|<span class="unseen">.*?</span>', "", text)
                plain = html.unescape(re.sub(r"<[^>]+>", " ", words_alone)).split()
                assert (
                    plain
                    == f"{'Toy' if cell.text == 'toy' else cell.text}{cell.mark} {cell.group} {cell.interval}".split()
                )


def test_every_verdict_and_place_links_to_its_rows(folder, pages):
    page = pages["papers/toy.html"]
    assert page.count("../evidence/papers/toy/c") == len(CLAIMS)
    links = re.findall(r'<a class="rows" href="\.\./([^"]+)"', pages["benchmarks/toy.html"])
    assert links == [f"evidence/benchmarks/toy/{method}.csv" for method in ("good", "erm", "same", "broken")]
    with open(folder / "reports" / links[0], newline="") as stream:
        assert {row["method"] for row in csv.DictReader(stream)} == {"good"}


def test_the_key_explains_the_marks_that_are_drawn(pages):
    for name in ("index.html", "papers/toy.html"):
        shown = set(re.findall(r'<i class="diamond ?(\w*)"', pages[name]))
        drawn = [set(marks.split()) for marks in re.findall(r'<i class="paper ?([^"]*)"', pages[name])]
        expected = {"hollow" if "hollow" in marks else "" for marks in drawn}
        assert shown == expected | {"elsewhere" for marks in drawn if "elsewhere" in marks}, name


def test_no_entry_of_a_list_is_empty(pages):
    for name, page in pages.items():
        found = re.findall(r"<d[td][^>]*>(.*?)</d[td]>", page, re.S)
        assert all(re.sub(r"<[^>]+>", "", text).strip() for text in found), name


def test_texts_cannot_become_markup(pages):
    everything = "".join(pages.values())
    assert "<b>suite</b>" not in everything
    assert "Fabricated &lt;b&gt;suite&lt;/b&gt;" in pages["index.html"]
    assert "<script>alert" not in everything
    assert "<i>near_set</i>" not in everything


def test_verdicts_are_shown_with_their_reasons(pages):
    page = pages["papers/toy.html"]
    assert page.count("supported at reduced scale") >= 2
    assert ">reproduced<" not in "".join(pages.values())
    assert "95 % interval" in page
    assert "This suite runs at reduced scale" in pages["index.html"]
