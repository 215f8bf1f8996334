use super::*;
use proptest::prelude::*;

/// Octets with their line ends to be seen.
fn seen(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).replace('\r', "\\r").replace('\n', "\\n").replace('\t', "\\t")
}

/// Says what it is shown.
#[derive(Default)]
struct Said(Vec<u8>, bool);

impl Said {
    fn line(&mut self, words: std::fmt::Arguments<'_>) {
        self.0.extend_from_slice(words.to_string().as_bytes());
    }
}

impl Visitor for Said {
    fn field(&mut self, header: Header, name: &[u8], value: &[u8]) -> ControlFlow<()> {
        self.line(format_args!("{header:?} {}={}\n", seen(name), seen(value)));
        ControlFlow::Continue(())
    }
    fn header_end(&mut self, header: Header) -> ControlFlow<()> {
        self.line(format_args!("{header:?} end\n"));
        ControlFlow::Continue(())
    }
    fn text_begin(&mut self, text: Text) {
        assert!(!std::mem::replace(&mut self.1, true));
        self.line(format_args!("{} {:?} <", text.encoding.name(), text.transfer));
    }
    fn text(&mut self, octets: &[u8]) -> ControlFlow<()> {
        assert!(self.1);
        self.line(format_args!("{}", seen(octets)));
        ControlFlow::Continue(())
    }
    fn text_end(&mut self) -> ControlFlow<()> {
        assert!(std::mem::replace(&mut self.1, false));
        self.line(format_args!(">\n"));
        ControlFlow::Continue(())
    }
}

/// Hands out so many octets at a time.
struct Dribble<'a>(&'a [u8], usize);

impl Read for Dribble<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = room.len().min(self.1).min(self.0.len());
        room[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

fn said(message: &[u8], step: usize) -> String {
    let mut said = Said::default();
    walk(&mut Dribble(message, step), &mut Buffer::default(), &mut said).unwrap();
    String::from_utf8(said.0).unwrap()
}

#[test]
fn messages() {
    let table: &[(&str, &str, &str)] = &[
        ("nothing", "", "Message end\n"),
        ("no body", "A: b", "Message A=b\nMessage end\n"),
        ("an empty body", "A: b\r\n\r\n", "Message A=b\nMessage end\nUTF-8 Identity <>\n"),
        ("no header", "\nbody\n", "Message end\nUTF-8 Identity <body\\n>\n"),
        (
            "LF",
            "A: b\n c\nno colon\n\nx",
            "Message A=b\\n c\nMessage =no colon\nMessage end\nUTF-8 Identity <x>\n",
        ),
        (
            "a charset",
            "content-type: Text/HTML; charset=\"ISO-8859-2\"\ncontent-transfer-encoding:\tQuoted-Printable \n\nx",
            "Message content-type=Text/HTML; charset=\"ISO-8859-2\"\n\
             Message content-transfer-encoding=\\tQuoted-Printable \nMessage end\nISO-8859-2 QuotedPrintable <x>\n",
        ),
        ("opaque", "Content-Type: image/png\n\nx", "Message Content-Type=image/png\nMessage end\n"),
        (
            "parts",
            "Content-Type: multipart/mixed; x=\"a;b\"; boundary=\"b b\\\"\"\n\npre\n--b b\"\n\none\n--b b\" \nC: d\n\ntwo\r\n--b b\"--\npost\n",
            "Message Content-Type=multipart/mixed; x=\"a;b\"; boundary=\"b b\\\"\"\nMessage end\nInner end\nUTF-8 Identity <one>\n\
             Inner C=d\nInner end\nUTF-8 Identity <two\\r>\n",
        ),
        (
            "a longer boundary with the same beginning",
            "Content-Type: multipart/a; boundary=x\n\n--x\nContent-Type: multipart/b; boundary=xy\n\n--xy\n\n1\n--xyz\n--xy--\n--x\n\n2\n--x--\n",
            "Message Content-Type=multipart/a; boundary=x\nMessage end\nInner Content-Type=multipart/b; boundary=xy\nInner end\n\
             Inner end\nUTF-8 Identity <1\\n--xyz>\nInner end\nUTF-8 Identity <2>\n",
        ),
        (
            "an outer boundary ends the inner multipart",
            "Content-Type: multipart/a; boundary=x\n\n--x\nContent-Type: multipart/b; boundary=y\n\n--y\n\n1\n--x\n\n2",
            "Message Content-Type=multipart/a; boundary=x\nMessage end\nInner Content-Type=multipart/b; boundary=y\nInner end\n\
             Inner end\nUTF-8 Identity <1>\nInner end\nUTF-8 Identity <2>\n",
        ),
        (
            "a message in a message",
            "Content-Type: message/rfc822\n\nA: b\nContent-Type: text/x\n\nbody",
            "Message Content-Type=message/rfc822\nMessage end\nInner A=b\nInner Content-Type=text/x\nInner end\nUTF-8 Identity <body>\n",
        ),
        (
            "a digest",
            "Content-Type: multipart/digest; boundary=x\n\n--x\n\nA: b\n\nbody\n--x--",
            "Message Content-Type=multipart/digest; boundary=x\nMessage end\nInner end\nInner A=b\nInner end\nUTF-8 Identity <body>\n",
        ),
        (
            "a header without an end",
            "Content-Type: multipart/m; boundary=x\n\n--x\nA: b\n--x\n\n2\n--x--",
            "Message Content-Type=multipart/m; boundary=x\nMessage end\nInner A=b\nInner end\nInner end\nUTF-8 Identity <2>\n",
        ),
        (
            "a delimiter at once",
            "Content-Type: multipart/m; boundary=x\n\n--x\n\n--x--",
            "Message Content-Type=multipart/m; boundary=x\nMessage end\nInner end\nUTF-8 Identity <>\n",
        ),
        (
            "hyphens",
            "Content-Type: multipart/m; boundary=-\n\n---\n\n-\n--\n----\n-----\nx",
            "Message Content-Type=multipart/m; boundary=-\nMessage end\nInner end\nUTF-8 Identity <-\\n--\\n---->\n",
        ),
    ];
    for (what, message, want) in table {
        for step in [1, 2, 3, 7, 10_000] {
            assert_eq!(&said(message.as_bytes(), step), want, "{what}, {step} at a time");
        }
    }
}

#[test]
fn nesting_is_bounded() {
    let mut message = String::new();
    for level in 0..1000 {
        message += &format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n");
    }
    message += "\ndeep\n";
    assert!(!said(message.as_bytes(), 10_000).contains("deep"));
    assert!(said("Content-Type: message/rfc822\n\n".repeat(5000).as_bytes(), 10_000).len() > 5000);
}

#[test]
fn long_fields_come_in_pieces() {
    for folded in [false, true] {
        for length in [BUFFER - 20, BUFFER - 3, BUFFER - 2, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER + 17] {
            let line = if folded { "x".repeat(62) + "\n " } else { "x".repeat(64) };
            let mut message = format!("Long: {}", &line.repeat(length / 64 + 1)[..length]).into_bytes();
            message.truncate(message.trim_ascii_end().len());
            message.extend_from_slice(b"\nOther: y\n\nbody\n");
            let said = said(&message, 1 << 20);
            assert!(said.ends_with("Message Other=y\nMessage end\nUTF-8 Identity <body\\n>\n"), "{length}");
            let shown: usize = said
                .lines()
                .filter(|line| line.starts_with("Message Long="))
                .map(|line| line.matches('x').count())
                .sum();
            assert_eq!(shown, message.iter().filter(|octet| **octet == b'x').count());
        }
    }
}

#[test]
fn texts_longer_than_the_buffer() {
    let body = "0123456789\n--no delimiter\n".repeat(20_000);
    let message = format!("Content-Type: multipart/m; boundary=x\n\n--x\n\n{body}\n--x--\nend");
    let shown = said(message.as_bytes(), 1 << 20);
    let (_, text) = shown.split_once('<').unwrap();
    assert_eq!(text, format!("{}>\n", seen(body.as_bytes())));
}

proptest! {
    #[test]
    fn pieces_make_no_difference(
        message in "(Content-Type: multipart/mixed; boundary=b\n|\n|--b\n|--b--|a: b\n|\n\n| x|-|\r\n|Content-Type: message/rfc822\n|Content-Type: image/x\n){0,20}",
        step in 1usize..9,
    ) {
        prop_assert_eq!(said(message.as_bytes(), step), said(message.as_bytes(), 1 << 20));
    }
}
