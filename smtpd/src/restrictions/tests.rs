use super::*;
use crate::address::{Address, ReversePath};
use crate::classes::Class;
use crate::rules::Client;
use crate::status::{Enhanced, Status};
use std::net::IpAddr;

/// A host with some domains.
#[derive(Default)]
struct Host {
    warnings: Vec<String>,
}

impl Lookups for Host {
    fn class(&mut self, domain: &str) -> io::Result<Class> {
        match domain.to_lowercase().as_str() {
            "here.example" => Ok(Class::Local),
            "virtual.example" => Ok(Class::VirtualMailbox),
            "relay.example" => Ok(Class::Relay),
            "broken.example" => Err(io::Error::other("unreadable")),
            _ => Ok(Class::Remote),
        }
    }

    fn listed(&mut self, address: &Address) -> Result<(), Status> {
        match address.local() {
            "nobody" => {
                let text = format!("<{address}>: Recipient address rejected: User unknown");
                Err(Status::new(550, Enhanced(5, 1, 1), text))
            }
            _ => Ok(()),
        }
    }

    fn is_trusted(&self, address: IpAddr) -> bool {
        address.to_canonical() == IpAddr::from([192, 0, 2, 1])
    }

    fn is_own(&self, address: IpAddr) -> bool {
        address.is_loopback()
    }

    fn base<'a>(&self, local: &'a str) -> Option<&'a str> {
        local.split_once('+').map(|(base, _)| base)
    }

    fn owners(&mut self, sender: &Address) -> io::Result<Option<Vec<String>>> {
        Ok((sender.local() == "owned").then(|| vec!["anna".to_owned()]))
    }

    fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }
}

fn address(text: &str) -> Address {
    Address::parse(text.as_bytes()).unwrap()
}

struct Case<'a> {
    client: Client<'a>,
    sender: ReversePath,
    recipient: &'a str,
}

fn case(recipient: &str) -> Case<'_> {
    let client = Client { address: "198.51.100.7".parse().ok(), helo: "host.example", ..Client::default() };
    Case { client, sender: Some(address("a@sender.example")), recipient }
}

/// Empty: permitted.
fn ask(list: &str, case: &Case<'_>) -> String {
    ask_host(list, case, &mut Host::default())
}

fn ask_host(list: &str, case: &Case<'_>, host: &mut Host) -> String {
    let recipient = address(case.recipient);
    let facts = Facts {
        client: &case.client,
        sender: Some(&case.sender),
        recipient: Some(&recipient),
        recipients: 2,
    };
    match Restrictions::parse("x", list).unwrap().evaluate(&facts, host) {
        Verdict::Permit => String::new(),
        Verdict::Refuse(status) => status.to_string(),
    }
}

const USUAL: &str = "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination";

#[test]
fn relaying() {
    for (recipient, want) in [
        ("x@here.example", ""),
        ("x@HERE.example", ""),
        ("x@virtual.example", ""),
        ("x@relay.example", ""),
        ("x@other.example", "550 5.7.1 <x@other.example>: Relaying denied"),
        ("x@[192.0.2.9]", "550 5.7.1 <x@[192.0.2.9]>: Relaying denied"),
        ("x@[IPv6:2001:db8::1]", "550 5.7.1 <x@[IPv6:2001:db8::1]>: Relaying denied"),
        ("x@sub.here.example", "550 5.7.1 <x@sub.here.example>: Relaying denied"),
        // A host could believe these and send them on: the next one, or whoever a virtual alias or luser_relay means.
        ("x%other.example@relay.example", "550 5.7.1 <x%other.example@relay.example>: Relaying denied"),
        ("other.example!x@relay.example", "550 5.7.1 <other.example!x@relay.example>: Relaying denied"),
        (
            "\"x@other.example\"@relay.example",
            "550 5.7.1 <\"x@other.example\"@relay.example>: Relaying denied",
        ),
        ("x%other.example@here.example", "550 5.7.1 <x%other.example@here.example>: Relaying denied"),
        ("other.example!x@virtual.example", "550 5.7.1 <other.example!x@virtual.example>: Relaying denied"),
        ("x@broken.example", "451 4.3.5 Server configuration problem"),
    ] {
        assert_eq!(ask(USUAL, &case(recipient)), want, "{recipient}");
    }
}

#[test]
fn those_who_may_relay() {
    let client = case("x@other.example").client;
    for (client, may) in [
        (client.clone(), false),
        (Client { address: "192.0.2.1".parse().ok(), ..client.clone() }, true),
        (Client { address: "::ffff:192.0.2.1".parse().ok(), ..client.clone() }, true),
        (Client { address: "::192.0.2.1".parse().ok(), ..client.clone() }, false),
        (Client { login: Some("anna"), ..client.clone() }, true),
        (Client { address: None, local_uid: Some(1000), ..client.clone() }, true),
        // An address that is not known is nobody's.
        (Client { address: None, ..client.clone() }, false),
        (Client { address: None, name: "localhost", helo: "localhost", tls: true, ..client }, false),
    ] {
        let case = Case { client, ..case("x@other.example") };
        assert_eq!(ask(USUAL, &case).is_empty(), may, "{:?}", case.client);
    }
}

#[test]
fn each_restriction() {
    let base = || case("user@here.example");
    let helo = |helo| Case { client: Client { helo, ..base().client }, ..base() };
    let sender = |text: &str| Case { sender: Some(address(text)), ..base() };
    let login = |login, text: &str| Case { client: Client { login, ..base().client }, ..sender(text) };
    let pipelined = Case { client: Client { pipelined: true, ..base().client }, ..base() };
    let names = Client { bare_sender: true, bare_recipient: true, ..base().client };
    let bare = Case { client: names, ..sender("user@here.example") };
    let null = Case { sender: None, ..base() };
    let loopback = Case { client: Client { address: "127.0.0.1".parse().ok(), ..base().client }, ..base() };
    let rows: [(&str, &Case<'_>, &str); 56] = [
        ("", &base(), ""),
        ("permit", &base(), ""),
        ("reject", &base(), "554 5.7.1"),
        ("defer", &base(), "450 4.3.2"),
        ("permit reject", &base(), ""),
        ("reject permit", &base(), "554"),
        ("permit_auth_destination reject", &base(), ""),
        ("permit_auth_destination reject", &case("x@other.example"), "554"),
        ("defer_unauth_destination", &case("x@other.example"), "454 4.7.1"),
        ("permit_inet_interfaces reject", &loopback, ""),
        ("permit_inet_interfaces reject", &base(), "554"),
        ("reject_unauth_pipelining", &pipelined, "503 5.5.0"),
        ("reject_unauth_pipelining", &base(), ""),
        ("reject_plaintext_session", &base(), "450 4.7.1"),
        (
            "reject_multi_recipient_bounce",
            &null,
            "550 5.5.3 <user@here.example>: Recipient address rejected: ",
        ),
        ("reject_multi_recipient_bounce", &base(), ""),
        ("reject_invalid_helo_hostname", &helo("host"), ""),
        ("reject_invalid_helo_hostname", &helo("a..b"), "501 5.5.2"),
        ("reject_invalid_helo_hostname", &helo("-host"), "501"),
        ("reject_invalid_helo_hostname", &helo("[192.0.2.1]"), ""),
        ("reject_invalid_helo_hostname", &helo("[192.0.2.]"), "501"),
        ("reject_invalid_hostname", &helo("a b"), "501"),
        (
            "reject_non_fqdn_helo_hostname",
            &helo("h\u{1b}"),
            "504 5.5.2 <h\\x1B>: Helo command rejected: need fully-",
        ),
        ("reject_non_fqdn_helo_hostname", &helo("host.example."), ""),
        ("reject_non_fqdn_hostname", &helo("[IPv6:::1]"), ""),
        ("reject_non_fqdn_helo_hostname", &helo(""), ""),
        ("reject_non_fqdn_helo_hostname", &helo("192.0.2.1"), "504"),
        ("reject_invalid_helo_hostname", &helo("192.0.2.1"), ""),
        ("reject_non_fqdn_sender", &sender("a@192.0.2.1"), "504"),
        ("reject_non_fqdn_sender", &sender("a@1.example"), ""),
        ("reject_non_fqdn_sender", &sender("a@host"), "504 5.5.2"),
        ("reject_non_fqdn_sender", &sender("a@host.example"), ""),
        ("reject_non_fqdn_sender", &null, ""),
        ("reject_non_fqdn_recipient", &case("a@localhost"), "504"),
        ("reject_non_fqdn_recipient", &case("a@[192.0.2.1]"), ""),
        ("reject_unlisted_recipient", &case("nobody@here.example"), "550 5.1.1"),
        ("reject_unlisted_recipient", &base(), ""),
        ("reject_non_fqdn_sender", &bare, "504 5.5.2 <user>: Sender address rejected: "),
        ("reject_non_fqdn_recipient", &bare, "504 5.5.2 <user>: Recipient address rejected: "),
        (
            "reject_unlisted_sender",
            &sender("nobody@here.example"),
            "550 5.1.0 <nobody@here.example>: Sender ",
        ),
        ("reject_unlisted_sender", &null, ""),
        ("reject_sender_login_mismatch", &login(Some("anna"), "owned@x.example"), ""),
        ("reject_sender_login_mismatch", &login(Some("Anna"), "owned@x.example"), ""),
        ("reject_sender_login_mismatch", &login(Some("bert"), "owned@x.example"), "553 5.7.1"),
        ("reject_sender_login_mismatch", &login(Some("anna"), "other@x.example"), "553"),
        ("reject_sender_login_mismatch", &login(None, "owned@x.example"), "553"),
        ("reject_sender_login_mismatch", &login(None, "other@x.example"), ""),
        ("reject_authenticated_sender_login_mismatch", &login(None, "owned@x.example"), ""),
        ("reject_unauthenticated_sender_login_mismatch", &login(Some("bert"), "owned@x.example"), ""),
        ("reject_known_sender_login_mismatch", &login(Some("anna"), "other@x.example"), ""),
        ("reject_known_sender_login_mismatch", &login(Some("bert"), "owned@x.example"), "553"),
        ("defer_if_reject reject", &base(), "450 4.7.1"),
        ("defer_if_permit permit", &base(), "450 4.7.0"),
        ("defer_if_permit reject", &base(), "554"),
        ("warn_if_reject reject", &base(), ""),
        ("warn_if_reject reject reject", &base(), "554"),
    ];
    for (list, case, want) in rows {
        let got = ask(list, case);
        assert!(if want.is_empty() { got.is_empty() } else { got.starts_with(want) }, "{list}: {got:?}");
    }
}

#[test]
fn access_tables() {
    let base = || case("user+ext@here.example");
    let null = Case { sender: None, ..base() };
    for (list, case, want) in [
        (
            "check_client_access inline:{198.51.100=REJECT no}",
            &base(),
            "554 5.7.1 <unknown[198.51.100.7]>: Client host rejected: no",
        ),
        ("check_client_access inline:{198.51=OK} reject", &base(), ""),
        ("check_client_access static:DUNNO reject", &base(), "554"),
        (
            "check_helo_access inline:{example=550 bad name}",
            &base(),
            "550 5.7.1 <host.example>: Helo command rejected: bad name",
        ),
        (
            "check_sender_access inline:{sender.example=450 later}",
            &base(),
            "450 4.7.1 <a@sender.example>: Sender address",
        ),
        ("check_sender_access inline:{a@sender.example=OK, sender.example=REJECT} reject", &base(), ""),
        (
            "check_sender_access inline:{<>=REJECT}",
            &null,
            "554 5.7.1 <>: Sender address rejected: Access denied",
        ),
        ("check_recipient_access inline:{user@here.example=REJECT}", &base(), "554"),
        ("check_recipient_access inline:{user@=REJECT}", &base(), "554"),
        ("check_recipient_access inline:{other@=REJECT}", &base(), ""),
        ("check_sasl_access static:REJECT", &base(), ""),
        ("check_client_access {inline:{198.51.100.7=reject_unauth_destination}}", &base(), "!"),
        ("check_client_access inline:{198.51.100.7=permit_mynetworks reject}", &base(), "554"),
        ("check_client_access inline:{198.51.100.7=HOLD}", &base(), "451 4.3.5"),
        ("check_client_access inline:{198.51.100.7=DEFER_IF_PERMIT soon}", &base(), "450 4.7.1"),
    ] {
        if want == "!" {
            assert!(Restrictions::parse("x", list).is_err(), "{list}");
            continue;
        }
        let got = ask(list, case);
        assert!(if want.is_empty() { got.is_empty() } else { got.starts_with(want) }, "{list}: {got:?}");
    }
    let mut host = Host::default();
    ask_host("warn_if_reject reject, check_client_access static:{WARN look}", &base(), &mut host);
    assert_eq!(host.warnings.len(), 2);
    let about = "; from=<a@sender.example> to=<user+ext@here.example> helo=<host.example>";
    let line = |text: &str| format!("NOQUEUE: {text}{about}");
    assert_eq!(
        host.warnings,
        [
            line(
                "reject_warning: RCPT from unknown[198.51.100.7]: 554 5.7.1 <user+ext@here.example>: Recipient address rejected: Access denied"
            ),
            line("warn: RCPT from unknown[198.51.100.7]: <unknown[198.51.100.7]>: Client host: look"),
        ]
    );
}

#[test]
fn a_refusal_names_what_the_list_is_about() {
    let base = || case("user@here.example");
    let known = Client { name: "mail.example", ..base().client };
    for (setting, client, want) in [
        (
            "smtpd_client_restrictions",
            known,
            "554 5.7.1 <mail.example[198.51.100.7]>: Client host rejected: Access denied",
        ),
        (
            "smtpd_helo_restrictions",
            base().client,
            "554 5.7.1 <host.example>: Helo command rejected: Access denied",
        ),
        (
            "smtpd_sender_restrictions",
            base().client,
            "554 5.7.1 <a@sender.example>: Sender address rejected: Access denied",
        ),
        (
            "smtpd_recipient_restrictions",
            base().client,
            "554 5.7.1 <user@here.example>: Recipient address rejected: Access denied",
        ),
        (
            "smtpd_relay_restrictions",
            base().client,
            "554 5.7.1 <user@here.example>: Recipient address rejected: Access denied",
        ),
        ("smtpd_data_restrictions", base().client, "554 5.7.1 <DATA>: Data command rejected: Access denied"),
    ] {
        let (sender, recipient) = (base().sender, address("user@here.example"));
        let facts =
            Facts { client: &client, sender: Some(&sender), recipient: Some(&recipient), recipients: 1 };
        // Also where a table names the restriction.
        for list in ["reject", "check_sender_access inline:{sender.example=permit_mynetworks reject}"] {
            let said = Restrictions::parse(setting, list).unwrap().evaluate(&facts, &mut Host::default());
            assert!(
                matches!(&said, Verdict::Refuse(status) if status.to_string() == want),
                "{setting}: {said:?}"
            );
        }
    }
}

#[test]
fn a_table_that_names_itself_ends() {
    let scratch = crate::testing::Scratch::new();
    let path = scratch.path().join("access");
    std::fs::write(&path, "").unwrap();
    let list = format!("check_client_access texthash:{}", path.display());
    std::fs::write(&path, format!("198.51.100.7 permit_mynetworks {list}\n")).unwrap();
    assert!(ask(&list, &case("a@here.example")).starts_with("451"));
}

#[test]
fn words_that_are_refused_at_the_start() {
    for (list, why) in [
        ("permit_mynetwork", "no such restriction"),
        ("reject_rbl_client zen.example.org", "DNS"),
        ("reject_unknown_sender_domain", "DNS"),
        ("reject_unverified_recipient", "probes"),
        ("check_policy_service unix:private/policy", "policy"),
        ("check_client_access", "map is missing"),
        ("check_client_access nonsense", "not a map"),
        ("check_client_access hash:/nonexistent", "/nonexistent"),
        ("check_sender_access cidr:/etc/passwd", "only clients"),
        ("permit warn_if_reject", "nothing follows"),
    ] {
        let error = Restrictions::parse("smtpd_x", list).unwrap_err().to_string();
        assert!(error.contains(why) && error.starts_with("smtpd_x: "), "{list}: {error}");
    }
}

#[test]
fn lists_that_would_be_an_open_relay_are_known() {
    for (list, closed) in [
        (USUAL, true),
        ("permit_mynetworks reject", true),
        ("defer", true),
        ("permit_mynetworks, defer_unauth_destination, permit", true),
        ("check_client_access static:DUNNO, reject_unauth_destination", true),
        ("", false),
        ("permit_mynetworks", false),
        ("permit reject_unauth_destination", false),
        ("warn_if_reject reject_unauth_destination", false),
        ("warn_if_reject reject", false),
        ("warn_if_reject permit_mynetworks reject", true),
        ("reject_non_fqdn_sender reject_unlisted_recipient", false),
    ] {
        assert_eq!(Restrictions::parse("x", list).unwrap().refuses_strangers(), closed, "{list}");
    }
}

proptest::proptest! {
    #[test]
    fn nothing_panics(list in "[a-z_ ,{}:/=]{0,60}") {
        let _ = Restrictions::parse("x", &list);
    }

    #[test]
    fn whatever_is_said_a_stranger_does_not_relay(local in "[ -~]{1,30}", helo in "[ -~]{0,30}") {
        let recipient = Address::new(local, "other.example").unwrap();
        let client = Client { address: "198.51.100.7".parse().ok(), helo: &helo, ..Client::default() };
        let facts = Facts { client: &client, sender: Some(&None), recipient: Some(&recipient), recipients: 1 };
        let list = Restrictions::parse("x", USUAL).unwrap();
        let refused = matches!(list.evaluate(&facts, &mut Host::default()), Verdict::Refuse(_));
        proptest::prop_assert!(refused);
    }
}
