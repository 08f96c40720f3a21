//! A name server of a case: answers what it is asked for with the addresses the case names, as long as it is there.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{Ipv4Addr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};

/// Longest question; one name and no more.
const MESSAGE_MAX: usize = 512;
const HEADER_LEN: usize = 12;
/// A response to a question that asked for recursion, which is available.
const RESPONSE: [u8; 2] = [0x81, 0x80];
/// Kind and class of an IPv4 address of the Internet.
const KIND_A: [u8; 4] = [0, 1, 0, 1];
/// The name at the start of the question, kind and class again, an hour, and the length of an address.
const ANSWER: [u8; 12] = [0xc0, HEADER_LEN as u8, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4];
/// How often it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

/// What a case wants of it.
#[derive(Debug)]
pub(crate) struct Answers(BTreeMap<String, Ipv4Addr>);

/// A server that was started; ends when it is dropped.
#[derive(Debug)]
pub(crate) struct NameServer {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answers {
    /// Reads pairs of host name and address.
    pub(crate) fn read(pairs: Vec<(String, String)>) -> Result<Self> {
        let one = |(host, address): (String, String)| {
            let address = address.parse().with_context(|| format!("`{address}` is no IPv4 address"))?;
            Ok((host.to_ascii_lowercase(), address))
        };
        pairs.into_iter().map(one).collect::<Result<_>>().map(Self)
    }

    /// The response to a question; `None` where it is none.
    fn response(&self, message: &[u8]) -> Option<Vec<u8>> {
        let (id, question) = (message.get(..2)?, message.get(HEADER_LEN..)?);
        let (mut name, mut rest) = (Vec::new(), question);
        loop {
            let (&length, after) = rest.split_first()?;
            let (label, after) = after.split_at_checked(length.into())?;
            rest = after;
            if label.is_empty() {
                break;
            }
            name.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        }
        let kind = rest.get(..KIND_A.len())?;
        // What comes behind the question, such as options, is not answered.
        let question = question.get(..question.len() - rest.len() + KIND_A.len())?;
        let address = self.0.get(&name.join(".")).filter(|_| kind == KIND_A);
        let mut response =
            [id, &RESPONSE, &[0, 1, 0, address.is_some().into(), 0, 0, 0, 0], question].concat();
        if let Some(address) = address {
            response.extend(ANSWER);
            response.extend(address.octets());
        }
        Some(response)
    }
}

impl NameServer {
    /// Starts one at an address with a port.
    pub(crate) fn start(address: &str, answers: &Answers) -> Result<Self> {
        let socket = UdpSocket::bind(address).with_context(|| format!("cannot bind `{address}`"))?;
        socket.set_read_timeout(Some(LOOK)).context("cannot set a timeout")?;
        let ends = Arc::new(AtomicBool::new(false));
        let (answers, end) = (Answers(answers.0.clone()), Arc::clone(&ends));
        let thread = thread::spawn(move || serve(&socket, &answers, &end));
        Ok(Self { ends, thread: Some(thread) })
    }
}

fn serve(socket: &UdpSocket, answers: &Answers, ends: &AtomicBool) {
    let mut message = [0; MESSAGE_MAX];
    while !ends.load(Ordering::Relaxed) {
        match socket.recv_from(&mut message) {
            Ok((length, from)) => {
                if let Some(response) = message.get(..length).and_then(|message| answers.response(message)) {
                    // Who asked may be gone.
                    drop(socket.send_to(&response, from));
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // Whoever asks hears nothing, which fails the case.
            Err(_) => return,
        }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Answers {
        Answers::read(vec![("Gw.Example".to_owned(), "203.0.113.9".to_owned())]).unwrap()
    }

    fn question(kind: u8) -> Vec<u8> {
        [b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x02gW\x07example\0\0".as_slice(), &[kind, 0, 1]].concat()
    }

    #[test]
    fn known_names_have_an_address() {
        let response = answers().response(&question(1)).unwrap();
        assert_eq!(response[..8], [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1]);
        assert_eq!(response[response.len() - 4..], [203, 0, 113, 9]);
        let none = answers().response(&question(28)).unwrap();
        assert_eq!((none[7], none.len()), (0, question(28).len()), "no IPv6 address");
        assert_eq!(answers().response(b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x40gw"), None);
        assert!(Answers::read(vec![("a".to_owned(), "b".to_owned())]).is_err());
    }

    #[test]
    fn it_answers_until_it_is_dropped() {
        let server = NameServer::start("127.0.0.9:5399", &answers()).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.send_to(&question(1), "127.0.0.9:5399").unwrap();
        let mut message = [0; MESSAGE_MAX];
        let (length, _) = client.recv_from(&mut message).unwrap();
        assert_eq!(message[..length], answers().response(&question(1)).unwrap());
        drop(server);
        UdpSocket::bind("127.0.0.9:5399").unwrap();
    }
}
