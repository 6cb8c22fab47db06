//! The QEMU Machine Protocol, typed by the `qapi` crate and read without blocking
//! (docs/interop/qmp-spec.rst).

use qapi::qmp;
use serde::Serialize;

/// Longest line QEMU may send, in bytes. Its greeting has about 300.
const MAX_LINE: usize = 256 * 1024;

/// Cuts QEMU's side of the conversation into events; answers to commands carry no news for us, except errors.
#[derive(Default)]
pub struct Reader {
    buffer: Vec<u8>,
    greeted: bool,
}

/// What QEMU said.
#[derive(Debug)]
pub enum Said {
    /// The greeting, with QEMU's version: commands can be sent from now on, [`capabilities`] first.
    Greeting(String),
    /// An event.
    Event(Box<qmp::Event>),
    /// A command failed.
    CommandFailed(String),
    /// Something that is no QMP of ours: an event of a newer QEMU, for one. It is logged and passed over.
    Unknown(String),
}

impl Reader {
    /// Takes bytes and gives what they say.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Said> {
        self.buffer.extend_from_slice(bytes);
        let mut said = Vec::new();
        while let Some(end) = self.buffer.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            said.extend(self.line(line.trim_ascii()));
        }
        if self.buffer.len() > MAX_LINE {
            said.push(Said::Unknown(format!("a line longer than {MAX_LINE} bytes")));
            self.buffer.clear();
        }
        said
    }

    fn line(&mut self, line: &[u8]) -> Option<Said> {
        if line.is_empty() {
            return None;
        }
        if !self.greeted
            && let Ok(greeting) = serde_json::from_slice::<qmp::QapiCapabilities>(line)
        {
            self.greeted = true;
            let version = greeting.QMP.version;
            let numbers = format!("{}.{}.{}", version.qemu.major, version.qemu.minor, version.qemu.micro);
            return Some(Said::Greeting(format!("{numbers} {}", version.package).trim().to_owned()));
        }
        match serde_json::from_slice::<qmp::QmpMessage<serde_json::Value>>(line) {
            Ok(qmp::QmpMessage::Event(event)) => Some(Said::Event(Box::new(event))),
            Ok(qmp::QmpMessage::Response(response)) => {
                response.result().err().map(|e| Said::CommandFailed(e.to_string()))
            }
            Err(e) => Some(Said::Unknown(format!("{e}: {}", String::from_utf8_lossy(line)))),
        }
    }
}

/// A command as a line to send.
pub fn command<C: qapi::Command + Serialize>(command: &C) -> Vec<u8> {
    let mut line = serde_json::to_vec(&qapi::Execute::<&C>::from(command)).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Leaves negotiation mode; must be the first command.
pub fn capabilities() -> Vec<u8> {
    command(&qmp::qmp_capabilities { enable: None })
}

/// Ends QEMU.
pub fn quit() -> Vec<u8> {
    command(&qmp::quit {})
}

/// Sends the guest a non-maskable interrupt: the last resort to make a hung kernel print its stack.
pub fn inject_nmi() -> Vec<u8> {
    command(&qmp::inject_nmi {})
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": "x"}, "capabilities": ["oob"]}}"#;
    const SHUTDOWN: &str = r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#;

    #[test]
    fn greeting_events_and_errors_in_pieces() {
        let mut reader = Reader::default();
        let text = format!(
            "{GREETING}\r\n{{\"return\": {{}}}}\r\n{SHUTDOWN}\r\n{{\"error\": {{\"class\": \"GenericError\", \"desc\": \"no\"}}}}\n"
        );
        let mut said = Vec::new();
        for piece in text.as_bytes().chunks(7) {
            said.extend(reader.push(piece));
        }
        assert!(matches!(&said[0], Said::Greeting(version) if version == "10.0.2 x"), "{said:?}");
        assert!(matches!(&said[1], Said::Event(e) if matches!(**e, qmp::Event::SHUTDOWN { .. })), "{said:?}");
        assert!(matches!(&said[2], Said::CommandFailed(text) if text.contains("no")));
        assert_eq!(said.len(), 3);
    }

    #[test]
    fn garbage_is_named_and_bounded() {
        let mut reader = Reader::default();
        assert!(matches!(&reader.push(b"boo\n")[..], [Said::Unknown(text)] if text.contains("boo")));
        assert!(matches!(&reader.push(&vec![b'x'; MAX_LINE + 1])[..], [Said::Unknown(_)]));
        assert_eq!(reader.push(b"\n").len(), 0);
    }

    #[test]
    fn commands_are_what_the_specification_shows() {
        let line = String::from_utf8(quit()).unwrap();
        assert_eq!(line.trim(), r#"{"execute":"quit","arguments":{}}"#);
    }
}
