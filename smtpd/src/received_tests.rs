use super::*;
use proptest::prelude::*;

fn received<'a>() -> Received<'a> {
    Received {
        helo: "client.example",
        name: "unknown",
        address: "192.0.2.1".parse().ok(),
        tls: "",
        login: None,
        by: "mx.example.org",
        with: With { esmtp: true, ..With::default() },
        id: "1PJ3",
        recipient: None,
        at: 0,
    }
}

#[test]
fn fields() {
    assert_eq!(
        received().to_string(),
        "Received: from client.example (unknown [192.0.2.1])\r\n\tby mx.example.org (tinmail) with ESMTP id 1PJ3;\r\n\t\
         Thu, 1 Jan 1970 00:00:00 +0000\r\n"
    );
    let recipient = Address::parse(b"\"a b\"@c.example").unwrap();
    let all = Received {
        helo: "[IPv6:2001:db8::1]",
        name: "a.example",
        address: "2001:db8::1".parse().ok(),
        tls: "TLSv1.3 with cipher X",
        login: Some("jo(e"),
        recipient: Some(&recipient),
        ..received()
    };
    assert_eq!(
        all.to_string(),
        "Received: from [IPv6:2001:db8::1] (a.example [IPv6:2001:db8::1])\r\n\t(using TLSv1.3 with cipher X)\r\n\t\
         (Authenticated sender: jo\\(e)\r\n\tby mx.example.org (tinmail) with ESMTP id 1PJ3\r\n\t\
         for <\"a b\"@c.example>;\r\n\tThu, 1 Jan 1970 00:00:00 +0000\r\n"
    );
    let recipient = Address::parse("gr\u{fc}n@c.example".as_bytes()).unwrap();
    let to_utf8 = Received { recipient: Some(&recipient), ..all };
    assert!(to_utf8.to_string().is_ascii() && !to_utf8.to_string().contains("for <"));
    let local = Received { helo: "what is this?", address: None, ..received() };
    assert!(local.to_string().starts_with("Received: from unknown (unknown)\r\n"));
}

#[test]
fn keywords_of_rfc_3848_and_6531() {
    for (lmtp, esmtp, utf8, tls, login, want) in [
        (false, false, false, false, false, "SMTP"),
        (false, true, false, false, false, "ESMTP"),
        (false, true, false, true, false, "ESMTPS"),
        (false, true, false, false, true, "ESMTPA"),
        (false, true, false, true, true, "ESMTPSA"),
        (false, true, true, true, true, "UTF8SMTPSA"),
        (true, true, false, false, false, "LMTP"),
        (true, true, false, true, true, "LMTPSA"),
        (true, true, true, false, false, "UTF8LMTP"),
    ] {
        assert_eq!(With { lmtp, esmtp, utf8, tls, login }.to_string(), want);
    }
}

proptest! {
    #[test]
    fn nothing_breaks_the_field(helo in "\\PC{0,40}", tls in ".{0,20}", login in ".{0,20}", name in ".{0,20}") {
        let field =
            Received { helo: &helo, tls: &tls, login: Some(&login), name: &name, ..received() }.to_string();
        let lines: Vec<&str> = field.split_inclusive("\r\n").collect();
        prop_assert!(lines.iter().all(|line| line.ends_with("\r\n") && !line[..line.len() - 2].contains(['\r', '\n', '\0'])));
        prop_assert!(lines[1..].iter().all(|line| line.starts_with('\t')));
    }
}

#[test]
fn utf8_stands_only_where_it_was_announced() {
    for (helo, utf8, want) in [
        ("mx.example", false, "from mx.example ("),
        ("\u{2028}evil", false, "from unknown ("),
        ("b\u{fc}cher.example", false, "from unknown ("),
        ("b\u{fc}cher.example", true, "from b\u{fc}cher.example ("),
    ] {
        let received = Received {
            helo,
            name: "unknown",
            address: None,
            tls: "",
            login: None,
            by: "me.example",
            with: With { utf8, ..With::default() },
            id: "1",
            recipient: None,
            at: 0,
        };
        let text = received.to_string();
        assert!(text.contains(want), "{text}");
    }
}
