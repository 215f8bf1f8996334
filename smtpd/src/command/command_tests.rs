use super::path::ForwardPath;
use super::*;
use crate::address::Address;
use crate::envelope::{Body, Notify, Ret};
use proptest::prelude::*;

fn mailbox(text: &str) -> ForwardPath {
    ForwardPath::Mailbox(Address::parse(text.as_bytes()).unwrap())
}

fn mail(line: &str) -> Result<(ReversePath, MailParameters<'_>), SyntaxError> {
    match Command::parse(line.as_bytes())? {
        Command::Mail(path, parameters) => Ok((path, parameters)),
        other => panic!("{other:?}"),
    }
}

fn rcpt(line: &str) -> Result<(ForwardPath, RcptParameters<'_>), SyntaxError> {
    match Command::parse(line.as_bytes())? {
        Command::Rcpt(path, parameters) => Ok((path, parameters)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn commands_without_paths() {
    for (line, want) in [
        ("HELO a.example", Command::Helo("a.example")),
        ("ehlo [192.0.2.1]  ", Command::Ehlo("[192.0.2.1]")),
        ("LHLO foo_bar", Command::Lhlo("foo_bar")),
        ("DATA", Command::Data),
        ("data  ", Command::Data),
        ("BDAT 0 LAST", Command::Bdat { size: 0, last: true }),
        ("BDAT 86 last", Command::Bdat { size: 86, last: true }),
        ("BDAT 99999999999999999999", Command::Bdat { size: u64::MAX, last: false }),
        ("RSET", Command::Rset),
        ("NOOP whatever this is", Command::Noop),
        ("QUIT", Command::Quit),
        ("HELP mail", Command::Help),
        ("VRFY joe", Command::Vrfy("joe")),
        ("EXPN list", Command::Expn),
        ("ETRN example.org", Command::Etrn),
        ("STARTTLS", Command::StartTls),
        ("AUTH PLAIN", Command::Auth(b"PLAIN", None)),
        ("AUTH plain =", Command::Auth(b"plain", Some(b"="))),
    ] {
        let command = Command::parse(line.as_bytes()).unwrap();
        assert_eq!(command, want, "{line}");
        assert!(line.to_uppercase().starts_with(command.verb()));
    }
}

#[test]
fn what_is_no_command() {
    use SyntaxError::{Arguments, Malformed, NoArguments, Unknown};
    for (line, want) in [
        ("", Unknown),
        ("FOO", Unknown),
        ("MAILFROM:<a@b>", Unknown),
        ("TURN", Unknown),
        ("HELO", Arguments("HELO hostname")),
        ("EHLO a b", Arguments("EHLO hostname")),
        ("DATA x", NoArguments),
        ("RSET x", NoArguments),
        ("QUIT x", NoArguments),
        ("STARTTLS x", NoArguments),
        ("BDAT", Arguments("BDAT size [LAST]")),
        ("BDAT -1", Arguments("BDAT size [LAST]")),
        ("BDAT 1 FIRST", Arguments("BDAT size [LAST]")),
        ("BDAT 1 LAST LAST", Arguments("BDAT size [LAST]")),
        ("BDAT 999999999999999999999", Arguments("BDAT size [LAST]")),
        ("VRFY", Arguments("VRFY address")),
        ("AUTH", Arguments("AUTH mechanism [initial-response]")),
        ("AUTH PLAIN a b", Arguments("AUTH mechanism [initial-response]")),
        ("MAIL a@b", Arguments("MAIL FROM:<address>")),
        ("MAIL TO:<a@b>", Arguments("MAIL FROM:<address>")),
        ("RCPT FROM:<a@b>", Arguments("RCPT TO:<address>")),
        ("NOOP \0", Malformed),
        ("NOOP a\rb", Malformed),
        ("NOOP\r", Malformed),
        ("RCPT TO:<a@b>\r", Malformed),
        ("QUIT\x0c", Malformed),
        ("RCPT TO:<a\0@b>", Malformed),
    ] {
        assert_eq!(Command::parse(line.as_bytes()), Err(want), "{line:?}");
    }
    assert_eq!(Command::parse(b"NOOP \xff"), Err(Malformed));
    let long = format!("EHLO {}", "a".repeat(256));
    assert_eq!(Command::parse(long.as_bytes()), Err(Arguments("EHLO hostname")));
}

#[test]
fn paths() {
    assert_eq!(mail("MAIL FROM:<>").unwrap().0, None);
    assert_eq!(mail("mail from:<a@b.example>").unwrap().0, Some(mailbox("a@b.example")));
    for (line, want) in [
        ("RCPT TO:<a@b>", mailbox("a@b")),
        ("RCPT TO: <a@b>", mailbox("a@b")),
        ("rcpt to:<\"a>b @c\"@d>", mailbox("\"a>b @c\"@d")),
        ("RCPT TO:<@x.example,@[192.0.2.1]:a@b>", mailbox("a@b")),
        ("RCPT TO:<Postmaster>", ForwardPath::Local("Postmaster".into())),
        ("RCPT TO:<\"a b\">", ForwardPath::Local("a b".into())),
        ("RCPT TO:<a@[IPv6:2001:db8::1]>", mailbox("a@[IPv6:2001:db8::1]")),
        // What other servers take for a route is a local-part like any other.
        ("RCPT TO:<a%b@c>", mailbox("a%b@c")),
        ("RCPT TO:<b!a@c>", mailbox("b!a@c")),
    ] {
        assert_eq!(rcpt(line).unwrap().0, want, "{line}");
    }
    for line in [
        "RCPT TO:",
        "RCPT TO:<>",
        "RCPT TO:a@b",
        "RCPT TO:<a@b",
        "RCPT TO:<a@>",
        "RCPT TO:<@b>",
        "RCPT TO:<@b:>",
        "RCPT TO:<@b,c:a@d>",
        "RCPT TO:<a b@c>",
        "RCPT TO:<a@b> <c@d>",
        "RCPT TO:<a@b>>",
        "RCPT TO:<<a@b>>",
        "RCPT TO:<a@b@c>",
        "RCPT TO:<\"\">",
        "RCPT TO:joe <a@b>",
        "RCPT TO:<a@b>NOTIFY=NEVER",
        &format!("RCPT TO:<@{}:a@b>", "x.".repeat(126) + "x"),
    ] {
        assert!(rcpt(line).is_err(), "{line}");
    }
}

#[test]
fn parameters_of_mail() {
    let nothing = MailParameters::default();
    for (text, want) in [
        ("", nothing),
        (" ", nothing),
        (" SIZE=0", MailParameters { size: Some(0), ..nothing }),
        (" size=99999999999999999999", MailParameters { size: Some(u64::MAX), ..nothing }),
        (
            " BODY=8bitmime SMTPUTF8",
            MailParameters { body: Some(Body::EightBitMime), smtputf8: true, ..nothing },
        ),
        (
            " RET=HDRS ENVID=a+2Bb",
            MailParameters { ret: Some(Ret::Headers), envid: Some("a+2Bb"), ..nothing },
        ),
        (" AUTH=<>", MailParameters { auth: Some("<>"), ..nothing }),
        (" AUTH=e+3Dmc2@example.com", MailParameters { auth: Some("e+3Dmc2@example.com"), ..nothing }),
    ] {
        assert_eq!(mail(&format!("MAIL FROM:<>{text}")), Ok((None, want)), "{text}");
    }
    for (text, name) in [
        (" SIZE", "SIZE"),
        (" SIZE=", "SIZE"),
        (" SIZE=x", "SIZE"),
        (" SIZE=-1", "SIZE"),
        (" SIZE=1 SIZE=1", "SIZE"),
        (" SIZE=1=2", "SIZE"),
        (" SIZE=999999999999999999999", "SIZE"),
        (" BODY=9BIT", "BODY"),
        (" BODY", "BODY"),
        (" SMTPUTF8=1", "SMTPUTF8"),
        (" SMTPUTF8 SMTPUTF8", "SMTPUTF8"),
        (" RET=ALL", "RET"),
        (" ENVID=a+2bb", "ENVID"),
        (" ENVID=a+0A", "ENVID"),
        (" ENVID=+", "ENVID"),
        (&format!(" ENVID={}", "x".repeat(101)), "ENVID"),
        (" AUTH=a\u{e4}", "AUTH"),
    ] {
        assert_eq!(mail(&format!("MAIL FROM:<>{text}")), Err(SyntaxError::Parameter(name)), "{text}");
    }
    for text in [" FOO", " FOO=BAR", "SIZE=1", " NOTIFY=NEVER", " =", " SIZE=1 X"] {
        assert_eq!(mail(&format!("MAIL FROM:<>{text}")), Err(SyntaxError::UnknownParameter), "{text}");
    }
}

#[test]
fn parameters_of_rcpt() {
    let all = Notify { success: true, failure: true, delay: true };
    for (text, want) in [
        (" NOTIFY=never", RcptParameters { notify: Some(Notify::NEVER), orcpt: None }),
        (" NOTIFY=SUCCESS,FAILURE,DELAY", RcptParameters { notify: Some(all), orcpt: None }),
        (" ORCPT=rfc822;a+2Bb@c", RcptParameters { notify: None, orcpt: Some("rfc822;a+2Bb@c") }),
        (" ORCPT=utf-8;gr\u{fc}n@b", RcptParameters { notify: None, orcpt: Some("utf-8;gr\u{fc}n@b") }),
    ] {
        assert_eq!(rcpt(&format!("RCPT TO:<a@b>{text}")).unwrap().1, want, "{text}");
    }
    for (text, name) in [
        (" NOTIFY=", "NOTIFY"),
        (" NOTIFY=NEVER,SUCCESS", "NOTIFY"),
        (" NOTIFY=SUCCESS,SUCCESS", "NOTIFY"),
        (" NOTIFY=SUCCESS,", "NOTIFY"),
        (" ORCPT=a@b", "ORCPT"),
        (" ORCPT=rfc822;", "ORCPT"),
        (" ORCPT=rfc822;a+0D+0Ab", "ORCPT"),
        (" ORCPT=;a", "ORCPT"),
        (" ORCPT=utf-8;a=b", "ORCPT"),
        (&format!(" ORCPT=rfc822;{}", "x".repeat(500)), "ORCPT"),
    ] {
        assert_eq!(rcpt(&format!("RCPT TO:<a@b>{text}")), Err(SyntaxError::Parameter(name)), "{text}");
    }
    assert_eq!(rcpt("RCPT TO:<a@b> SIZE=1"), Err(SyntaxError::UnknownParameter));
}

#[test]
fn xclient() {
    let parse = |text: &str| match Command::parse(text.as_bytes()) {
        Ok(Command::Xclient(attributes)) => Some(attributes),
        _ => None,
    };
    let attributes =
        parse("XCLIENT NAME=a.example ADDR=192.0.2.1 PORT=25 PROTO=ESMTP HELO=b LOGIN=joe").unwrap();
    assert_eq!(attributes.name.as_deref(), Some("a.example"));
    assert_eq!(attributes.address, Some("192.0.2.1".parse().ok()));
    assert_eq!((attributes.port, attributes.esmtp), (Some(25), Some(true)));
    assert_eq!((attributes.helo.as_deref(), attributes.login.as_deref()), (Some("b"), Some("joe")));
    let attributes = parse("xclient name=[UNAVAILABLE] addr=IPV6:2001:db8::1 login=[unavailable]").unwrap();
    assert_eq!(attributes.name.as_deref(), Some("unknown"));
    assert_eq!(attributes.address, Some("2001:db8::1".parse().ok()));
    assert_eq!(attributes.login.as_deref(), Some(""));
    for text in [
        "XCLIENT",
        "XCLIENT FOO=1",
        "XCLIENT ADDR=x",
        "XCLIENT ADDR",
        "XCLIENT NAME=a NAME=b",
        "XCLIENT HELO=a+0D+0A",
        "XCLIENT PORT=65536",
        "XCLIENT PROTO=HTTP",
    ] {
        assert_eq!(parse(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(line in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Command::parse(&line);
    }

    #[test]
    fn nothing_that_looks_like_a_command_panics(
        verb in "MAIL FROM:|RCPT TO:|XCLIENT|BDAT|AUTH|EHLO",
        rest in "[<@a\"\\\\:, .>=+;é0-9A-Z\\[\\]]{0,60}",
    ) {
        let line = format!("{verb} {rest}");
        let _ = Command::parse(line.as_bytes());
        let _ = Command::parse(line.replacen(' ', "", 1).as_bytes());
    }

    #[test]
    fn every_address_is_read_back(local in "[ -~äß]{1,20}", domain in "[a-z0-9]{1,9}(\\.[a-z]{1,9}){0,3}") {
        let address = Address::new(local.as_str(), &domain).unwrap();
        let line = format!("RCPT TO:<{address}> NOTIFY=NEVER");
        prop_assert_eq!(rcpt(&line).unwrap().0, ForwardPath::Mailbox(address));
    }
}
