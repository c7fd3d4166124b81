"""`fairway ui` as people have it: the command, and its page in Chromium."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright

from fairway.client.base import Client
from fairway.objects import kinds
from tests.contract.served import served
from tests.lab.cluster import FAIRWAY, until
from tests.lab.page_cluster import ask, populate, slice_of

CHROMIUM = shutil.which("chromium") or ""
FLAGS = ("no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
         "disable-component-update", "disable-sync", "disable-dev-shm-usage")  # fmt: skip
DUMPS = Path(__file__).parents[1] / "dumps"
PATIENCE = 30_000  # milliseconds; what is waited for usually takes a tenth of a second

pytestmark = pytest.mark.chromium
expect.set_options(timeout=PATIENCE)


@contextmanager
def shown(*words: str, **environment: str) -> Iterator[str]:
    """The command; the value is the address it prints."""
    process = subprocess.Popen(
        [*FAIRWAY, "ui", *words], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    try:
        assert process.stdout
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        yield found[0]
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cluster")
    with served(folder):
        ask(folder / "kubeconfig", populate)
        yield folder / "kubeconfig"


@pytest.fixture(scope="module")
def address(kubeconfig: Path) -> Iterator[str]:
    with shown("--kubeconfig", str(kubeconfig)) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=[f"--{flag}" for flag in FLAGS])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A fresh tab, not at the page yet. What a script complains about, and what is asked of others, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")
    tab = context.new_page()
    tab.set_default_timeout(PATIENCE)
    wrong: list[str] = []

    def hear(said: ConsoleMessage) -> None:
        if said.type == "error" and not said.text.startswith("Failed to load resource"):  # a refusal, which pages tell
            wrong.append(said.text)

    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", hear)
    tab.on("request", lambda asked: wrong.append(asked.url) if urlsplit(asked.url).hostname != "127.0.0.1" else None)
    yield tab
    context.close()
    assert not wrong


def visit(page: Page, address: str) -> None:
    """Open the page and wait until it knows the whole cluster."""
    page.goto(address)
    expect(page.locator("#looked-at .dot.live")).to_be_visible()


def choose(page: Page, label: str, typed: str, chosen: str) -> None:
    """Type into a field that offers things, and take one of them."""
    page.get_by_role("combobox", name=label, exact=True).fill(typed)
    page.get_by_role("option").filter(has_text=chosen).first.click()


def trace(page: Page, source: str, destination: str) -> None:
    page.get_by_role("tab", name="Packet").click()
    choose(page, "From", source, source)
    choose(page, "To", destination, destination)
    page.get_by_role("button", name="Follow", exact=True).click()
    expect(outcomes(page).first).to_be_visible()


def outcomes(page: Page) -> Locator:
    return page.get_by_role("group", name="What becomes of it").get_by_role("button")


def fits(page: Page) -> bool:
    """Whether nothing sticks out of the window sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_the_map_shows_what_there_is_and_what_becomes_of_it(page: Page, address: str, kubeconfig: Path) -> None:
    visit(page, address)
    web = page.locator("[data-service='default/web']")
    expect(web).to_contain_text("10.96.0.80")
    expect(web).to_contain_text("30080")
    expect(web.locator(".endpoints > .endpoint")).to_have_count(2)
    expect(page.locator("[data-service='default/nobody']")).to_contain_text("none ready")
    expect(page.locator(".node")).to_have_count(2)
    expect(page.locator(".node").first).to_contain_text("10.0.0.11")
    assert "token" not in page.url

    async def away(client: Client) -> None:
        await client.delete(kinds.ENDPOINT_SLICE, "web-1", "default")

    async def back(client: Client) -> None:
        await client.create(kinds.ENDPOINT_SLICE, slice_of("web", "web-1", "web-2"), "default")

    ask(kubeconfig, away)
    try:
        expect(web).to_contain_text("none ready")
    finally:
        ask(kubeconfig, back)
    expect(web.locator(".endpoints > .endpoint")).to_have_count(2)

    page.get_by_placeholder("name, type").fill("10.244.1.5")
    expect(page.locator(".row")).to_have_count(2)  # web and local
    page.get_by_role("button", name="Not all ready").click()
    expect(page.locator(".row")).to_have_count(0)
    page.get_by_role("button", name="Not all ready").click()
    page.locator(".node").filter(has_text="node-a").click()
    expect(page.locator(".row")).to_have_count(1)


def test_a_service_s_rules_are_a_graph_with_shares(page: Page, address: str) -> None:
    visit(page, address)
    page.locator("[data-key='default/web']").click()
    graph = page.get_by_role("group", name="The rules it goes through")
    expect(graph.locator(".end")).to_have_count(2)
    expect(graph.locator(".lines text")).to_have_text(["1/2", "1/2"])
    graph.get_by_role("button").filter(has_text="KUBE-SVC-").click()
    expect(page.locator(".chosen-chain")).to_contain_text("--probability 0.5")
    page.get_by_label("to", exact=True).select_option(label="node port 10.0.0.11:30080/TCP")
    expect(graph.get_by_role("button").filter(has_text="KUBE-NODEPORTS")).to_be_visible()
    page.get_by_role("button", name="Follow a packet to it").click()
    expect(page.get_by_role("combobox", name="To", exact=True)).to_have_value("default/web:80")


def test_a_person_picks_source_and_service_sees_the_way_and_clicks_a_step(page: Page, address: str) -> None:
    visit(page, address)
    trace(page, "default/shell", "default/web:80")
    expect(outcomes(page)).to_have_count(2)
    expect(outcomes(page).first).to_contain_text("1/2")
    expect(outcomes(page).first).to_contain_text("10.244.0.5:8080 (default/web-1)")

    way = page.get_by_role("list", name="The way")
    expect(way).to_contain_text("PREROUTING: the packet has come in by cni0")
    way.get_by_role("button").filter(has_text="KUBE-SVC-").first.click()
    rule = page.get_by_role("complementary", name="The rule")
    expect(rule.locator("li.current")).to_contain_text("-d 10.96.0.80/32")
    for told in ("nat", "KUBE-SERVICES", "Service default/web", "spec.clusterIP: 10.96.0.80"):
        expect(rule.locator("dl")).to_contain_text(told)

    outcomes(page).nth(1).click()
    expect(way).to_contain_text("10.244.1.5:8080")
    expect(way).to_contain_text("Further on, node-b")
    expect(way).to_contain_text("The client sees the answer come from 10.96.0.80:80, where it had asked.")
    way.get_by_text("The answer, on node-a").click()
    way.get_by_role("button").filter(has_text="as the connection says").click()
    expect(rule).to_contain_text("The kernel itself: no rule.")
    page.reload()
    expect(outcomes(page)).to_have_count(2)


def test_an_answer_that_is_out_of_date_says_so(page: Page, address: str, kubeconfig: Path) -> None:
    visit(page, address)
    trace(page, "default/shell", "default/web:80")

    async def fewer(client: Client) -> None:
        await client.patch(
            kinds.ENDPOINT_SLICE, "web-1", {"endpoints": slice_of("web", "web-1")["endpoints"]}, "default"
        )

    async def back(client: Client) -> None:
        both = slice_of("web", "web-1", "web-2")
        await client.patch(kinds.ENDPOINT_SLICE, "web-1", {"endpoints": both["endpoints"]}, "default")

    ask(kubeconfig, fewer)
    try:
        expect(page.get_by_text("The Service has changed since.")).to_be_visible()
        page.get_by_role("button", name="Follow again").click()
        expect(outcomes(page)).to_have_count(1)
        expect(page.get_by_text("The Service has changed since.")).to_be_hidden()
    finally:
        ask(kubeconfig, back)


def test_why_nobody_answers_is_told_with_object_and_field(page: Page, address: str) -> None:
    visit(page, address)
    trace(page, "default/shell", "default/local:80")
    expect(page.locator(".why")).to_contain_text("internalTrafficPolicy: Local on default/local has no ready endpoint")
    rule = page.get_by_role("complementary", name="The rule")
    expect(rule.locator("dl")).to_contain_text("spec.internalTrafficPolicy")
    expect(rule.locator("dl")).to_contain_text("were Cluster")


def test_a_service_that_nobody_serves_says_why(page: Page, address: str) -> None:
    visit(page, address)
    page.locator("[data-key='default/nobody']").click()
    wrong = page.get_by_role("list", name="What is wrong")
    expect(wrong).to_contain_text("default/nobody: its selector app=nobody matches no pod")
    expect(wrong).to_contain_text("kubectl get pods -n default -l app=nobody")


def test_everything_is_done_by_keyboard(page: Page, address: str) -> None:
    visit(page, address)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("tab", name="Map")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Packet")).to_be_focused()
    page.keyboard.press("Tab")  # the language
    page.keyboard.press("Tab")
    expect(page.get_by_role("combobox", name="From", exact=True)).to_be_focused()
    page.keyboard.type("shell")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("combobox", name="From", exact=True)).to_have_value("default/shell")
    page.keyboard.press("Tab")
    page.keyboard.type("default/web:80")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(outcomes(page)).to_have_count(2)

    outcomes(page).first.focus()
    page.keyboard.press("ArrowDown")
    expect(outcomes(page).nth(1)).to_have_attribute("aria-pressed", "true")
    steps = page.get_by_role("list", name="The way").get_by_role("button")
    steps.first.focus()
    page.keyboard.press("ArrowDown")
    expect(steps.nth(1)).to_be_focused()
    expect(steps.nth(1)).to_have_attribute("aria-current", "step")


def test_a_dump_is_dropped_and_traced(page: Page, address: str) -> None:
    visit(page, address)
    name = "httpd-clusterip-nodeport-grep-2017.txt"
    dropped = page.evaluate_handle(
        """([name, text]) => {
            const data = new DataTransfer();
            data.items.add(new File([text], name, { type: "text/plain" }));
            return data;
        }""",
        [name, (DUMPS / name).read_text()],
    )
    page.dispatch_event("body", "dragenter", {"dataTransfer": dropped})
    expect(page.locator("#drop")).to_be_visible()
    page.dispatch_event("body", "drop", {"dataTransfer": dropped})
    expect(page.locator("#drop")).to_be_hidden()
    expect(outcomes(page)).to_have_count(3)
    expect(outcomes(page).first).to_contain_text("10.244.1.28:80")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("By the rules of").select_option(label="the cluster")
    choose(page, "From", "default/shell", "default/shell")
    choose(page, "To", "default/web", "default/web:80")
    page.get_by_role("button", name="Follow", exact=True).click()
    expect(outcomes(page)).to_have_count(2)


def test_what_is_no_dump_is_refused_with_the_reason(page: Page, address: str) -> None:
    visit(page, address)
    page.get_by_role("tab", name="Packet").click()
    files = {"name": "noise.txt", "mimeType": "text/plain", "buffer": b"hello\n"}
    page.get_by_label("Open files").set_input_files(files)  # type: ignore[arg-type]
    expect(page.get_by_role("alert")).to_contain_text("noise.txt: line 1: is not recognised")


@pytest.mark.parametrize("width", [360, 768])
def test_narrow_screens_show_everything(page: Page, address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    visit(page, address)
    page.locator("[data-key='default/web']").click()
    expect(page.locator(".box")).not_to_have_count(0)
    assert fits(page)
    trace(page, "default/shell", "default/web:80")
    expect(page.get_by_role("complementary", name="The rule")).to_be_visible()
    assert fits(page)


def test_chinese_and_dark(browser: Browser, address: str) -> None:
    context = browser.new_context(locale="zh-CN", color_scheme="dark")
    page = context.new_page()
    visit(page, address)
    expect(page.get_by_role("tab").first).to_have_text("地图")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", background))) < 60
    page.goto(f"{address}#packet?source=default/shell&destination=default/web:80")
    expect(page.locator(".why")).to_contain_text("的数据包到达 2 个端点之一")
    page.get_by_role("button", name="English").click()
    expect(page.locator(".why")).to_contain_text("reaches one of 2 endpoints")
    context.close()


def test_the_browser_is_led_there_without_the_token_in_its_arguments(browser: Browser, tmp_path: Path) -> None:
    """`--open` starts what stands in $BROWSER; the way it is given leads to the page."""
    said, program = tmp_path / "said", tmp_path / "browser"
    program.write_text(f'#!/bin/sh\necho "$1" > {said}.new && mv {said}.new {said}\n')
    program.chmod(0o700)
    rules = str(DUMPS / "httpd-clusterip-nodeport-grep-2017.txt")
    with shown("--open", "--rules", rules, BROWSER=f"{program} %s") as address:
        until(said.exists, "the browser was started")
        way = said.read_text().strip()
        assert way.startswith("file://")
        assert address.partition("token=")[2] not in way
        page = browser.new_page()
        page.goto(way)
        expect(outcomes(page)).to_have_count(3)
        page.close()
    assert not Path(way.removeprefix("file://")).exists()


def test_a_server_that_ends_is_told_and_ends_at_once(page: Page, kubeconfig: Path) -> None:
    with shown("--kubeconfig", str(kubeconfig)) as address:
        visit(page, address)
    expect(page.locator("#looked-at")).to_have_text("Connection lost; trying again")
    expect(page.locator(".endpoint").first).to_be_visible()  # what was known stays


def answer(address: str, path: str, **headers: str) -> tuple[int, str]:
    place = urlsplit(address)
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=30)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    said = connection.getresponse()
    body = said.read().decode()
    connection.close()
    return said.status, body


def test_strangers_are_refused(address: str) -> None:
    token = urlsplit(address).query.partition("=")[2]
    admitted = {"authorization": f"Bearer {token}"}
    assert answer(address, "/api/about", **admitted)[0] == 200
    assert answer(address, "/api/about")[0] == 401
    assert answer(address, "/api/about", authorization=f"Bearer {token[:-1]}")[0] == 401
    assert answer(address, f"/?token={token[:-1]}x")[0] == 403
    assert answer(address, f"/api/about?token={token}")[0] == 401
    assert answer(address, "/api/about", **admitted, host="attacker.example")[0] == 421
    assert answer(address, "/api/about", **admitted, origin="https://attacker.example")[0] == 403
    assert answer(address, "/../pyproject.toml")[0] == 404


def test_a_tab_without_the_token_says_what_to_do(page: Page, address: str) -> None:
    place = urlsplit(address)
    page.goto(f"{place.scheme}://{place.netloc}/")
    expect(page.get_by_role("alert")).to_contain_text("open the address that fairway ui printed")
