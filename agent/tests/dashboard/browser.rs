//! Chromium without a screen, driven over its own debugging pipe: JSON messages with a zero byte behind each.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Pid, geteuid},
};
use serde_json::{Value, json};

/// Longest wait for anything, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(90);
/// The programs it is known by.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// The pipe is expected as descriptors 3 and 4.
const PIPE: &str = r#"exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>/dev/null"#;
/// No screen, nothing of the user's, nobody but this machine, and no sound about any of it.
const SWITCHES: [&str; 15] = [
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--mute-audio",
    "--password-store=basic",
    "--window-size=1280,900",
];

/// A browser with one page.
pub(super) struct Browser {
    child: Child,
    to: Option<ChildStdin>,
    from: Receiver<Value>,
    number: u64,
    session: Option<String>,
    /// What it said unasked.
    events: Vec<Value>,
    profile: tempfile::TempDir,
}

/// The browser of this machine.
pub(super) fn program() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    PROGRAMS
        .iter()
        .find_map(|name| env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file()))
}

impl Browser {
    pub(super) fn start(program: &Path) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let log = profile.path().join("log");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", PIPE]).arg(program).args(SWITCHES);
        command.arg(format!("--user-data-dir={}", profile.path().join("profile").display()));
        if geteuid().is_root() {
            // Its sandbox refuses root, and the only page is ours.
            command.arg("--no-sandbox");
        }
        command.arg("about:blank").env("HOME", profile.path()).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(fs::File::create(log).unwrap());
        let mut child = command.spawn().unwrap();
        let (sender, from) = sync_channel(4096);
        let mut out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            let mut message = Vec::new();
            while out.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                let said = serde_json::from_slice(message.strip_suffix(b"\0").unwrap_or(&message));
                if said.is_ok_and(|said| sender.send(said).is_err()) {
                    return;
                }
                message.clear();
            }
        });
        let to = child.stdin.take();
        let mut browser = Self { child, to, from, number: 0, session: None, events: Vec::new(), profile };
        let target = browser.ask("Target.createTarget", &json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.ask("Target.attachToTarget", &target);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.ask(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// Asks, and waits for the answer, which must be one.
    pub(super) fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.try_ask(method, params).unwrap_or_else(|error| panic!("`{method}`: {error}"))
    }

    /// Asks, and waits for the answer or what the browser has against it.
    fn try_ask(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let to = self.to.as_mut().unwrap();
        to.write_all(format!("{message}\0").as_bytes()).unwrap();
        to.flush().unwrap();
        let end = Instant::now() + PATIENCE;
        loop {
            let said = self.from.recv_timeout(end.saturating_duration_since(Instant::now()));
            let said =
                said.unwrap_or_else(|error| panic!("no answer to `{method}`: {error}; {}", self.log()));
            if said["id"] == self.number {
                return said
                    .get("error")
                    .map_or_else(|| Ok(said["result"].clone()), |error| Err(error.clone()));
            }
            if said.get("method").is_some() {
                self.events.push(said);
            }
        }
    }

    /// Goes to a page, and waits until it is there: a question put before that may be answered by the page that leaves.
    pub(super) fn open(&mut self, url: &str) {
        let answer = self.ask("Page.navigate", &json!({ "url": url }));
        assert!(answer.get("errorText").is_none(), "{url}: {answer}");
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// What an expression of the page comes to.
    pub(super) fn value(&mut self, expression: &str) -> Value {
        self.try_value(expression).unwrap_or_else(|error| panic!("`{expression}`: {error}"))
    }

    /// The same, or why there is none: the page may be leaving, or not be whole yet.
    fn try_value(&mut self, expression: &str) -> Result<Value, Value> {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.try_ask("Runtime.evaluate", &params)?;
        answer
            .get("exceptionDetails")
            .map_or_else(|| Ok(answer["result"]["value"].clone()), |error| Err(error.clone()))
    }

    /// Waits until an expression of the page is true.
    pub(super) fn until(&mut self, expression: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let last = self.try_value(expression);
            if last.as_ref().is_ok_and(|value| *value == true) {
                return;
            }
            if Instant::now() >= end {
                let page = self.value("document.body.innerText");
                let page = page.as_str().unwrap_or("?");
                panic!("`{expression}` does not become true, but {last:?}, on this page:\n{page}");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Presses a key and lets it go.
    pub(super) fn press(&mut self, key: &str) {
        self.press_with(key, 0);
    }

    /// The same with modifiers: 8 is shift.
    pub(super) fn press_with(&mut self, key: &str, modifiers: u32) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            other => (other.chars().next().map_or(0, |letter| u32::from(letter.to_ascii_uppercase())), other),
        };
        let kind = if text.is_empty() { "rawKeyDown" } else { "keyDown" };
        let mut params = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers });
        if !text.is_empty() {
            params["text"] = text.into();
        }
        self.ask("Input.dispatchKeyEvent", &params);
        params["type"] = "keyUp".into();
        self.ask("Input.dispatchKeyEvent", &params);
    }

    /// Types a text where the focus is.
    pub(super) fn write(&mut self, text: &str) {
        self.ask("Input.insertText", &json!({ "text": text }));
    }

    /// What the user wants to have dark or light.
    pub(super) fn scheme(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.ask("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// Keeps a picture of the page.
    pub(super) fn picture(&mut self, path: &Path) {
        let size = self.ask("Page.getLayoutMetrics", &json!({}))["cssContentSize"].clone();
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let params = json!({ "captureBeyondViewport": true, "clip": clip });
        let answer = self.ask("Page.captureScreenshot", &params);
        let png = decode(answer["data"].as_str().unwrap());
        assert!(png.starts_with(b"\x89PNG"), "it is no picture");
        fs::write(path, png).unwrap();
    }

    /// What it said of one kind.
    pub(super) fn said(&self, method: &str) -> Vec<Value> {
        let of_kind = self.events.iter().filter(|event| event["method"] == method);
        of_kind.map(|event| event["params"].clone()).collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.profile.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Whoever loses the pipe ends; what does not is ended with its children, which are of its group.
        self.to = None;
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(20));
        }
        if let Ok(group) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// Base64.
fn decode(text: &str) -> Vec<u8> {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let value = letters.iter().position(|own| *own == letter).unwrap();
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
