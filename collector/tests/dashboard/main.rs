//! The collector's page as people meet it, in a real browser: what it shows, how it is used, what it says when something is
//! missing. Pictures of it stay in `target/tmp`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
#![expect(clippy::indexing_slicing, clippy::string_slice, reason = "helpers of tests fail by panicking")]
#![expect(clippy::print_stdout, reason = "the test runner counts the line")]

#[path = "../../../agent/tests/dashboard/browser.rs"]
mod browser;
mod people;
mod stage;

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rampart_proto::v1::Priority;

use browser::Browser;
use stage::{Stage, day, detection};

/// One browser at a time: each takes more memory than all other tests together.
static ONE: Mutex<()> = Mutex::new(());
/// What somebody calls a file who wishes the reader of its alert ill.
const HOSTILE: &str =
    "<img src=x onerror=\"window.pwned=1\"><script>window.pwned=1</script>\u{202e}gpj.exe\n</td></table>";
/// The rows of the timeline, as text.
const ROWS: &str =
    "Array.from(document.querySelectorAll('#events tr')).map((row) => row.cells[4].innerText).join('|')";
const FOCUS: &str = "(() => { const at = document.activeElement; \
                     return at.name || at.id || at.dataset.view || at.cells?.[4].innerText || at.textContent.trim(); })()";

fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A browser, or why the test cannot run.
fn browser(name: &str) -> Option<Browser> {
    let Some(program) = browser::program() else {
        println!("SKIP: {name}: `chromium` is not installed");
        return None;
    };
    Some(Browser::start(&program))
}

fn picture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("collector-{name}.png"))
}

/// Goes to a place of the page by its address.
fn go(browser: &mut Browser, hash: &str) {
    browser.value(&format!("location.hash = '{hash}'"));
}

/// How many rows the timeline has.
fn rows(browser: &mut Browser, count: usize) {
    browser.until(&format!("document.querySelectorAll('#events tr').length === {count}"));
}

/// Nothing came from elsewhere, nothing was refused by the page's own policy, nothing failed.
fn is_clean(browser: &Browser, stage: &Stage) {
    for request in browser.said("Network.requestWillBeSent") {
        let url = request["request"]["url"].as_str().unwrap().to_owned();
        assert!(url.starts_with(&stage.url("/")) || url.starts_with("data:"), "{url}");
    }
    let failed = browser.said("Runtime.exceptionThrown");
    assert!(failed.is_empty(), "{failed:?}");
    let refused = browser.said("Log.entryAdded");
    let of_policy = refused.iter().any(|entry| entry["entry"]["source"] == "security");
    assert!(!of_policy, "{refused:?}");
}

#[test]
fn everything_that_happens_is_one_timeline() {
    let _alone = alone();
    let Some(mut browser) = browser("everything_that_happens_is_one_timeline") else { return };
    let mut stage = Stage::new("", "");
    browser.open(&stage.url("/"));
    browser.until("document.querySelector('#link')?.textContent === 'live'");
    browser.until("document.querySelector('#timeline-note').innerText.startsWith('Nothing has happened')");
    assert_eq!(browser.value("document.querySelector('#who').hidden"), true, "nobody is logged in here");

    // What comes appears by itself; all kinds are in one list and one picture.
    stage.tell("node-1", &day());
    rows(&mut browser, 8);
    assert_eq!(
        browser.value(ROWS),
        "Shell started by server|event loss|circuit breaker closed|circuit breaker half-open|failover|circuit breaker open|\
         rate limit exceeded|Credential file read by unexpected program"
    );
    browser.until("document.querySelector('#strip').innerText.includes('shop/a on node-1')");
    assert_eq!(browser.value("document.querySelectorAll('#strip .dot').length"), 8);
    assert_eq!(browser.value("document.querySelectorAll('#strip .bar.bad, #strip .bar.warn').length"), 2);
    for (scheme, name) in [("light", "timeline-light"), ("dark", "timeline-dark")] {
        browser.scheme(scheme);
        browser.until(&format!("matchMedia('(prefers-color-scheme: {scheme})').matches"));
        browser.picture(&picture(name));
    }
    let dark = browser.value("getComputedStyle(document.body).backgroundColor");
    browser.scheme("light");
    browser.until(&format!("getComputedStyle(document.body).backgroundColor !== {dark}"));

    // What somebody else wrote is text.
    stage.rules(
        "0123456789abcdef",
        "- macro: reader\n  condition: proc.name = cat\n\
         - rule: Credential file read by unexpected program\n  condition: fd.name = /etc/shadow and reader\n",
    );
    stage.tell("node-2", &[detection(HOSTILE, Priority::Error, HOSTILE)]);
    rows(&mut browser, 9);
    browser.value("document.querySelector('#events tr').click()");
    browser.until("document.querySelector('#detail').open && document.querySelector('#around')?.innerText === 'Nothing.'");
    assert_eq!(
        browser.value("document.querySelectorAll('img, iframe, main script, dialog script').length"),
        0
    );
    assert_eq!(browser.value("typeof window.pwned"), "undefined");
    let shown = browser.value("document.querySelector('#detail-title').innerText");
    assert!(shown.as_str().unwrap().starts_with("<img src=x onerror="), "{shown}");
    assert!(shown.as_str().unwrap().contains("\\u{202e}"), "{shown}");

    browser.until(
        "document.querySelector('#rule-text').innerText === 'no agent has told the texts of these rules.'",
    );

    // The details of a detection: its processes, what the kernel saw, what else was going on.
    go(&mut browser, "timeline?event=1");
    browser.until("document.querySelector('#around')?.querySelectorAll('tr').length === 7");
    browser.until("document.querySelector('#rule-text pre') !== null");
    let detail = browser.value("document.querySelector('#detail').innerText");
    for needed in [
        "What the kernel saw",
        "/etc/shadow",
        "openat",
        "Who",
        "Container and pod",
        "host",
        "Trading",
        "signer",
        "rampart explain 'Credential file read by unexpected program'",
        "0123456789abcdef",
        "condition: fd.name = /etc/shadow and reader",
        "macro: reader",
        "shop/a` opened",
    ] {
        assert!(detail.as_str().unwrap().contains(needed), "`{needed}` is missing in {detail}");
    }
    let tree = "Array.from(document.querySelectorAll('.tree li')).map((one) => one.firstChild.textContent).join(' > ')";
    assert_eq!(browser.value(tree), "systemd > sshd > bash > cat");
    assert_eq!(browser.value("document.querySelector('.tree strong').innerText"), "cat");
    browser.picture(&picture("detail"));
    browser.press("Escape");
    browser.until("!document.querySelector('#detail').open && location.hash === '#timeline'");
    is_clean(&browser, &stage);
}

#[test]
fn filters_are_in_the_address_and_hold_for_what_comes() {
    let _alone = alone();
    let Some(mut browser) = browser("filters_are_in_the_address_and_hold_for_what_comes") else { return };
    let mut stage = Stage::new("", "");
    stage.tell("node-1", &day());
    // An address that somebody was sent.
    browser.open(&stage.url("/#timeline?kind=services&priority=Warning"));
    rows(&mut browser, 2);
    assert_eq!(browser.value(ROWS), "failover|circuit breaker open");
    assert_eq!(browser.value("document.querySelector('#filter').elements.kind.value"), "services");
    stage.tell("node-2", &day());
    rows(&mut browser, 4);
    for (hash, count) in [
        ("timeline?node=node-2", 8),
        ("timeline?text=SHOP%2Fa", 6),
        ("timeline?text=SHOP%2Fa&node=node-1", 3),
        ("timeline?kind=limits", 2),
        ("timeline?kind=agent&source=internal", 2),
        ("timeline?source=syscall&priority=Critical", 2),
        ("timeline?rule=Shell%20started%20by%20server", 2),
        ("timeline?text=nowhere", 0),
        ("timeline", 16),
    ] {
        go(&mut browser, hash);
        browser.until(&format!("document.querySelectorAll('#events tr').length === {count} && !document.querySelector('#timeline-note').innerText.includes('loading')"));
    }
    // Times are those of the machine that looks.
    let at = |secs: u32| {
        format!(
            "(() => {{ const at = new Date(({} + {secs}) * 1000); at.setMinutes(at.getMinutes() - at.getTimezoneOffset()); return at.toISOString().slice(0, 19); }})()",
            1_700_000_000_u32
        )
    };
    browser.value(&format!("location.hash = 'timeline?since=' + {} + '&until=' + {}", at(3), at(6)));
    rows(&mut browser, 3);
    assert_eq!(browser.value(ROWS), "circuit breaker half-open|failover|circuit breaker open");

    // By the form, and back by the browser's own way.
    browser.value("document.querySelector('#clear').click()");
    rows(&mut browser, 16);
    browser.press("/");
    assert_eq!(browser.value(FOCUS), "text");
    browser.write("half-open");
    browser.press("Enter");
    rows(&mut browser, 2);
    assert_eq!(browser.value("location.hash"), "#timeline?text=half-open");
    browser.value("history.back()");
    rows(&mut browser, 16);
    assert_eq!(browser.value("document.querySelector('#filter').elements.text.value"), "");

    // More than a page.
    for _ in 0..20 {
        stage.tell("node-3", &day());
    }
    browser.value("location.reload()");
    browser.until(
        "document.querySelectorAll('#events tr').length === 100 && !document.querySelector('#more').hidden",
    );
    browser.value("document.querySelector('#more').click()");
    browser.until(
        "document.querySelectorAll('#events tr').length === 176 && document.querySelector('#more').hidden",
    );
    is_clean(&browser, &stage);
}

#[test]
fn it_is_used_by_keyboard_and_says_when_the_collector_is_gone() {
    let _alone = alone();
    let Some(mut browser) = browser("it_is_used_by_keyboard_and_says_when_the_collector_is_gone") else {
        return;
    };
    let mut stage = Stage::new("", "");
    stage.tell("node-1", &day());
    browser.open(&stage.url("/"));
    rows(&mut browser, 8);
    let mut order = Vec::new();
    for _ in 0..20 {
        browser.press("Tab");
        order.push(browser.value(FOCUS).as_str().unwrap().to_owned());
    }
    order.dedup();
    let wanted = [
        "skip", "timeline", "nodes", "breakers", "limits", "rollouts", "jobs", "delivery", "audit", "text",
        "kind", "priority", "node", "rule", "source", "since",
    ];
    assert_eq!(order, wanted, "a time is several fields for the keyboard");
    assert_eq!(browser.value("getComputedStyle(document.activeElement).outlineStyle"), "solid");

    browser.value("document.activeElement.blur()");
    browser.press("j");
    assert_eq!(browser.value(FOCUS), "Shell started by server");
    browser.press("j");
    browser.press("j");
    browser.press("k");
    assert_eq!(browser.value(FOCUS), "event loss");
    browser.press("Enter");
    browser
        .until("document.querySelector('#detail').open && document.querySelector('#detail-title') !== null");
    assert_eq!(browser.value("location.hash"), "#timeline?event=7");
    browser.press("Escape");
    browser.until("!document.querySelector('#detail').open");
    assert_eq!(browser.value(FOCUS), "event loss", "the focus is back");

    // The other views.
    for (key, view, needed) in [
        ("2", "nodes", "6.18.0"),
        ("3", "breakers", "shop/a"),
        ("4", "limits", "198.51.100.7 at web"),
        ("5", "rollouts", "No bundle was rolled out yet."),
        ("6", "jobs", "No node was asked for anything yet."),
        ("7", "delivery", "Alerts stored"),
        ("8", "audit", "Nothing was changed yet."),
    ] {
        browser.press(key);
        browser.until(&format!(
            "!document.querySelector('#{view}').hidden && document.querySelector('#{view}').innerText.includes('{needed}')"
        ));
        assert_eq!(browser.value("document.querySelectorAll('main > section:not([hidden])').length"), 1);
        browser.picture(&picture(view));
    }
    go(&mut browser, "breakers");
    let breaker = "document.querySelector('#breakers-rows').innerText.replace(/\\s+/g, ' ')";
    browser.until(&format!("{breaker}.includes('shop/a node-1 closed – 1 ')"));
    assert!(browser.value(breaker).as_str().unwrap().contains("shop node-1 – failover"));

    // A collector that goes away, and one that comes back with what it has missed.
    browser.press("1");
    browser.until(
        "document.querySelector('#link').innerText === 'live' && document.querySelector('#alarm').hidden",
    );
    stage.stop();
    browser.until("document.body.classList.contains('stale') && !document.querySelector('#alarm').hidden");
    browser
        .until("document.querySelector('#alarm').innerText.includes('connection to the collector is lost')");
    browser.picture(&picture("lost"));
    go(&mut browser, "nodes");
    browser.until("document.querySelector('#nodes-note').innerText === 'The collector does not answer.'");
    go(&mut browser, "timeline");
    assert_eq!(
        browser.value("document.querySelectorAll('#events tr').length"),
        8,
        "what was there is still shown"
    );
    stage.start();
    browser.until("document.querySelector('#alarm').hidden && !document.body.classList.contains('stale')");
    stage.tell("node-1", &[detection("After the pause", Priority::Error, "x")]);
    rows(&mut browser, 9);
}
