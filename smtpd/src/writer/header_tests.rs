use super::*;
use proptest::prelude::*;

fn submission() -> Submission {
    Submission { from: "<a@b.example>".into(), domain: "mx.example".into() }
}

fn pass(text: &[u8], piece: usize, submission: Option<&Submission>) -> Result<String, Status> {
    let mut out = Vec::new();
    let mut header = Header::new(submission);
    let mut sink = |octets: &[u8]| {
        out.extend_from_slice(octets);
        Ok(())
    };
    for piece in text.chunks(piece.max(1)) {
        header.pass(piece, &mut sink)?;
    }
    header.end(&mut sink)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn mail_that_is_no_submission_passes_as_it_is() {
    for text in
        ["", "a:", "\r\n", "Subject: x\r\n\r\nb\r\n", "A: b\r\nno field\r\n", "A:\r\n\r\n\r\n", "A: b\n\n"]
    {
        for piece in [1, 2, 3, 99] {
            assert_eq!(pass(text.as_bytes(), piece, None).unwrap(), text);
        }
    }
}

#[test]
fn a_text_without_any_field_is_no_header() {
    for (text, want) in [("no header at all\r\n", "\r\nno header at all\r\n"), (" x: y\r\n", "\r\n x: y\r\n")]
    {
        for piece in [1, 2, 3, 99] {
            assert_eq!(pass(text.as_bytes(), piece, None).unwrap(), want);
        }
    }
}

#[test]
fn a_submission_gets_what_it_lacks() {
    let ours = submission();
    for piece in [1, 2, 3, 5, 99] {
        let text = pass(b"Subject: x\r\n y\r\n\r\nFrom: z\r\n", piece, Some(&ours)).unwrap();
        let added =
            text.strip_prefix("Subject: x\r\n y\r\n").unwrap().strip_suffix("\r\nFrom: z\r\n").unwrap();
        let lines: Vec<&str> = added.lines().collect();
        assert!(lines[0].starts_with("Message-ID: <") && lines[0].ends_with("@mx.example>"), "{added}");
        assert!(lines[1].starts_with("Date: ") && lines[2] == "From: <a@b.example>", "{added}");
        assert_eq!(lines.len(), 3);
        let whole = "from : me\r\nDATE: x\r\nMessage-Id: y\r\n\r\nbody\r\n";
        assert_eq!(pass(whole.as_bytes(), piece, Some(&ours)).unwrap(), whole);
        // All header.
        let text = pass(b"From: me\r\n", piece, Some(&ours)).unwrap();
        assert!(text.starts_with("From: me\r\nMessage-ID: ") && text.contains("\r\nDate: "), "{text}");
    }
}

#[test]
fn a_message_that_lacks_nothing_passes_in_one_piece() {
    let ours = submission();
    let whole = b"Received: x\r\n\ty\r\nFrom: me\r\nDate: x\r\nMessage-Id: y\r\n\r\nbody\r\n\r\n";
    for submission in [None, Some(&ours)] {
        let mut lengths = Vec::new();
        let mut sink = |octets: &[u8]| {
            lengths.push(octets.len());
            Ok(())
        };
        let mut header = Header::new(submission);
        header.pass(whole, &mut sink).unwrap();
        header.pass(whole, &mut sink).unwrap();
        header.end(&mut sink).unwrap();
        assert_eq!(lengths, [whole.len(); 2]);
    }
}

#[test]
fn a_text_without_a_header_stays_below_what_is_added() {
    let ours = submission();
    for piece in [1, 3, 99] {
        for (text, above, below) in [
            ("hello: there\r\nfriend\r\n", "hello: there\r\nMessage-ID: ", "\r\n\r\nfriend\r\n"),
            ("hello\r\nSubject: x\r\n", "Message-ID: ", "\r\n\r\nhello\r\nSubject: x\r\n"),
            ("hello", "Message-ID: ", "\r\n\r\nhello"),
            ("Bcc: x@y\r\n\r\nb\r\n", "Message-ID: ", "\r\n\r\nb\r\n"),
        ] {
            let passed = pass(text.as_bytes(), piece, Some(&ours)).unwrap();
            assert!(passed.starts_with(above) && passed.ends_with(below), "{passed}");
            assert!(!passed.contains("Bcc"), "{passed}");
        }
    }
}

#[test]
fn the_message_id_is_noted_on_its_way() {
    let long = "x".repeat(300);
    for (text, want) in [
        ("Message-ID: <a@b>\r\n\r\n", "a@b"),
        ("message-id:<a@b>\r\nSubject: c\r\n d\r\n\r\n", "a@b"),
        ("Subject: c\r\nMessage-ID:\r\n\t<a@b>\r\nX: y\r\n z\r\n\r\n", "a@b"),
        ("Message-ID: <a\r\n @b>\r\n\r\n", "a@b"),
        ("Message-ID: a@b\r\nMessage-ID: <c@d>\r\n\r\n", "a@b"),
        ("Message-ID: \r\nno colon\r\n c@d\r\n\r\n", ""),
        ("Subject: x\r\n Message-ID: <a@b>\r\n\r\nMessage-ID: <a@b>\r\n", ""),
        (&format!("Message-ID: {long}\r\n\r\n"), &long[..ID_MAX]),
        ("Message-ID: <a@b", "<a@b"),
    ] {
        for piece in [1, 2, 3, 5, 999] {
            let mut header = Header::new(None);
            text.as_bytes().chunks(piece).for_each(|piece| header.pass(piece, &mut |_| Ok(())).unwrap());
            assert_eq!(header.message_id(), want, "{text:?} {piece}");
        }
    }
    let ours = submission();
    let mut header = Header::new(Some(&ours));
    header.pass(b"Subject: x\r\n\r\n", &mut |_| Ok(())).unwrap();
    assert!(header.message_id().ends_with("@mx.example"), "{}", header.message_id());
}

#[test]
fn messages_do_not_go_in_circles() {
    let hops =
        |count: usize| format!("{}\r\nReceived: body\r\n", "Received: from a\r\n\tby b\r\n".repeat(count));
    assert_eq!(pass(hops(50).as_bytes(), 7, None).unwrap(), hops(50));
    assert_eq!(pass(hops(51).as_bytes(), 7, None).unwrap_err().enhanced, Enhanced(5, 4, 6));
    let folded = "Subject: x\r\n Received: y\r\n".repeat(60);
    assert_eq!(pass(folded.as_bytes(), 7, None).unwrap(), folded);
}

proptest! {
    #[test]
    fn every_octet_passes_in_its_order(text in "[A-Da:\\r\\n \\.]{0,60}", piece in 1usize..9) {
        let text = format!("A: b\r\n{text}");
        prop_assert_eq!(pass(text.as_bytes(), piece, None).unwrap(), text);
    }

    #[test]
    fn pieces_make_no_difference(
        texts in proptest::collection::vec("(Message-ID|From|Received|Subject-and-more|Bcc|[A-Z:]) ?:?|\r\n|\r\n ?<[a-c@]{1,9}>|[\r\n >]|From ", 0..20),
        piece in 1usize..9,
        is_ours in any::<bool>(),
    ) {
        let text = format!("Date: x\r\n{}", texts.concat());
        // What is added differs with the time.
        let ours = Submission { domain: String::new(), ..submission() };
        let passed = |piece| {
            let (mut out, mut header) = (Vec::new(), Header::new(is_ours.then_some(&ours)));
            header.has_message_id = is_ours;
            let mut sink = |octets: &[u8]| {
                out.extend_from_slice(octets);
                Ok(())
            };
            text.as_bytes().chunks(piece).for_each(|piece| header.pass(piece, &mut sink).unwrap());
            header.end(&mut sink).unwrap();
            (header.message_id(), out)
        };
        prop_assert_eq!(passed(piece), passed(text.len()));
    }

    #[test]
    fn what_is_added_is_whole_lines(text in "(From: a\r\n|Date: b\r\n|X: c\r\n){0,5}(\r\n(From: a\r\n|d\r\n|\r\n){0,4})?", piece in 1usize..9) {
        let ours = submission();
        let passed = pass(text.as_bytes(), piece, Some(&ours)).unwrap();
        let added = ["Message-ID: <", "Date: ", "From: <a@b"];
        let left: Vec<&str> = passed
            .split_inclusive('\n')
            .filter(|line| !added.iter().any(|start| line.starts_with(start)) || line.starts_with("Date: b"))
            .collect();
        prop_assert_eq!(left.concat(), text);
    }
}
