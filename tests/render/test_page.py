"""The HTML page in a real browser: what a reader sees, searches, filters, opens and reaches by keyboard."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fwdtrace.compare import compare_traces
from fwdtrace.compare.numbers.distance import Distance
from fwdtrace.render.html import comparison_html, html_text
from fwdtrace.render.mermaid import mermaid_text
from fwdtrace.trace import CallError, Op, Source, TensorMeta, Trace
from tests.helpers.drawings import HOSTILE, hostile
from tests.helpers.traces import call, lenet, many, measured, residual, tensor, trace

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="there is no chromium with its chromedriver"),
    pytest.mark.filterwarnings("ignore"),
]
QUIET = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)
Open = Callable[[str], Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in QUIET:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield found
    found.quit()


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Open a page from a file; after the test, nothing was complained of in the console."""

    def show(text: str) -> Any:
        file = tmp_path / "page.html"
        file.write_text(text, encoding="utf-8")
        browser.set_window_size(1280, 800)
        browser.get(file.as_uri())
        return browser

    yield show
    assert browser.get_log("browser") == []


def rows(browser: Any) -> list[str]:
    """The names in the rows that are seen."""
    paths = "document.querySelectorAll('.tree > tbody > tr:not(.details) .path')"
    found: list[str] = browser.execute_script(f"return [...{paths}].map((each) => each.textContent)")
    return found


def press(browser: Any, *keys: str) -> None:
    for key in keys:
        browser.switch_to.active_element.send_keys(key)


WAIT: Any = pytest.importorskip("selenium.webdriver.support.wait").WebDriverWait
KEYS: Any = pytest.importorskip("selenium.webdriver.common.keys").Keys


def test_a_page_shows_the_calls_in_order(page: Open) -> None:
    assert rows(page(html_text(lenet()))) == [
        *("LeNet", "c1", "sig", "s2", "c3", "sig #2", "s2 #2", "flatten", "f5", "f6", "f7")
    ]


def test_a_search_keeps_what_it_matches_and_what_called_it(page: Open) -> None:
    browser = page(html_text(lenet()))
    press(browser, "/")
    press(browser, "linear 84")
    assert rows(browser) == ["LeNet", "f6", "f7"]
    press(browser, KEYS.ESCAPE)
    assert len(rows(browser)) == 11


def test_a_filter_keeps_the_direct_calls(page: Open) -> None:
    browser = page(html_text(lenet(direct=True)))
    browser.find_element("xpath", "//button[text()='direct 1']").click()
    assert rows(browser) == ["LeNet", "f5"]
    browser.find_element("xpath", "//button[text()='direct 1']").click()
    browser.find_element("xpath", "//button[starts-with(text(),'shape changes')]").click()
    assert "sig" not in rows(browser) and "c1" in rows(browser)


def test_a_filter_keeps_the_errors(page: Open) -> None:
    failed = call(1, 0, "a", "Linear", error=CallError("ValueError", "no such thing"))
    browser = page(html_text(trace(call(0, None, "", "Net"), failed, call(2, 0, "b", "Linear"))))
    assert "✗ ValueError: no such thing" in browser.find_element("css selector", ".raised").text
    browser.find_element("xpath", "//button[text()='errors 1']").click()
    assert rows(browser) == ["Net", "a"]


def test_an_error_of_an_op_is_told_once_where_it_is_seen(page: Open) -> None:
    root = call(0, None, "", "Net", error=(error := CallError("ValueError", "no such thing")))
    browser = page(html_text(trace(root, ops=(Op(1, 0, "torch.abs", (), (), root.site, error=error),))))
    (told,) = browser.find_elements("css selector", ".raised")
    assert told.find_element("xpath", "..").text == "torch.abs\n✗ ValueError: no such thing"
    browser.find_element("css selector", "tr[aria-expanded=true] .twisty").click()
    assert rows(browser) == ["Net"] and browser.find_element("css selector", ".raised").is_displayed()


def test_details_come_with_a_click_and_go_with_another(page: Open) -> None:
    browser = page(html_text(lenet(direct=True)))

    def details() -> list[str]:
        return [each.text for each in browser.find_elements("css selector", ".details")]

    def click() -> None:
        browser.find_element("css selector", "tr.direct .output").click()

    click()
    assert len(details()) == 1
    assert all(text in details()[0] for text in ("1×400", "float32", "/home/user/model.py:28", "model.keep_features"))
    assert "did not run" in details()[0]
    click()
    assert details() == []


def test_the_keyboard_goes_everywhere(page: Open) -> None:
    inner = call(2, 1, "block.layer", "Linear", depth=2)
    browser = page(html_text(trace(call(0, None, "", "Net"), call(1, 0, "block", "Block"), inner)))
    press(browser, "/", KEYS.ENTER, KEYS.ARROW_DOWN, KEYS.ARROW_LEFT)
    assert rows(browser) == ["Net", "block"]
    press(browser, KEYS.ARROW_RIGHT)
    assert rows(browser) == ["Net", "block", "layer"]
    press(browser, KEYS.END, KEYS.ENTER)
    assert len(browser.find_elements("css selector", ".details")) == 1


def lit(browser: Any) -> dict[str, str]:
    """The rows that are lit up, by their names, with what is written beside them."""
    found: dict[str, str] = browser.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('.gives, .takes')].map("
        "(line) => [line.querySelector('.path').textContent, line.querySelector('.flow').textContent]))"
    )
    return found


def test_choosing_a_row_lights_up_where_its_data_came_from_and_where_it_goes(page: Open) -> None:
    only_writes = tuple(replace(op, outputs=()) for op in residual().ops or ())
    for shown in (residual(), replace(residual(), ops=only_writes)):
        browser = page(html_text(shown))
        assert lit(browser) == {}
        press(browser, "/", KEYS.ENTER, KEYS.ARROW_DOWN, KEYS.ARROW_DOWN)
        assert lit(browser) == {"first": "gives", "second": "takes", "+": "takes"}
        press(browser, KEYS.ARROW_DOWN)
        assert lit(browser) == {"first": "gives", "torch.relu_": "gives", "+": "takes"}
    browser.find_element("xpath", "//bdi[text()='first']").click()
    assert lit(browser) == {"torch.relu_": "takes"}


def test_details_name_where_each_input_came_from_and_lead_there(page: Open) -> None:
    browser = page(html_text(residual()))
    browser.find_element("xpath", "//bdi[text()='+']").click()
    links = [each.text for each in browser.find_elements("css selector", ".details .link")]
    assert links == ["second", "first", "torch.relu_, Net"]
    assert "changed by" in browser.find_element("css selector", ".details").text
    browser.find_element("xpath", "//button[text()='second']").click()
    assert browser.switch_to.active_element.find_element("css selector", ".path").text == "second"


def test_what_is_folded_or_closed_is_lit_up_by_what_stands_for_it(page: Open) -> None:
    def made(id: int) -> tuple[TensorMeta, ...]:
        return (replace(tensor(1, 16), source=Source(id, 0)),)

    given = (replace(tensor(1, 16), source=Source(argument="x")),)
    layers = (
        call(n, 0, f"layers.{n - 1}", "Linear", inputs=made(n - 1) if n > 1 else given, outputs=made(n))
        for n in range(1, 9)
    )
    block = call(9, 0, "block", "Block", inputs=made(8), outputs=made(10))
    inner = call(10, 9, "block.inner", "Linear", depth=2, inputs=made(8), outputs=made(10))
    last = call(11, 0, "last", "Linear", inputs=made(10), outputs=made(11))
    browser = page(html_text(trace(call(0, None, "", "Net", outputs=made(11)), *layers, block, inner, last)))
    browser.find_element("xpath", "//bdi[text()='block']").click()
    assert lit(browser) == {"layers.0 … layers.7": "gives", "last": "takes"}
    press(browser, KEYS.ARROW_LEFT, KEYS.END)
    assert lit(browser) == {"block": "gives"}


def test_equal_blocks_are_folded_until_they_are_opened(page: Open) -> None:
    layers = (call(n, 0, f"layers.{n - 1}", "Linear") for n in range(1, 33))
    browser = page(html_text(trace(call(0, None, "", "Net"), *layers)))
    assert rows(browser) == ["Net", "layers.0", "layers.0 … layers.31"]
    browser.find_element("css selector", ".fold .path").click()
    assert len(rows(browser)) == 34


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_text_of_a_model_is_text(page: Open, text: str) -> None:
    browser = page(html_text(hostile(text)))
    browser.find_element("css selector", "tbody tr").click()
    assert len(browser.find_elements("css selector", "script")) == 2
    assert not browser.find_elements("css selector", "em, strong, code")


@pytest.mark.parametrize("width", [390, 760, 1280])
def test_a_page_fits_the_window(page: Open, width: int) -> None:
    browser = page(html_text(lenet(direct=True)))
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    wide = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide <= 0


def test_dark_mode_is_dark(page: Open) -> None:
    browser = page(html_text(lenet()))
    seen = []
    for mode in ("light", "dark"):
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": mode}]}
        )
        seen.append(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert seen == ["rgb(255, 255, 255)", "rgb(13, 17, 23)"]


def test_on_paper_there_is_no_toolbar(page: Open) -> None:
    browser = page(html_text(lenet()))
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = browser.find_element("css selector", ".toolbar").is_displayed()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert not shown


def test_tables_at_the_end_have_their_own_cells_and_a_gradient_of_none_is_red(page: Open) -> None:
    shown = page(html_text(measured()))
    tables = shown.find_elements("css selector", "main > .tables section")
    told = {each.find_element("css selector", "h3").text: each.text.splitlines()[1:] for each in tables}
    assert told["recorded with"] == ["fwdtrace 0.1.0", "torch 2.13.0", "python 3.11.7"]
    assert all(len(line.split()) == 5 for line in told["gradients"])
    (cell,) = shown.find_elements("css selector", ".tree td.alarming")
    assert (cell.text, cell.value_of_css_property("color")) == ("none", "rgba(207, 34, 46, 1)")


def test_a_comparison_shows_both_traces_and_finds_what_differs(page: Open) -> None:
    before = lenet()
    after = trace(*before.calls[:-1], call(10, 0, "f7", "Conv1d", (1, 84), (1, 10), parameters=850, line=30))
    apart = Distance(0.5, 0.25, None, same=False, close=False)
    browser = page(comparison_html(replace(compare_traces(before, after), distances=((10, None, apart),))))
    first, second = browser.find_elements("css selector", "main")
    assert first.location["y"] == second.location["y"] and first.location["x"] < second.location["x"]
    assert "f7" in browser.find_element("css selector", "header h1").text
    first.find_element("xpath", ".//button[text()='differences 1']").click()
    assert rows(browser)[:2] == ["LeNet", "f7"]
    browser.find_element("css selector", ".apart button").click()
    assert [len(side.find_elements("css selector", ".details")) for side in (first, second)] == [1, 1]


def test_a_page_that_is_compressed_shows_the_same(page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fwdtrace.render.html.LARGEST_PLAIN", 0)
    browser = page(html_text(lenet(direct=True)))
    WAIT(browser, 20).until(rows)
    assert rows(browser)[-3:] == ["f5", "f6", "f7"]
    browser.find_element("css selector", "tr.direct .output").click()
    shown = browser.find_element("css selector", ".details").text
    assert all(text in shown for text in ("1×400", "float32", "/home/user/model.py:28", "did not run", "48,120"))


@pytest.mark.sweep
def test_a_page_of_a_hundred_thousand_calls_stays_usable(page: Open) -> None:
    browser = page(html_text(many(100_000)))
    WAIT(browser, 60).until(rows)
    assert len(rows(browser)) <= 500
    press(browser, "/")
    press(browser, "blocks.9999.8")
    assert rows(browser) == ["Net", "blocks.9999", "8"]


@pytest.mark.skipif("MERMAID" not in os.environ, reason="MERMAID names no mermaid.min.js to parse with")
@pytest.mark.parametrize("text", ["plain", "nested", *HOSTILE], ids=ascii)
def test_mermaid_parses_and_draws_the_chart(browser: Any, tmp_path: Path, text: str) -> None:
    library = Path(os.environ["MERMAID"]).resolve().as_uri()
    (tmp_path / "page.html").write_text(f"<meta charset=utf-8><script src={library}></script><div id=drawn></div>")
    browser.get((tmp_path / "page.html").as_uri())
    shown = {"plain": lenet(direct=True), "nested": nested(4)}.get(text) or hostile(text)
    drawn = browser.execute_async_script(
        "const [chart, done] = arguments; mermaid.initialize({startOnLoad: false});"
        "mermaid.parse(chart).then(() => mermaid.render('chart', chart)).then(({svg}) => {"
        " document.getElementById('drawn').innerHTML = svg;"
        " done(document.getElementById('drawn').textContent) }, (error) => done('error ' + error))",
        mermaid_text(shown),
    )
    assert not drawn.startswith("error")
    expected = {"plain": "f5 Linear", "nested": "other Linear"}.get(text, text.splitlines()[0].strip("\x1b\u202e"))
    assert expected in drawn


def nested(depth: int) -> Trace:
    """Blocks in blocks, two after a layer each time."""
    calls = [call(0, None, "", "Net")]

    def add(above: int, path: str, left: int) -> None:
        for name in ("first", "block", "other"):
            own = f"{path}.{name}".lstrip(".")
            calls.append(call(len(calls), above, own, "Linear", (1, len(calls)), depth=depth - left + 1))
            if name != "first" and left > 1:
                add(len(calls) - 1, own, left - 1)

    add(0, "", depth)
    return trace(*calls)


def test_numbers_are_columns_that_put_the_rows_in_order(page: Open) -> None:
    shown = page(html_text(measured()))

    def names() -> list[str]:
        return [line.text for line in shown.find_elements("css selector", ".tree tbody .path")]

    def press(title: str) -> str | None:
        (button,) = (each for each in shown.find_elements("css selector", ".sort") if each.text == title)
        button.click()
        sort: str | None = button.find_element("xpath", "..").get_attribute("aria-sort")
        return sort

    heads = [head.text for head in shown.find_elements("css selector", ".tree thead th")]
    assert heads[4:] == ["params", "FLOPs", "mean", "std", "min", "max", "NaN", "grad", "time", "from", ""]
    assert press("mean") == "descending" and names() == ["Net", "up", "down", "frozen"]
    assert press("mean") == "ascending" and names() == ["frozen", "down", "up", "Net"]
    assert press("mean") is None and names() == ["Net", "up", "down", "frozen"]
    assert press("time") == "descending" and names()[0] == "Net"
    assert press("grad") == "descending" and names() == ["Net", "up"]
    shown.set_window_size(400, 800)
    cell = shown.find_element("css selector", ".tree tbody .mean")
    assert cell.is_displayed() and cell.get_attribute("data-title") == "mean"


def test_what_is_long_is_broken_behind_a_sign_and_not_inside_a_word(page: Open) -> None:
    given = tensor(1, 16), tensor(1, 16, name="attention_mask")
    browser = page(html_text(trace(replace(call(0, None, "", "Net"), inputs=given))))
    cell = browser.find_element("css selector", "td.input").get_attribute("innerHTML")
    assert cell == "1×16, attention_<wbr>mask 1×16"
