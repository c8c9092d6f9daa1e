//! Server-sent events as they arrive: octets in, frames out. The other end of [`super::live`].
//!
//! Of <https://html.spec.whatwg.org/multipage/server-sent-events.html>, section 9.2.6, as far as this server makes use of it:
//! `event`, `id` and `data`, one line each.

/// A longer frame is none of ours, in octets: the status of 1,024 regions of 64 endpoints, and room.
const MOST: usize = 64 * 1024 * 1024;

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// `status` or `event`; empty where none was named.
    pub event: String,
    pub id: Option<u64>,
    /// JSON.
    pub data: String,
}

/// What has arrived, and is no whole frame yet.
#[derive(Debug, Default)]
pub struct Frames {
    octets: Vec<u8>,
    /// So many of them are known to hold no end of a frame.
    seen: usize,
}

impl Frames {
    pub fn add(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    /// Cuts off the next whole frame, where one is there.
    ///
    /// # Errors
    /// It is too long, or no UTF-8.
    pub fn cut_off(&mut self) -> Result<Option<Frame>, String> {
        let from = self.seen.saturating_sub(1);
        let left = self.octets.get(from..).unwrap_or_default();
        let Some(end) = left.windows(2).position(|two| two == b"\n\n") else {
            self.seen = self.octets.len();
            return if self.seen > MOST { Err(format!("an event of more than {MOST} octets")) } else { Ok(None) };
        };
        let rest = self.octets.split_off(from + end + 2);
        let whole = std::mem::replace(&mut self.octets, rest);
        self.seen = 0;
        let text = String::from_utf8(whole).map_err(|_| "an event that is no UTF-8".to_owned())?;
        Ok(Some(frame(&text)))
    }
}

fn frame(text: &str) -> Frame {
    let mut frame = Frame::default();
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => frame.event = value.to_owned(),
            "id" => frame.id = value.parse().ok(),
            "data" => frame.data.push_str(value),
            _ => {} // a comment, or nothing of ours
        }
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_however_they_are_cut() {
        let stream = "event: status\ndata: {\"é\":1}\n\n: still here\n\nevent: event\nid: 42\ndata: {}\n\nevent: st";
        let expected = [("status", None, "{\"é\":1}"), ("", None, ""), ("event", Some(42), "{}")];
        for size in 1..stream.len() {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for octets in stream.as_bytes().chunks(size) {
                frames.add(octets);
                while let Some(frame) = frames.cut_off().expect("frames") {
                    found.push(frame);
                }
            }
            let found: Vec<_> = found.iter().map(|of| (&*of.event, of.id, &*of.data)).collect();
            assert_eq!(found, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_stream_of_ours_is_an_error_and_bounded() {
        let mut frames = Frames::default();
        frames.add(b"data: \xff\n\n");
        assert!(frames.cut_off().is_err());
        let mut frames = Frames::default();
        frames.add(&vec![b'x'; MOST + 1]);
        assert!(frames.cut_off().is_err());
    }
}
