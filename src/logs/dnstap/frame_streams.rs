//! Frame Streams, the writer's side with a handshake: how dnstap's messages go over a connection.
//!
//! ```text
//!   writer                                reader
//!   READY, content type ────────────────▶
//!          ◀──────────────────────────── ACCEPT, content type
//!   START, content type ────────────────▶
//!   length, frame; length, frame; … ────▶
//!   STOP ───────────────────────────────▶
//!          ◀──────────────────────────── FINISH
//! ```
//!
//! A data frame is its length and its octets. A length of 0 begins a control frame: its length, its type, and fields, each
//! with type, length and octets. All numbers have four octets, the most significant first.

use std::io::{self, Read, Write};

/// The content type of dnstap's messages.
pub const DNSTAP: &[u8] = b"protobuf:dnstap.Dnstap";

const ACCEPT: u32 = 1;
const START: u32 = 2;
const STOP: u32 = 3;
const READY: u32 = 4;
const FINISH: u32 = 5;
/// The type of the only field there is.
const CONTENT_TYPE: u32 = 1;

/// Octets that a control frame may have: as many as fstrm's own writer takes.
const MOST_CONTROL: usize = 512;
/// Control frames that are read while another is waited for.
const MOST_SKIPPED: usize = 8;

/// A connection on which data frames may be written.
#[derive(Debug)]
pub struct Writer<S>(S);

/// A control frame that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Control {
    kind: u32,
    content_types: Vec<Vec<u8>>,
}

impl<S: Read + Write> Writer<S> {
    /// Agrees with the reader that dnstap's messages come.
    ///
    /// # Errors
    /// It wants something else, says what cannot be understood, or goes away.
    pub fn begin(mut stream: S) -> io::Result<Writer<S>> {
        stream.write_all(&control(READY, Some(DNSTAP)))?;
        stream.flush()?;
        let accepted = await_control(&mut stream, ACCEPT)?;
        // A reader that names no content type takes any.
        if !accepted.content_types.is_empty() && !accepted.content_types.iter().any(|of| of == DNSTAP) {
            return Err(invalid("the reader accepts no dnstap"));
        }
        stream.write_all(&control(START, Some(DNSTAP)))?;
        stream.flush()?;
        Ok(Writer(stream))
    }

    /// Writes data frames, as [`frame`] makes them.
    ///
    /// # Errors
    /// The reader does not take them.
    pub fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        self.0.write_all(frames)?;
        self.0.flush()
    }

    /// Tells the reader that nothing more comes, and waits until it has all.
    ///
    /// # Errors
    /// It does not say so.
    pub fn finish(&mut self) -> io::Result<()> {
        self.0.write_all(&control(STOP, None))?;
        self.0.flush()?;
        await_control(&mut self.0, FINISH).map(drop)
    }

    pub fn inner(&mut self) -> &mut S {
        &mut self.0
    }
}

/// Adds a data frame.
pub fn frame(frames: &mut Vec<u8>, octets: &[u8]) {
    frames.extend(number(octets.len()));
    frames.extend_from_slice(octets);
}

fn control(kind: u32, content_type: Option<&[u8]>) -> Vec<u8> {
    let mut body = kind.to_be_bytes().to_vec();
    if let Some(content_type) = content_type {
        body.extend(CONTENT_TYPE.to_be_bytes());
        body.extend(number(content_type.len()));
        body.extend_from_slice(content_type);
    }
    [&[0; 4][..], &number(body.len()), &body].concat()
}

/// No frame is longer than a message with its circumstances.
fn number(length: usize) -> [u8; 4] {
    (length as u32).to_be_bytes()
}

fn await_control(stream: &mut impl Read, kind: u32) -> io::Result<Control> {
    for _ in 0..MOST_SKIPPED {
        let control = read_control(stream)?;
        if control.kind == kind {
            return Ok(control);
        }
    }
    Err(invalid("the reader does not keep to the handshake"))
}

/// Reads one control frame.
///
/// # Errors
/// Another kind of frame comes, one that is too long or malformed, or none.
pub fn read_control(stream: &mut impl Read) -> io::Result<Control> {
    let mut head = [0; 8];
    stream.read_exact(&mut head)?;
    let [escape @ .., l0, l1, l2, l3] = head;
    if escape != [0; 4] {
        return Err(invalid("the reader sends data"));
    }
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if length > MOST_CONTROL {
        return Err(invalid("the reader sends a control frame above 512 octets"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    parse(&body).ok_or_else(|| invalid("the reader sends a malformed control frame"))
}

fn parse(body: &[u8]) -> Option<Control> {
    let (kind, mut rest) = split_number(body)?;
    let mut content_types = Vec::new();
    while !rest.is_empty() {
        let (field, after) = split_number(rest)?;
        let (length, after) = split_number(after)?;
        let (octets, after) = after.split_at_checked(length as usize)?;
        if field != CONTENT_TYPE {
            return None;
        }
        content_types.push(octets.to_vec());
        rest = after;
    }
    Some(Control { kind, content_types })
}

fn split_number(octets: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = octets.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*number), rest))
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the reader says, and what was written to it.
    struct Script {
        says: io::Cursor<Vec<u8>>,
        heard: Vec<u8>,
    }

    impl Read for Script {
        fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
            self.says.read(octets)
        }
    }

    impl Write for Script {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.heard.write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn script(says: &[&[u8]]) -> Script {
        Script { says: io::Cursor::new(says.concat()), heard: Vec::new() }
    }

    #[test]
    fn a_whole_conversation_is_as_the_protocol_has_it() {
        let says = [control(ACCEPT, Some(DNSTAP)), control(FINISH, None)];
        let mut writer = Writer::begin(script(&[&says[0], &says[1]])).expect("accepted");
        let mut frames = Vec::new();
        frame(&mut frames, b"abc");
        writer.write(&frames).expect("written");
        writer.finish().expect("finished");
        let heard = String::from_utf8_lossy(&writer.inner().heard).into_owned();
        let expected = "\0\0\0\0\0\0\0\x22\0\0\0\x04\0\0\0\x01\0\0\0\x16protobuf:dnstap.Dnstap\
                        \0\0\0\0\0\0\0\x22\0\0\0\x02\0\0\0\x01\0\0\0\x16protobuf:dnstap.Dnstap\
                        \0\0\0\x03abc\0\0\0\0\0\0\0\x04\0\0\0\x03";
        assert_eq!(heard, expected);
    }

    #[test]
    fn a_reader_may_take_any_content_and_none_that_wants_another_is_written_to() {
        assert!(Writer::begin(script(&[&control(ACCEPT, None)])).is_ok());
        let refused = |says: &[u8]| Writer::begin(script(&[says])).err().expect("refused").to_string();
        assert!(refused(&control(ACCEPT, Some(b"protobuf:other"))).contains("accepts no dnstap"));
        assert!(refused(&control(FINISH, None).repeat(MOST_SKIPPED)).contains("handshake"));
        assert!(refused(&[0, 0, 0, 1, 0, 0, 0, 0]).contains("sends data"));
        assert!(refused(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).contains("above 512 octets"));
        assert!(refused(&[0, 0, 0, 0, 0, 0, 0, 2, 0, 1]).contains("malformed"));
        assert!(refused(b"HTTP/1.1 400 Bad Request\r\n\r\n").contains("sends data"));
        assert!(Writer::begin(script(&[])).is_err(), "it goes away");
    }

    proptest! {
        #[test]
        fn no_octets_of_a_reader_do_harm(octets in proptest::collection::vec(any::<u8>(), 0..700)) {
            let _ = Writer::begin(script(&[&octets]));
            let _ = Writer::begin(script(&[&[0; 4], &octets]));
            let length = number(octets.len());
            let _ = Writer::begin(script(&[&[0; 4], &length, &octets]));
            let _ = parse(&octets);
        }

        #[test]
        fn a_control_frame_is_read_as_it_was_written(kind in any::<u32>(), content in proptest::collection::vec(any::<u8>(), 0..400)) {
            let read = read_control(&mut io::Cursor::new(control(kind, Some(&content)))).expect("read");
            prop_assert_eq!(read, Control { kind, content_types: vec![content] });
        }
    }
}
