"""The exporter's page in a real browser: what it shows and how soon, and for whom it is usable.

With SCSTFS_SCREENSHOTS=DIR the screenshots are kept there; two of them are in docs/.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from scstfs.exporter.app import FILES
from tests.support.exported import Exported, exported
from tests.support.needs import need_programs
from tests.support.served import DIRECTORY, TARGET, Served, served

pytestmark = pytest.mark.slow

SOON: Final = 2.0
"""How long (seconds) it may take until the page shows what has happened."""

RESERVE: Final = "5f010500000000001800"
REGISTER: Final = "5f000000000000001800"
KEY: Final = (7).to_bytes(8, "big")
READ: Final = "28000000000000000800"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    need_programs("chromium")
    with sync_playwright() as playwright:
        # Root's browser has no sandbox of its own; it opens only the page of this test.
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as daemon:
        daemon.add_target(size=1 << 20, luns=3)
        yield daemon


@pytest.fixture(scope="module")
def exporter(daemon: Served) -> Iterator[Exported]:
    with exported(daemon) as exporter:
        yield exporter


@pytest.fixture
def page(browser: Browser, exporter: Exported) -> Iterator[Page]:
    with opened(browser, exporter) as page:
        yield page


class opened:  # noqa: N801 - a context manager, used as a function
    """The page, open and showing something; it must log no error."""

    def __init__(self, browser: Browser, exporter: Exported, **options: Any) -> None:
        options.setdefault("viewport", {"width": 1400, "height": 1000})
        self.context = browser.new_context(reduced_motion="reduce", **options)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._console)
        self.page.goto(exporter.url)
        self.page.locator("#state", has_text=" at ").wait_for()

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def __enter__(self) -> Page:
        return self.page

    def __exit__(self, *exception: object) -> None:
        self.context.close()
        assert self.errors == []


def keep(page: Page, name: str) -> None:
    """Make a screenshot; keep it if that is wanted."""
    picture = page.screenshot(full_page=False)
    assert len(picture) > 10_000
    directory = os.environ.get("SCSTFS_SCREENSHOTS")
    if directory:
        Path(directory, f"{name}.png").write_bytes(picture)


def soon(page: Page, part: str, text: str, cause: Callable[[], object]) -> None:
    """What *cause* does is shown as *text* in a part of the page within SOON."""
    shown = page.locator(part).get_by_text(text)
    assert shown.count() == 0
    cause()
    began = time.monotonic()
    shown.first.wait_for(timeout=10_000)
    # On a machine that has other things to do, all takes longer.
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    assert time.monotonic() - began < SOON * max(1.0, load)


def test_it_shows_what_happens_soon(page: Page, daemon: Served) -> None:
    with ExitStack() as stack:
        stack.callback(daemon.write, f"{DIRECTORY}/luns/mgmt", "del 7\n")
        stack.callback(daemon.write, "targets/iscsi/mgmt", "del_target iqn.other\n")
        initiators: list[Any] = []

        def log_in() -> None:
            initiators.append(stack.enter_context(daemon.log_in(5)))

        soon(page, "#session-list", "iqn.2005-03.org.example:naive", log_in)
        soon(
            page,
            "#event-list",
            "targets/iscsi/mgmt: add_target iqn.other",
            lambda: daemon.write("targets/iscsi/mgmt", "add_target iqn.other\n"),
        )
        soon(
            page,
            "#columns",
            "7: disk1",
            lambda: daemon.write(f"{DIRECTORY}/luns/mgmt", "add disk1 7\n"),
        )
        (initiator,) = initiators

        def reserve() -> None:
            initiator.command(REGISTER, data_out=bytes(8) + KEY + bytes(8))
            initiator.command(RESERVE, data_out=KEY + bytes(16))

        soon(page, "#device-list", "reserved (write exclusive", reserve)
        file = daemon.directory / "disk2"
        soon(page, "#problem-list", "disk2", lambda: file.rename(file.with_suffix(".gone")))
        bad = page.locator("#columns .row.bad", has_text="disk2")
        bad.first.wait_for(timeout=10_000)
        keep(page, "failing")
        file.with_suffix(".gone").rename(file)
        page.locator("#problem-list").get_by_text("disk2").first.wait_for(
            state="detached", timeout=10_000
        )
        initiator.command("5f030000000000001800", data_out=KEY + bytes(16))


@contextmanager
def busy(daemon: Served, page: Page) -> Iterator[None]:
    """An initiator reads all the time; begins when that is shown."""
    stop = threading.Event()

    def read() -> None:
        with daemon.log_in(9) as initiator:
            while not stop.is_set():
                initiator.command(READ, expect=8 * 512)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        chart = page.locator("#charts [role=img]").first
        label = re.compile(r"^Commands per second: reads [1-9]")
        expect(chart).to_have_attribute("aria-label", label, timeout=20_000)
        yield
    finally:
        stop.set()
        thread.join()


def test_rates_and_latencies_are_drawn(page: Page, daemon: Served) -> None:
    with busy(daemon, page):
        caption = page.locator("figcaption", has_text="commands in the last interval, 99 % within")
        caption.wait_for()
        label = page.locator("#charts [role=img]").nth(2).get_attribute("aria-label") or ""
        assert re.search(r"reads, 50 % [\d.]+ (µs|ms)", label), label


def violations(page: Page) -> list[str]:
    """What axe finds that is serious."""
    script = resources.files("axe_core_python").joinpath("axe.min.js").read_text()
    page.evaluate(script)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['id']}: {each['help']}: {[node['html'][:120] for node in each['nodes'][:3]]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("light", {"color_scheme": "light"}),
        ("dark", {"color_scheme": "dark"}),
        ("phone", {"viewport": {"width": 390, "height": 844}, "is_mobile": True}),
    ],
)
def test_everybody_can_use_it(
    browser: Browser, exporter: Exported, daemon: Served, name: str, options: dict[str, Any]
) -> None:
    with ExitStack() as stack:
        for number in (1, 2):
            stack.enter_context(daemon.log_in(number))
        page = stack.enter_context(opened(browser, exporter, **options))
        page.locator("#session-list .row").nth(1).wait_for()
        stack.enter_context(busy(daemon, page))
        assert violations(page) == []
        theme = page.evaluate("document.documentElement.dataset.theme")
        assert theme == ("dark" if name == "dark" else "light")
        width = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert width <= 0, "the page is wider than the screen"
        keep(page, name)


def test_by_keyboard(page: Page, daemon: Served) -> None:
    with daemon.log_in(3):
        expect(page.locator("#session-list .row")).to_have_count(1)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.locator("#session-list .virtual").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        dialog.get_by_text("MaxBurstLength").wait_for()
        assert violations(page) == []
        page.keyboard.press("Escape")
        dialog.wait_for(state="hidden")
        page.locator("#columns .virtual").nth(3).focus()
        page.keyboard.press("End")
        page.keyboard.press("Enter")
        page.locator("#columns .row.chosen").wait_for()
        assert page.locator("#columns .column").nth(2).locator(".row").count() == 1
        page.locator("#show-all").click()
        assert page.locator("#columns .column").nth(2).locator(".row").count() == 3


def many(sessions: int, luns: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The map and the rates of a large target, as the exporter would send them."""
    target = {
        "driver": "iscsi",
        "name": TARGET,
        "enabled": True,
        "rel_tgt_id": 1,
        "sessions": sessions,
        "black_hole": 0,
        "groups": [],
        "luns": [{"lun": n, "device": f"disk{n}", "read_only": False} for n in range(luns)],
    }
    devices = [
        {
            "name": f"disk{n}",
            "handler": "vdisk_fileio",
            "size": 1 << 40,
            "file": f"/srv/disks/disk{n}",
            "file_state": "missing" if n == 3 else "present",
            "scsi_device": None,
            "reservation": None,
        }
        for n in range(luns)
    ]
    made = [
        {
            "path": f"targets/iscsi/{TARGET}/sessions/host{n}",
            "driver": "iscsi",
            "target": TARGET,
            "name": f"host{n}",
            "initiator": f"iqn.1998-01.com.vmware:esx-{n:04}",
            "group": None,
            "connections": [[f"10.1.{n // 250}.{n % 250 + 1}", "10.0.0.1"]],
            "luns": luns,
        }
        for n in range(sessions)
    ]
    problem = {"code": "file_missing", "path": "devices/disk3", "message": "disk3: file is missing"}
    rates = {
        each["path"]: [n % 97, n % 53, 0, n * 4096, n * 512, n % 5] for n, each in enumerate(made)
    }
    total = [sum(column) for column in zip(*rates.values(), strict=True)]
    return (
        {
            "running": True,
            "tree": "/sys/kernel/scst_tgt",
            "core": {"version": "3.10.0", "build": "scstfs"},
            "problems": [problem],
            "targets": [target],
            "devices": devices,
            "sessions": made,
        },
        {"seconds": 1.0, "map": 1, "total": total, "sessions": rates, "devices": {}},
    )


def test_a_thousand_sessions_and_luns(browser: Browser, exporter: Exported) -> None:
    map_text, live = many(1000, 1000)
    with ExitStack() as stack:
        context = stack.enter_context(
            browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
        )
        page = context.new_page()
        page.route("**/api/map", lambda route: route.fulfill(json=map_text))
        page.route("**/api/live", lambda route: route.fulfill(json={**live, "time": time.time()}))
        page.goto(exporter.url)
        page.locator("#session-list .row").first.wait_for()
        # Only what can be seen exists.
        assert page.locator(".row").count() < 400
        page.locator("#session-filter").fill("esx-0999")
        page.locator("#session-list .row", has_text="esx-0999").wait_for()
        expect(page.locator("#session-list .row")).to_have_count(1)
        page.locator("#session-filter").fill("")
        page.locator("#session-list .virtual").focus()
        page.keyboard.press("End")
        page.locator("#session-list .row[aria-posinset='1000']").wait_for()
        busiest = page.evaluate(
            """async () => {
                let longest = 0, before = performance.now();
                const end = before + 1500;
                while (before < end) {
                    await new Promise((resolve) => setTimeout(resolve, 0));
                    const now = performance.now();
                    longest = Math.max(longest, now - before);
                    before = now;
                }
                return longest;
            }"""
        )
        assert busiest < 500, "the page does not react for so many milliseconds"
        page.locator("#map").scroll_into_view_if_needed()
        page.locator("#columns .row.bad").first.wait_for()
        assert violations(page) == []
        page.evaluate("document.getElementById('map').scrollIntoView()")
        keep(page, "thousand")


def test_the_page_names_all_its_files() -> None:
    place = resources.files("scstfs.exporter").joinpath("page")
    served_files = {name for name, _ in FILES.values()}
    for directory in (place, place.joinpath("uplot")):
        for file in directory.iterdir():
            if file.is_file() and not file.name.endswith((".md", "LICENSE")):
                prefix = "uplot/" if directory.name == "uplot" else ""
                assert prefix + file.name in served_files
    text = place.joinpath("index.html").read_text()
    assert not re.search(r"<script(?![^>]*src=)|<style| style=| on\w+=|https?://", text)
