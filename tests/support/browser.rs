//! A real browser without a window: Chromium, told what to do over a pipe by its DevTools protocol.
//!
//! In: pages to open, scripts to run in them, keys to press. Out: what the scripts return, and everything that the
//! browser complained of: exceptions, errors in its console, what the page's policy refused.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::tools;

/// A busy machine starts a browser within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page. Ended, by its id, when this goes.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Option<String>,
    next: u64,
    /// What it complained of.
    pub complaints: Vec<String>,
}

/// Where it is installed.
pub fn chromium() -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(tools::present)
}

impl Browser {
    /// Starts with an empty page; what it keeps goes below `profile`.
    pub fn start(chromium: &Path, profile: &Path) -> Browser {
        // The protocol is spoken on the descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null"])
            .arg(chromium)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
            .args(["--no-proxy-server", "--no-first-run", "--disable-dev-shm-usage", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let (to, mut out) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (told, from) = channel();
        std::thread::spawn(move || {
            let (mut pending, mut buffer) = (Vec::new(), [0; 65536]);
            while let Ok(count @ 1..) = out.read(&mut buffer) {
                pending.extend_from_slice(&buffer[..count]);
                while let Some(end) = pending.iter().position(|&octet| octet == 0) {
                    let message: Vec<u8> = pending.drain(..=end).collect();
                    let Ok(message) = serde_json::from_slice(&message[..end]) else { continue };
                    if told.send(message).is_err() {
                        return;
                    }
                }
            }
        });
        let mut browser = Browser { child, to, from, session: None, next: 0, complaints: Vec::new() };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session = browser.call("Target.attachToTarget", attach)["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, json!({}));
        }
        browser
    }

    /// A method of the protocol, and what it gives.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut octets = message.to_string().into_bytes();
        octets.push(0);
        self.to.write_all(&octets).expect("the browser listens");
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let told = self.from.recv_timeout(left).unwrap_or_else(|error| panic!("{method}: {error}"));
            if told["id"] == json!(self.next) {
                assert!(told.get("error").is_none(), "{method}: {told}");
                return told["result"].clone();
            }
            self.listen(&told);
        }
    }

    fn listen(&mut self, told: &Value) {
        let parameters = &told["params"];
        match told["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => self.complaints.push(parameters["exceptionDetails"].to_string()),
            "Runtime.consoleAPICalled" if parameters["type"] == "error" || parameters["type"] == "warning" => {
                self.complaints.push(parameters["args"].to_string());
            }
            "Log.entryAdded"
                if parameters["entry"]["level"] == "error" || parameters["entry"]["level"] == "warning" =>
            {
                self.complaints.push(parameters["entry"]["text"].to_string());
            }
            _ => {}
        }
    }

    pub fn open(&mut self, address: &str) {
        self.call("Page.navigate", json!({ "url": address }));
        self.wait(
            "the page",
            &format!("location.href.startsWith({}) && document.readyState === 'complete'", json!(address)),
        );
    }

    /// The value of an expression in the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let asked =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true });
        let got = self.call("Runtime.evaluate", asked);
        assert!(got.get("exceptionDetails").is_none(), "{expression}: {got}");
        got["result"]["value"].clone()
    }

    pub fn text(&mut self, expression: &str) -> String {
        self.value(expression).as_str().unwrap_or_default().to_owned()
    }

    /// Returns once the expression is true.
    pub fn wait(&mut self, what: &str, expression: &str) {
        let until = Instant::now() + PATIENCE;
        while self.value(expression) != json!(true) {
            if Instant::now() > until {
                let page = self.text("document.body.innerText");
                panic!("not seen: {what}; complaints: {:?}; the page:\n{page}", self.complaints);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Presses a key that types nothing but what it does, such as `Tab`, or `Enter`.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            _ => panic!("no such key: {key}"),
        };
        let common = json!({ "key": key, "code": key, "windowsVirtualKeyCode": code });
        let mut down = common.clone();
        (down["type"], down["text"]) = (json!(if text.is_empty() { "rawKeyDown" } else { "keyDown" }), json!(text));
        let mut up = common;
        up["type"] = json!("keyUp");
        self.call("Input.dispatchKeyEvent", down);
        self.call("Input.dispatchKeyEvent", up);
    }

    /// Sets width and height in CSS pixels, and the colours asked for: `light` or `dark`.
    pub fn look(&mut self, width: u32, height: u32, colours: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": colours }] });
        self.call("Emulation.setEmulatedMedia", media);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
    }
}
