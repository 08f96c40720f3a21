//! The agent's HTTP server as people meet it, the dashboard in a real browser above all: what it shows, what it does not
//! execute, how it is used, what it changes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
#![expect(clippy::indexing_slicing, reason = "what an answer lacks is null")]
#![expect(clippy::print_stdout, reason = "the test runner counts the line")]

mod browser;
mod stage;
mod watch;

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rampart_common::service::breaker::State;
use rampart_rules::rule::Priority;

use browser::Browser;
use stage::{HOSTILE, Stage, TOKEN, alert};

/// One browser at a time: each takes more memory than the agent's tests together.
static ONE: Mutex<()> = Mutex::new(());

/// Where the focus is, in words.
const FOCUS: &str = "(() => { const at = document.activeElement; \
                     return at.ariaLabel || at.id || at.textContent.trim() || at.tagName; })()";

fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the dashboard of a stage, or says why the test cannot run.
fn visit(name: &str, stage: &Stage) -> Option<Browser> {
    let Some(program) = browser::program() else {
        println!("SKIP: {name}: `chromium` is not installed");
        return None;
    };
    let mut browser = Browser::start(&program);
    browser.open(&stage.url());
    browser.until("document.querySelector('#link')?.textContent === 'live'");
    Some(browser)
}

#[test]
fn it_shows_what_is_and_what_changes_and_executes_nothing_from_outside() {
    let _alone = alone();
    let mut stage = Stage::new();
    let name = "it_shows_what_is_and_what_changes_and_executes_nothing_from_outside";
    let Some(mut browser) = visit(name, &stage) else { return };

    // What is there is shown, also what nobody has configured.
    browser.until("document.querySelectorAll('#services .service').length === 1");
    browser.until("document.querySelector('#services').innerText.includes('198.18.0.1:80')");
    browser.until("document.querySelector('#breakers').innerText.includes('shop/a')");
    browser.until("document.querySelector('#limits-note').innerText.includes('are off')");
    browser.until(
        "document.querySelector('#facts').innerText.includes('node-7')|| document.title.includes('node-7')",
    );
    assert_eq!(browser.value("document.querySelectorAll('#services tbody tr').length"), 2);

    // A row that somebody uses stays the same row while it changes.
    browser.value(
        "window.kept = document.querySelector('#breakers tr[data-key=\"shop/a\"]'); \
         kept.querySelector('button').focus()",
    );
    stage.set(State::Open, "status 503");
    browser.until("kept.isConnected && kept.innerText.includes('open') && kept.innerText.includes('(in ')");
    assert_eq!(browser.value("kept.contains(document.activeElement)"), true, "the focus is lost");
    browser.until("kept.querySelector('summary').textContent === '1 event'");

    // An alert that somebody else wrote comes alive, and is text.
    stage.set(State::Open, HOSTILE);
    stage.status.recent.keep(alert(HOSTILE, Priority::Critical));
    browser.until("document.querySelectorAll('#alerts tr').length === 2");
    browser.value("document.querySelectorAll('#alerts details').forEach((one) => { one.open = true; })");
    browser.until("document.querySelectorAll('#alerts dd').length >= 4");
    let text = browser.value("document.querySelector('#alerts').innerText");
    let text = text.as_str().unwrap();
    assert!(text.contains("<img src=x onerror="), "it is shown as it is: {text}");
    assert!(text.contains("\\u{202e}") && !text.contains('\u{202e}'), "{text}");
    assert_eq!(browser.value("document.querySelectorAll('img, iframe, main script, main a, svg').length"), 0);
    assert_eq!(browser.value("typeof window.pwned"), "undefined");
    // Should markup ever get in, it would not be taken.
    for way in [
        "document.body.innerHTML = '<b>x</b>'",
        "const s = document.createElement('script'); s.text = 'window.pwned = 1'; document.body.append(s)",
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=window.pwned=1>')",
    ] {
        let tried =
            format!("(() => {{ try {{ {way}; return 'taken'; }} catch (e) {{ return e.name; }} }})()");
        assert_eq!(browser.value(&tried), "TypeError", "{way}");
    }
    assert_eq!(browser.value("typeof window.pwned"), "undefined");

    // Limits, once there are some, and who is over them.
    stage.limit(7);
    browser.until(
        "document.querySelector('#limits-note').innerText === 'Mode: enforce, on eth0 ingress by tcx'",
    );
    browser
        .until("document.querySelector('#policies').innerText.replace(/\\s+/g, ' ').startsWith('login 5/s')");
    browser.until("document.querySelector('#top').innerText.includes('203.0.113.0/24')");
    assert!(browser.value("document.querySelector('#top').innerText").as_str().unwrap().contains("75.0 %"));
    stage.limit(4_000_000);
    browser.until("document.querySelector('#policies td:nth-child(6)').innerText === '4,000,000'");

    // Filters.
    browser.value("document.querySelector('#word').focus()");
    browser.write("harmless");
    browser.until(
        "Array.from(document.querySelectorAll('#alerts tr')).filter((row) => !row.hidden).length === 1",
    );
    browser.value("(() => { const word = document.querySelector('#word'); word.value = ''; word.dispatchEvent(new Event('input')); })()");

    // Light and dark, both readable.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut seen = Vec::new();
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        browser.until(&format!("matchMedia('(prefers-color-scheme: {scheme})').matches"));
        let contrast = browser.value(CONTRAST);
        assert!(contrast.as_f64().is_some_and(|least| least >= 4.5), "contrast in {scheme}: {contrast}");
        seen.push(browser.value("getComputedStyle(document.body).backgroundColor"));
        browser.picture(&folder.join(format!("dashboard-{scheme}.png")));
    }
    assert_ne!(seen[0], seen[1]);

    // Nothing came from elsewhere, nothing was refused by the page's own policy, and nothing failed.
    let requests = browser.said("Network.requestWillBeSent");
    let places: Vec<&str> = requests.iter().filter_map(|one| one["request"]["url"].as_str()).collect();
    let own = stage.url();
    let origin = own.trim_end_matches("/dashboard");
    assert!(places.len() >= 2, "{places:?}");
    assert!(places.iter().all(|place| place.starts_with(origin) || place.starts_with("data:")), "{places:?}");
    let exceptions = browser.said("Runtime.exceptionThrown");
    assert!(exceptions.is_empty(), "{exceptions:?}");

    // An agent that goes is missed, and one that comes back is found.
    stage.stop();
    browser.until("!document.querySelector('#alarm').hidden && document.body.classList.contains('stale')");
    assert!(
        browser
            .value("document.querySelector('#services').innerText")
            .as_str()
            .unwrap()
            .contains("198.18.0.1:80")
    );
    stage.start();
    browser.until("document.querySelector('#alarm').hidden && !document.body.classList.contains('stale')");
    browser.until("document.querySelectorAll('#alerts tr').length === 2");
}

/// The least contrast of a text of the page with what is behind it, as WCAG counts it.
const CONTRAST: &str = r"(() => {
  const parts = (color) => color.match(/[\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = parts(color).map((part) => { const p = part / 255; return p <= 0.04045 ? p / 12.92 : ((p + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (at) => {
    for (let one = at; one; one = one.parentElement) {
      const color = getComputedStyle(one).backgroundColor, found = parts(color);
      if (found.length === 3 || found[3] > 0) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  let least = 21;
  for (const one of document.querySelectorAll('h1, h2, h3, p, td, th, dd, dt, button, li, summary')) {
    if (!one.innerText || !one.checkVisibility()) continue;
    const [a, b] = [light(getComputedStyle(one).color), light(behind(one))];
    least = Math.min(least, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  }
  return least;
})()";

#[test]
fn it_is_used_by_keyboard_and_changes_things_only_with_the_token() {
    let _alone = alone();
    let stage = Stage::new();
    let name = "it_is_used_by_keyboard_and_changes_things_only_with_the_token";
    let Some(mut browser) = visit(name, &stage) else { return };
    browser.until("document.querySelectorAll('#breakers button').length === 8");

    // Everything is reached in the order in which it is read, and the focus is seen.
    let mut order = Vec::new();
    for _ in 0..19 {
        browser.press("Tab");
        order.push(browser.value(FOCUS).as_str().unwrap().to_owned());
    }
    let wanted = [
        "Skip to content",
        "token",
        "open",
        "Drain shop/a",
        "Enable shop/a",
        "Drain shop/b",
        "Enable shop/b",
        "none",
        "Reset shop/a",
        "Force open shop/a",
        "Force closed shop/a",
        "Auto shop/a",
        "none",
        "Reset shop/b",
        "Force open shop/b",
        "Force closed shop/b",
        "Auto shop/b",
        "word",
        "least",
    ];
    assert_eq!(order, wanted);
    assert_eq!(browser.value("getComputedStyle(document.activeElement).outlineStyle"), "solid");
    browser.press("Tab");
    browser.press_with("Tab", 8);
    assert_eq!(browser.value(FOCUS), "least", "and back");
    browser.value("document.activeElement.blur()");
    browser.press("/");
    assert_eq!(browser.value(FOCUS), "word");

    // Without the token nothing is asked for.
    browser.value("document.querySelector('button[aria-label=\"Reset shop/a\"]').focus()");
    browser.press("Enter");
    browser.until("document.querySelector('#said').textContent.includes('need the token')");
    assert_eq!(browser.value(FOCUS), "token");
    assert_eq!(
        browser
            .said("Network.requestWillBeSent")
            .iter()
            .filter(|one| one["request"]["method"] == "POST")
            .count(),
        0
    );

    // A wrong one is refused and forgotten.
    browser.write("not the token, I guess");
    browser.press("Enter");
    browser.until("document.querySelector('#token').hidden && document.querySelector('#token').value === ''");
    browser.value("document.querySelector('button[aria-label=\"Reset shop/a\"]').focus()");
    browser.press("Enter");
    browser.until("document.querySelector('#said').textContent.includes('wrong')");
    browser.until("!document.querySelector('#token').hidden");
    assert!(stage.asked().is_empty());

    // The right one is taken; what does harm is asked about first, and may be left.
    browser.value("document.querySelector('#token').focus()");
    browser.write(TOKEN);
    browser.press("Enter");
    browser.value("document.querySelector('button[aria-label=\"Force open shop/b\"]').focus()");
    browser.press("Enter");
    browser.until("document.querySelector('#sure').open");
    assert_eq!(browser.value(FOCUS), "no");
    browser.press("Escape");
    browser.until("!document.querySelector('#sure').open");
    assert_eq!(browser.value(FOCUS), "Force open shop/b", "the focus is back");
    assert!(stage.asked().is_empty());
    browser.press("Enter");
    browser.until("document.querySelector('#sure').open");
    browser.press("Tab");
    assert_eq!(browser.value(FOCUS), "yes");
    browser.press("Enter");
    browser.until("document.querySelector('#said').textContent === 'Force open shop/b: done.'");
    browser.value("document.querySelector('button[aria-label=\"Enable shop/a\"]').focus()");
    browser.press("Enter");
    browser.until("document.querySelector('#said').textContent === 'Enable shop/a: done.'");
    assert_eq!(stage.asked(), [r#"Force(("shop", "b"), ForcedOpen)"#, r#"Admin(("shop", "a"), Ready)"#]);
    assert!(stage.audit().lines().count() == 2 && !stage.audit().contains(TOKEN), "{}", stage.audit());

    // The token is nowhere but in the script's memory, and not even there after it is locked.
    let kept = "localStorage.length + sessionStorage.length + document.cookie.length + location.href.includes('token')";
    assert_eq!(browser.value(kept), 0);
    assert_eq!(browser.value(&format!("document.documentElement.outerHTML.includes('{TOKEN}')")), false);
    assert_eq!(browser.value("token"), TOKEN);
    browser.value("document.querySelector('#forget').focus()");
    browser.press("Enter");
    assert_eq!(browser.value("token"), "");
}
