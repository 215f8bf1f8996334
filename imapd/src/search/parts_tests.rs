use super::super::testing::Dribble;
use super::*;
use common::mime::tree::{Kind, Tree};
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
            "Content-Type: multipart/a; boundary=x\n\n--x\nContent-Type: multipart/b; boundary=xy\n\n--xy\n\n1\n--xyz\n\n3\n--xy--\n--x\n\n2\n--x--\n",
            "Message Content-Type=multipart/a; boundary=x\nMessage end\nInner Content-Type=multipart/b; boundary=xy\nInner end\n\
             Inner end\nUTF-8 Identity <1>\nInner end\nUTF-8 Identity <3>\nInner end\nUTF-8 Identity <2>\n",
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
            "Content-Type: multipart/m; boundary=-\n\n---\n\n-\n--\n----\n\n2\n-----\nx",
            "Message Content-Type=multipart/m; boundary=-\nMessage end\nInner end\nUTF-8 Identity <-\\n-->\nInner end\nUTF-8 Identity <2>\n",
        ),
        (
            "the last line of a header is a delimiter",
            "Content-Type: multipart/m; boundary=x\n\n--x\nA: b\n--x--",
            "Message Content-Type=multipart/m; boundary=x\nMessage end\nInner A=b\nInner end\n",
        ),
    ];
    for (what, message, want) in table {
        for step in [1, 2, 3, 7, 10_000] {
            assert_eq!(&said(message.as_bytes(), step), want, "{what}, {step} at a time");
        }
    }
}

/// The texts in a message: charset, transfer encoding, octets. Empty ones are left out, and the CR of a last line end.
fn texts(message: &[u8], step: usize) -> Vec<(String, Transfer, Vec<u8>)> {
    let mut texts = Texts::default();
    walk(&mut Dribble(message, step), &mut Buffer::default(), &mut texts).unwrap();
    texts
        .0
        .iter_mut()
        .for_each(|(_, _, octets)| octets.truncate(octets.strip_suffix(b"\r").unwrap_or(octets).len()));
    texts.0.retain(|(_, _, octets)| !octets.is_empty());
    texts.0
}

#[derive(Default)]
struct Texts(Vec<(String, Transfer, Vec<u8>)>);

impl Visitor for Texts {
    fn field(&mut self, _: Header, _: &[u8], _: &[u8]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    fn header_end(&mut self, _: Header) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    fn text_begin(&mut self, text: Text) {
        self.0.push((text.encoding.name().to_owned(), text.transfer, Vec::new()));
    }
    fn text(&mut self, octets: &[u8]) -> ControlFlow<()> {
        self.0.last_mut().unwrap().2.extend_from_slice(octets);
        ControlFlow::Continue(())
    }
    fn text_end(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// The same as FETCH has it. A multipart in which its boundary is not found is text there, but not for who sees it only once.
fn fetched(message: &[u8]) -> Vec<(String, Transfer, Vec<u8>)> {
    let mut tree = Tree::new();
    tree.read_whole(message);
    let mut texts = Vec::new();
    for (number, part) in tree.parts().iter().enumerate().filter(|(_, part)| part.kind == Kind::Leaf) {
        let field = |name| tree.field(number, name).map(header::unfold);
        let (kind, transfer) = (field(Name::ContentType), field(Name::ContentTransferEncoding));
        let media = kind.as_deref().and_then(MediaType::parse);
        let mut encoding = UTF_8;
        if let Some(media) = media {
            let is = |kind: &[u8]| media.kind.eq_ignore_ascii_case(kind);
            let parameters = media.parameters();
            let parameter = |wanted: &[u8]| {
                let mut all = parameters.iter();
                all.find(|parameter| parameter.name.eq_ignore_ascii_case(wanted))
                    .map(|found| &found.value[..])
            };
            encoding = parameter(b"charset").and_then(charset::encoding).unwrap_or(UTF_8);
            let boundary = parameter(b"boundary").unwrap_or_default().trim_ascii_end().len();
            if !(is(b"text") || is(b"message") || is(b"multipart") && !(1..=998).contains(&boundary)) {
                continue;
            }
        }
        let transfer =
            match transfer.as_deref().and_then(content::token).unwrap_or_default().to_ascii_lowercase() {
                name if name == b"base64" => Transfer::Base64,
                name if name == b"quoted-printable" => Transfer::QuotedPrintable,
                _ => Transfer::Identity,
            };
        let octets = &message[part.body.offset as usize..part.end.offset as usize];
        let octets = octets.strip_suffix(b"\r").unwrap_or(octets);
        if !octets.is_empty() {
            texts.push((encoding.name().to_owned(), transfer, octets.to_vec()));
        }
    }
    texts
}

#[test]
fn parts_are_what_fetch_shows() {
    let long = |length: usize| {
        let boundary = "b".repeat(length);
        format!("Content-Type: multipart/m; boundary={boundary}\n\n--{boundary}\n\nneedle\n--{boundary}--\nx")
    };
    let latin = "Content-Type: text/plain; charset=iso-8859-1\n\nneedle";
    let mixed = |field: &str| format!("Content-Type: multipart/mixed; {field}\n\n--ab\n\nneedle\n--ab--\n");
    let part = |line: &str| format!("Content-Type: multipart/mixed; boundary=x\n\n{line}\n\nneedle\n--x--\n");
    let far = format!("--x{}", " ".repeat(3 * BUFFER));
    let field = format!("--x{}Content-Type: image/png", " ".repeat(boundary::LENGTH_MAX));
    type Row<'a> = (&'a str, String, Option<(&'a str, Transfer)>);
    let table: &[Row<'_>] = &[
        ("words behind a delimiter", part("--x foo"), Some(("UTF-8", Transfer::Identity))),
        ("a letter behind a delimiter", part("--xy"), Some(("UTF-8", Transfer::Identity))),
        ("a long delimiter", part(&far), Some(("UTF-8", Transfer::Identity))),
        ("what looks like a field behind a delimiter", part(&field), Some(("UTF-8", Transfer::Identity))),
        ("words behind the last one", part("--x--y") + "\n--x\n\nn", None),
        (
            "a comment before a type",
            latin.replace("text", "(c) text"),
            Some(("windows-1252", Transfer::Identity)),
        ),
        ("comments in a type", latin.replace('/', " (c) / (d)"), Some(("windows-1252", Transfer::Identity))),
        (
            "a comment before a charset",
            latin.replace("char", "(c) char"),
            Some(("windows-1252", Transfer::Identity)),
        ),
        (
            "a charset in two",
            latin.replace("charset=iso-8859-1", "charset*0=iso-; charset*1=8859-1"),
            Some(("windows-1252", Transfer::Identity)),
        ),
        ("a type on two lines", latin.replace("; ", ";\r\n\t"), Some(("windows-1252", Transfer::Identity))),
        ("a comment before a boundary", mixed("(c) boundary=ab"), Some(("UTF-8", Transfer::Identity))),
        ("a boundary in two", mixed("boundary*0=a; boundary*1=b"), Some(("UTF-8", Transfer::Identity))),
        (
            "of two boundaries the first",
            mixed("boundary=ab; boundary=x"),
            Some(("UTF-8", Transfer::Identity)),
        ),
        (
            "a comment before an encoding",
            "Content-Transfer-Encoding: (c) base64\n\nneedle".to_owned(),
            Some(("UTF-8", Transfer::Base64)),
        ),
        (
            "of two encodings the first",
            "Content-Transfer-Encoding: 8bit\nContent-Transfer-Encoding: base64\n\nneedle".to_owned(),
            Some(("UTF-8", Transfer::Identity)),
        ),
        (
            "of two types the first",
            latin.replace("\n\n", "\nContent-Type: image/png\n\n"),
            Some(("windows-1252", Transfer::Identity)),
        ),
        ("and if it is none", format!("Content-Type: image\n{latin}"), Some(("UTF-8", Transfer::Identity))),
        ("a boundary of 250", long(250), Some(("UTF-8", Transfer::Identity))),
        ("a boundary of 998", long(998), Some(("UTF-8", Transfer::Identity))),
        (
            "no boundary",
            "Content-Type: multipart/m\n\nneedle".to_owned(),
            Some(("UTF-8", Transfer::Identity)),
        ),
        (
            "an encoded message",
            "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nA: b\n\nneedle".to_owned(),
            Some(("UTF-8", Transfer::Identity)),
        ),
        (
            // RFC 6532 section 3.7.
            "an encoded message that may be",
            "Content-Type: message/global\nContent-Transfer-Encoding: base64\n\nneedle".to_owned(),
            Some(("UTF-8", Transfer::Base64)),
        ),
    ];
    for (what, message, want) in table {
        let want: Vec<_> =
            want.iter().map(|(name, transfer)| ((*name).to_owned(), *transfer, b"needle".to_vec())).collect();
        for step in [1, 3, 1000, 1 << 20] {
            assert_eq!(texts(message.as_bytes(), step), want, "{what}, {step} at a time");
        }
        assert_eq!(fetched(message.as_bytes()), want, "{what}, as FETCH has it");
    }
    // A boundary that is too long is none for both.
    assert_eq!(texts(long(999).as_bytes(), 1 << 20), fetched(long(999).as_bytes()));
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
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_fetch_shows_is_seen(
        message in "(Content-Type: multipart/(mixed|digest); boundary=b(\n\n--b\n)?\n\
                    |Content-Type: multipart/a; boundary=bb\n\n--bb\n(Content-Type: multipart/b; boundary=(b|bb|bbb)\n\n--bb\n)?\
                    |Content-Type: (message/rfc822|text/plain(; charset=latin2)?|image/x|\\(c\\) text / html|multipart/x|x)\n\
                    |Content-Transfer-Encoding: (\\(c\\) )?(base64|quoted-printable|8bit)\r?\n\
                    |\r?\n?--(b|bb|bbb|bc|cb)(--)?[ x\n]?\n|\n| ;|a: b\n|x|-|\r\n|y\n\n){0,25}",
        step in prop_oneof![1usize..9, Just(1 << 20)],
    ) {
        prop_assert_eq!(texts(message.as_bytes(), step), fetched(message.as_bytes()));
    }

    #[test]
    fn pieces_make_no_difference(
        message in "(Content-Type: multipart/mixed; boundary=b\n|\n|--b\n|--b--|a: b\n|\n\n| x|-|\r\n|Content-Type: message/rfc822\n|Content-Type: image/x\n){0,20}",
        step in 1usize..9,
    ) {
        prop_assert_eq!(said(message.as_bytes(), step), said(message.as_bytes(), 1 << 20));
    }
}
