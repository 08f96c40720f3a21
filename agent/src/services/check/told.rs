//! What a backend says of itself: a line of words on a port of its own, as `HAProxy`'s agent check reads it.
//!
//! `75%` is its share of the weight, `ready`, `drain` and `maint` what is wanted of it, `up`, `down`, `failed` and
//! `stopped` how it is; what follows a `#` says why. Words that are not known are left out, and what a line does not
//! say stays as it was.

use std::io;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::config::AdminState;

/// Longest line, bytes.
const LINE_MAX: usize = 1024;
/// Largest share, in percent.
const PERCENT_MAX: u32 = 256;

/// What was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Share of its weight, in percent.
    pub percent: Option<u32>,
    /// What is wanted of it.
    pub admin: Option<AdminState>,
    /// Whether it is up, and when not, why.
    pub is_up: Option<Result<(), String>>,
}

impl Told {
    /// Reads a line; `None` when it says nothing that is known.
    pub fn of(line: &str) -> Option<Self> {
        let (words, why) = line.split_once('#').unwrap_or((line, ""));
        let why = why.trim();
        let down = |word: &str| {
            let reason = if why.is_empty() { String::new() } else { format!(": {why}") };
            Some(Err(format!("it says `{word}`{reason}")))
        };
        let mut told = Self::default();
        for word in words.split(|at: char| at == ',' || at.is_whitespace()).map(str::to_ascii_lowercase) {
            match word.as_str() {
                "ready" => told.admin = Some(AdminState::Ready),
                "drain" => told.admin = Some(AdminState::Drain),
                "maint" => told.admin = Some(AdminState::Maintenance),
                "up" => told.is_up = Some(Ok(())),
                "down" | "fail" | "failed" | "stopped" => told.is_up = down(&word),
                other => {
                    let percent = other.strip_suffix('%').and_then(|number| number.parse().ok());
                    told.percent = percent.filter(|percent| *percent <= PERCENT_MAX).or(told.percent);
                }
            }
        }
        (told != Self::default()).then_some(told)
    }

    /// Takes over what a newer line says.
    pub fn update(&mut self, newer: Self) {
        self.percent = newer.percent.or(self.percent);
        self.admin = newer.admin.or(self.admin);
        self.is_up = newer.is_up.or_else(|| self.is_up.take());
    }
}

/// Reads what a backend says. `greeting` is sent before.
pub(super) async fn listen(mut stream: TcpStream, greeting: Option<&str>) -> Result<Told, String> {
    if let Some(greeting) = greeting {
        let sent = stream.write_all(format!("{greeting}\n").as_bytes()).await;
        sent.map_err(|error| format!("cannot ask: {error}"))?;
    }
    let line = line(&mut stream).await.map_err(|error| format!("cannot read: {error}"))?;
    Told::of(&line).ok_or_else(|| format!("it says nothing that is known: `{}`", line.trim()))
}

/// A line, or what came until the end.
async fn line(stream: &mut TcpStream) -> io::Result<String> {
    let mut line = Vec::new();
    let mut chunk = [0; 256];
    while line.len() < LINE_MAX && !line.contains(&b'\n') {
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            break;
        }
        line.extend(chunk.get(..count).unwrap_or_default());
    }
    let text = String::from_utf8_lossy(&line).into_owned();
    Ok(text
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|letter| !letter.is_control() || *letter == '\t')
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        assert_eq!(Told::of("75%\n"), Some(Told { percent: Some(75), ..Told::default() }));
        let told = Told::of("up ready 50%").unwrap();
        assert_eq!((told.percent, told.admin, told.is_up), (Some(50), Some(AdminState::Ready), Some(Ok(()))));
        let told = Told::of("drain,20%\r\n").unwrap();
        assert_eq!((told.percent, told.admin, told.is_up), (Some(20), Some(AdminState::Drain), None));
        let told = Told::of("MAINT down # disk full, again").unwrap();
        assert_eq!(told.admin, Some(AdminState::Maintenance));
        assert_eq!(told.is_up, Some(Err("it says `down`: disk full, again".to_owned())));
        assert_eq!(Told::of("stopped").unwrap().is_up, Some(Err("it says `stopped`".to_owned())));
        for nothing in
            ["", "\n", "maxconn:30", "-5%", "%", "257%", "99999999999%", "# up", "HTTP/1.1 400 Bad Request"]
        {
            assert_eq!(Told::of(nothing), None, "{nothing}");
        }
        assert_eq!(Told::of("maxconn:30 0%").unwrap().percent, Some(0));
    }

    #[test]
    fn what_a_line_does_not_say_stays() {
        let mut told = Told::of("drain 20%").unwrap();
        told.update(Told::of("down").unwrap());
        assert_eq!((told.percent, told.admin), (Some(20), Some(AdminState::Drain)));
        assert!(told.is_up.as_ref().is_some_and(Result::is_err));
        told.update(Told::of("up ready 100%").unwrap());
        assert_eq!(told, Told { percent: Some(100), admin: Some(AdminState::Ready), is_up: Some(Ok(())) });
    }
}
