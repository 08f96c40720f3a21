//! The page where people log in: what a role may, dead letters, and the way out.

use axum::{Router, http::StatusCode, routing::post};
use rampart_collector::identity::access::Role;
use rampart_proto::v1::{
    JobDone, JobFailed,
    job_report::Outcome::{Done, Failed},
};
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

#[test]
fn nodes_are_asked_for_work_by_those_who_may() {
    let _alone = alone();
    let Some(mut browser) = browser("nodes_are_asked_for_work_by_those_who_may") else { return };
    let stage = Stage::new(", auth: always", "");
    stage.user("vera", Role::Viewer);
    stage.user("otto", Role::Operator);
    browser.open(&stage.url("/"));
    log_in(&mut browser, "vera");
    go(&mut browser, "jobs");
    browser.until("document.querySelector('#jobs-note').innerText === 'No node was asked for anything yet.'");
    browser.until("document.querySelector('#job-may').innerText.includes('operator')");
    assert_eq!(browser.value("document.querySelector('#job-wish').disabled"), true);
    browser.value("document.querySelector('#logout').click()");

    // Only what the kind of job needs is asked for.
    log_in(&mut browser, "otto");
    go(&mut browser, "jobs");
    browser
        .until("!document.querySelector('#job-wish').disabled && document.querySelector('#job-may').hidden");
    let shown = "Array.from(document.querySelectorAll('#job label:not([hidden])')).map((one) => one.control.name).join()";
    assert_eq!(browser.value(shown), "kind,node,priority");
    let choose = "(() => { const kind = document.querySelector('#job').elements.kind; kind.value = 'unblock'; \
                  kind.dispatchEvent(new Event('change')); })()";
    browser.value(choose);
    browser.until(&format!("{shown} === 'kind,node,priority,source,response'"));
    let ask = |browser: &mut Browser, fields: &[(&str, &str)]| {
        for (name, text) in fields {
            browser.value(&format!("document.querySelector('#job').elements['{name}'].focus()"));
            browser.write(text);
        }
        browser.press("Enter");
    };
    // What the collector refuses is said, and what was written stays.
    ask(&mut browser, &[("source", "192.0.2.7")]);
    browser.until("document.querySelector('#said').innerText.includes('needs `node`')");
    assert_eq!(browser.value("document.querySelector('#job').elements.source.value"), "192.0.2.7");
    ask(&mut browser, &[("node", "node-1")]);
    let row = "document.querySelector('#jobs-rows').innerText.replace(/\\s+/g, ' ')";
    browser.until(&format!("{row}.includes('unblock 192.0.2.7 node-1 waiting normal 0 ')"));
    browser.until("document.querySelector('#said').innerText.endsWith(' waits.')");
    assert_eq!(browser.value(shown), "kind,node,priority", "the form is as it was");
    let rows = "document.querySelectorAll('#jobs-rows tr').length";
    for (scheme, name) in [("light", "jobs-light"), ("dark", "jobs-dark")] {
        browser.scheme(scheme);
        browser.picture(&picture(name));
    }

    // Taken back; one that was given up is tried again; its result is offered.
    browser.value("document.querySelector('#jobs-rows button').focus()");
    browser.press("Enter");
    browser.until(&format!(
        "{row}.includes('cancelled') && document.querySelectorAll('#jobs-rows button').length === 0"
    ));
    let dead =
        stage.job("node-2", Failed(JobFailed { reason: "the disk is full".to_owned(), is_final: true }));
    browser.until(&format!("{row}.includes('{dead} diagnostics node-2 dead normal 1 ') && {row}.includes('the disk is full Try again')"));
    go(&mut browser, "jobs?state=dead");
    browser.until(&format!(
        "{rows} === 1 && document.querySelector('#job-filter').elements.state.value === 'dead'"
    ));
    browser.value("document.querySelector('#jobs-rows button').click()");
    browser.until("document.querySelector('#said').innerText === 'The job waits again.'");
    browser.until("document.querySelector('#jobs-note').innerText === 'No job is like that.'");
    let done =
        stage.job("node-3", Done(JobDone { text: "nothing to pack".to_owned(), ..JobDone::default() }));
    go(&mut browser, "jobs?state=done");
    browser.until(&format!(
        "{row}.includes('{done} diagnostics node-3 done') && {row}.includes('nothing to pack Result')"
    ));
    let result = "fetch(document.querySelector('#jobs-rows a').href).then((answer) => answer.text()).then((text) => { window.got = text; })";
    browser.value(result);
    browser.until("window.got === 'nothing to pack'");
    is_clean(&browser, &stage);
}
