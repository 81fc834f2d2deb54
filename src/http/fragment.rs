//! Makes a request unreadable whose target has a fragment, which has no place in one (RFC 9112 §3.2).
//!
//! The parser of requests drops it without a word. At the door where the path is the caller's own (`/authz/envoy/…`)
//! that would decide about another path than the one that was asked for. So the bytes of a connection are looked at
//! before they are parsed, for what a request line to be refused cannot do without: the door's name, a `#` later in the
//! same word, and ` HTTP/1.` right behind that word. The dot becomes a byte that nothing parses, and the answer is 400.
//!
//! Where in the stream a request line begins is the parser's knowledge alone, so this counts anywhere, in bodies too. There
//! it changes nothing that is read: the door reads no body, a form has neither spaces nor `#` (they are escaped), and no
//! value that Legion's JSON has a use for can hold a space. The admin listener, whose bodies may hold any text, has no
//! such door and is not looked at.
//!
//! Knows bytes alone; one reader per connection sees every byte once, however they are cut into reads.

const DOOR: u128 = last(b"/authz/envoy");
const VERSION: u128 = last(b" HTTP/1.");

/// A word, which is what stands between spaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Word {
    /// No target of a request: what stands before a target is a method and a space.
    #[default]
    Other,
    /// What may become one for the door.
    Target,
    /// It names the door.
    AtDoor,
    /// It has a `#` behind that.
    WithFragment,
}

/// How far what was read last is a request line to be refused.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// The word before the last space of the line.
    former: Word,
    word: Word,
    /// The last sixteen bytes.
    last: u128,
}

impl Guard {
    /// Looks at the next bytes of the connection.
    pub(super) fn read(&mut self, bytes: &mut [u8]) {
        let Some(end) = bytes.last() else { return };
        if self.word == Word::WithFragment || self.former == Word::WithFragment || bytes.contains(&b'#') {
            return self.steps(bytes);
        }
        // Without a `#` all that matters is whether the last word, unfinished, may be a target. Most reads end a head,
        // or are all of a request whose body is one word.
        let blank = if is_blank(*end) { Some(bytes.len() - 1) } else { bytes.iter().rposition(|byte| is_blank(*byte)) };
        let rest = bytes.get_mut(blank.unwrap_or(0)..).unwrap_or_default();
        match (blank, rest.first()) {
            (Some(_), Some(b' ')) => self.steps(rest),
            (Some(_), _) => (self.former, self.word) = (Word::Other, Word::Other),
            (None, _) if self.word == Word::Target => self.steps(rest),
            (None, _) => {}
        }
    }

    fn steps(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.step(byte);
        }
    }

    fn step(&mut self, byte: &mut u8) {
        self.last = self.last << 8 | u128::from(*byte);
        match (self.word, *byte) {
            (word, b' ') => (self.former, self.word) = (word, Word::Target),
            (_, byte) if is_blank(byte) => (self.former, self.word) = (Word::Other, Word::Other),
            (Word::Target, b'y') if ends_in(self.last, DOOR, 12) => self.word = Word::AtDoor,
            (Word::AtDoor, b'#') => self.word = Word::WithFragment,
            (_, b'.') if self.former == Word::WithFragment && ends_in(self.last, VERSION, 8) => *byte = 0,
            _ => {}
        }
    }
}

/// What no target holds: spaces and what ends a line.
fn is_blank(byte: u8) -> bool {
    byte <= b' '
}

/// Up to sixteen bytes as a number.
const fn last(mut bytes: &[u8]) -> u128 {
    let mut number = 0;
    while let [first, rest @ ..] = bytes {
        number = number << 8 | *first as u128;
        bytes = rest;
    }
    number
}

fn ends_in(last: u128, wanted: u128, bytes: u32) -> bool {
    (last ^ wanted) << (128 - 8 * bytes) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the parser gets of these reads.
    fn guarded(reads: &[&[u8]]) -> Vec<u8> {
        let mut guard = Guard::default();
        let mut passed = Vec::new();
        for read in reads {
            let mut bytes = read.to_vec();
            guard.read(&mut bytes);
            passed.extend(bytes);
        }
        passed
    }

    /// The same said of all bytes at once: the dots that are to be taken.
    fn expected(bytes: &[u8]) -> Vec<u8> {
        let with_fragment = |word: &[u8]| {
            let door = word.windows(12).position(|window| window == b"/authz/envoy");
            door.is_some_and(|at| word[at..].contains(&b'#'))
        };
        let mut wanted = bytes.to_vec();
        for (at, _) in bytes.windows(8).enumerate().filter(|(_, window)| *window == b" HTTP/1.") {
            let before = bytes[..at].rsplit(|byte| is_blank(*byte)).next().unwrap();
            if with_fragment(before) && bytes[..at - before.len()].ends_with(b" ") {
                wanted[at + 7] = 0;
            }
        }
        wanted
    }

    #[test]
    fn a_fragment_at_the_door_is_made_unreadable_and_nothing_else_is_touched() {
        for (text, wanted) in [
            ("GET /authz/envoy/a#b HTTP/1.1\r\n", true),
            ("GET /authz/envoy#/b HTTP/1.0\n", true),
            ("GET /base/authz/envoy/a?b#c HTTP/1.1\r\n", true),
            ("GET http://edi/authz/authz/envoy/a#b#c HTTP/1.1\r\n", true),
            ("POST /x HTTP/1.1\r\n\r\na=bGET /authz/envoy/a#b HTTP/1.1\r\n", true),
            ("POST /x HTTP/1.1\r\n\r\n /authz/envoy/#GET /authz/envoy/a#b HTTP/1.1\r\n", true),
            ("GET /authz/envoy/a HTTP/1.1\r\nX: #\r\n\r\n#", false),
            ("GET /authz/nginx#/authz/envoy HTTP/1.1\r\n", false),
            ("GET /authz/envo/y#a HTTP/1.1\r\n", false),
            ("GET /authz/envoy/a HTTP/1.1\r\nReferer: http://a/#b\r\n", false),
            ("/authz/envoy/a#b HTTP/1.1\r\n", false),
            ("GET /authz/envoy/a#b\r\nX: HTTP/1.1\r\n", false),
            (r#"{"reason": "saw GET /authz/envoy/a#b in a log"}"#, false),
            ("reason=GET+/authz/envoy/a%23b+HTTP/1.1", false),
        ] {
            let result = guarded(&[text.as_bytes()]);
            assert_eq!(result != text.as_bytes(), wanted, "{text}");
            assert_eq!(result, expected(text.as_bytes()), "{text}");
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(guarded(&bytes), result, "{text}, byte by byte");
            for at in 0..text.len() {
                let (one, two) = text.as_bytes().split_at(at);
                assert_eq!(guarded(&[one, two]), result, "{text}, cut at {at}");
            }
        }
    }

    fn piece() -> impl Strategy<Value = &'static [u8]> {
        prop::sample::select(vec![
            &b"GET "[..],
            b"/authz/envoy",
            b"/authz",
            b"/envoy",
            b"/a",
            b"#",
            b" ",
            b" HTTP/1.1\r\n",
            b" HTTP/",
            b"1.0",
            b"\n",
            b"\xff",
            b"x",
        ])
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut(reads in prop::collection::vec(prop::collection::vec(piece(), 0..6), 0..8), size in 1..20_usize) {
            let reads: Vec<Vec<u8>> = reads.iter().map(|pieces| pieces.concat()).collect();
            let all = reads.concat();
            let as_cut: Vec<&[u8]> = reads.iter().map(Vec::as_slice).collect();
            let evenly: Vec<&[u8]> = all.chunks(size).collect();
            prop_assert_eq!(guarded(&as_cut), expected(&all));
            prop_assert_eq!(guarded(&evenly), expected(&all));
        }
    }
}
