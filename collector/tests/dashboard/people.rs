//! The page where people log in: what a role may, dead letters, and the way out.

use axum::{Router, http::StatusCode, routing::post};
use rampart_collector::identity::access::Role;
use tokio::{net::TcpListener, runtime::Runtime};

use crate::{
    alone, browser,
    browser::Browser,
    go, is_clean, picture, rows,
    stage::{PASSWORD, Stage, day},
};

/// Logs in by the page.
fn log_in(browser: &mut Browser, name: &str) {
    browser.until("location.pathname === '/login' && document.querySelector('#user') !== null");
    browser.value("document.querySelector('#user').focus()");
    browser.write(name);
    browser.value("document.querySelector('#password').focus()");
    browser.write(PASSWORD);
    browser.press("Enter");
    browser.until("location.pathname === '/' && document.querySelector('#link')?.textContent === 'live'");
}

#[test]
fn people_log_in_see_what_they_may_and_log_out() {
    let _alone = alone();
    let Some(mut browser) = browser("people_log_in_see_what_they_may_and_log_out") else { return };
    // A channel that refuses everything for good, so that there are dead letters.
    let runtime = Runtime::new().unwrap();
    let sink = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = sink.local_addr().unwrap();
    let app = Router::new().route("/", post(async || (StatusCode::BAD_REQUEST, "no")));
    runtime.spawn(async { axum::serve(sink, app).await });
    let channel = format!("webhook: {{address: 'http://{address}/', minimumpriority: critical}}");
    let mut stage = Stage::new(", auth: always", &channel);
    stage.user("vera", Role::Viewer);
    stage.user("otto", Role::Operator);
    browser.open(&stage.url("/"));
    log_in(&mut browser, "vera");
    stage.tell("node-1", &day());
    rows(&mut browser, 8);
    browser.until("document.querySelector('#name').innerText === 'vera (viewer)' && !document.querySelector('#who').hidden");
    go(&mut browser, "audit");
    browser.until(
        "document.querySelector('#audit-note').innerText === 'The audit log needs the role operator.'",
    );
    go(&mut browser, "delivery");
    browser.until("document.querySelectorAll('#dead-rows tr').length === 2");
    browser.until("document.querySelector('#channels-rows').innerText.replace(/\\s+/g, ' ').startsWith('webhook 0 0 2')");
    assert_eq!(browser.value("document.querySelector('#dead-rows button').disabled"), true);
    browser.value("document.querySelector('#logout').click()");

    // Who may do more sees more.
    log_in(&mut browser, "otto");
    go(&mut browser, "delivery");
    browser.until("document.querySelectorAll('#dead-rows tr').length === 2 && !document.querySelector('#dead-rows button').disabled");
    assert!(
        browser
            .value("document.querySelector('#dead-rows').innerText")
            .as_str()
            .unwrap()
            .contains("answered 400")
    );
    browser.picture(&picture("delivery-dead"));
    browser.value("document.querySelector('#dead-rows button').click()");
    browser.until("document.querySelector('#said').innerText === 'It is tried again.'");
    go(&mut browser, "audit");
    browser.until("document.querySelector('#audit-rows').innerText.includes('dlq.redrive')");
    let log = browser.value("document.querySelector('#audit-rows').innerText");
    for needed in ["user:otto", "user:vera", "logout", "login", "user.set"] {
        assert!(log.as_str().unwrap().contains(needed), "`{needed}` is missing in {log}");
    }
    browser.picture(&picture("audit"));

    // A rollout: its state, what an operator may do about it, and what only an admin may.
    stage.roll_out("v42");
    go(&mut browser, "rollouts");
    let row = "document.querySelector('#rollouts-rows').innerText.replace(/\\s+/g, ' ')";
    browser.until(&format!("{row}.startsWith('v42 running 1 of 3: 10% 0 of 0 have it')"));
    browser.until("document.querySelector('#bundles-rows').innerText.includes('rules/a.yaml')");
    let disabled = "Array.from(document.querySelectorAll('#rollouts-rows button')).map((one) => one.innerText + one.disabled).join()";
    assert_eq!(browser.value(disabled), "Pausefalse,Next steptrue,Roll backfalse");
    browser.value("document.querySelector('#rollouts-rows button').click()");
    browser.until("document.querySelector('#said').innerText === 'The rollout of v42 is paused.'");
    browser.until(&format!("{row}.startsWith('v42 paused 1 of 3: 10%')"));
    browser.picture(&picture("rollouts"));
    browser.value("document.querySelector('#rollouts-rows button:last-child').click()");
    browser.until(&format!("{row}.startsWith('v42 rolled back 1 of 3: 10% –')"));
    is_clean(&browser, &stage);

    // What was signed for somebody is taken back: their feed ends, and they are asked who they are.
    go(&mut browser, "timeline");
    browser.until("document.querySelector('#link').innerText === 'live'");
    stage.refuse("otto");
    browser.until("location.pathname === '/login'");
}
