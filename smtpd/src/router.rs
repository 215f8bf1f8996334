//! The next hop of mail for other hosts: transport_maps, sender_dependent_relayhost_maps, relayhost, or the recipient's domain.
//!
//! The tables are the administrator's and are read once for a run. A line that cannot be used, and a table that cannot be read,
//! are no reason to stop: the mail they are asked for waits and says why, all other mail goes its way.

use crate::address::{Address, ReversePath};
use crate::map::Maps;
use crate::status::{Enhanced, Status};
use common::config::Config;
use common::config::next_hop::NextHop;
use std::borrow::Cow;

/// What a line of a table says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// As if there were no such line: `:`, and DUNNO.
    Usual,
    /// The recipient's domain itself.
    Domain,
    Hop(NextHop),
    /// There is no way: what is said instead, for now or for good, or that it is thrown away.
    Answer(Status),
    /// The line cannot be used.
    Wrong(String),
}

/// A table: its lines, or why it could not be read.
type Table = Result<Vec<(String, Way)>, String>;

/// The administrator's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// Keys as transport(5) has them.
    transport: Table,
    /// user@domain or @domain.
    by_sender: Table,
    relayhost: Result<Option<NextHop>, String>,
}

/// What cannot be used, for `--check` and the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Setting, line and what is wrong with it.
    pub what: String,
    /// The whole table cannot be read.
    pub is_table: bool,
}

/// Agents of Postfix's master.cf that people name in their tables, and what there is here.
const OTHERS: [(&str, &str); 4] = [
    ("local", "which domains are delivered here is said by mydestination"),
    ("virtual", "which domains have mailboxes here is said by virtual_mailbox_domains"),
    ("lmtp", "mail is handed on by SMTP only"),
    ("uucp", "mail is handed on by SMTP only"),
];

impl Router {
    /// Reads transport_maps, sender_dependent_relayhost_maps and relayhost.
    pub fn load(config: &Config) -> Router {
        let table = |maps: &str, read: fn(&str) -> Way| -> Table {
            let pairs = Maps::parse(maps).and_then(|maps| maps.pairs()).map_err(|error| error.to_string())?;
            Ok(pairs.into_iter().map(|(key, value)| (key, read(&value))).collect())
        };
        Router {
            transport: table(&config.transport_maps, transport),
            by_sender: table(&config.sender_dependent_relayhost_maps, relay),
            relayhost: crate::values::relayhost(config).map_err(|error| error.to_string()),
        }
    }

    /// Where mail of this sender for this recipient goes. `Err`: nowhere; that is what became of it.
    pub fn next_hop(&self, sender: &ReversePath, recipient: &Address) -> Result<NextHop, Status> {
        let of_domain = || NextHop::of_domain(recipient.domain());
        match first("transport_maps", &self.transport, || transport_keys(recipient))? {
            None | Some(Way::Usual) => {}
            Some(Way::Hop(hop)) => return Ok(hop.clone()),
            Some(Way::Answer(status)) => return Err(status.clone()),
            // Nothing else is left to be.
            Some(Way::Domain | Way::Wrong(_)) => return Ok(of_domain()),
        }
        let by_sender = first("sender_dependent_relayhost_maps", &self.by_sender, || match sender {
            Some(sender) => vec![sender.to_string(), format!("@{}", sender.domain())],
            // As Postfix writes the sender of notifications there.
            None => vec!["<>".to_owned()],
        })?;
        if let Some(Way::Hop(hop)) = by_sender {
            return Ok(hop.clone());
        }
        let relayhost = self.relayhost.as_ref().map_err(|why| broken(&format!("relayhost: {why}")))?;
        Ok(relayhost.clone().unwrap_or_else(of_domain))
    }

    /// Everything that cannot be used.
    pub fn problems(&self) -> Vec<Problem> {
        let relayhost = self.relayhost.as_ref().err().map(|why| format!("relayhost: {why}"));
        let mut all: Vec<Problem> =
            relayhost.map(|what| Problem { what, is_table: false }).into_iter().collect();
        let tables =
            [("transport_maps", &self.transport), ("sender_dependent_relayhost_maps", &self.by_sender)];
        for (setting, table) in tables {
            match table {
                Err(why) => all.push(Problem { what: format!("{setting}: {why}"), is_table: true }),
                Ok(lines) => all.extend(lines.iter().filter_map(|(key, way)| match way {
                    Way::Wrong(why) => {
                        Some(Problem { what: format!("{setting}: {key}: {why}"), is_table: false })
                    }
                    _ => None,
                })),
            }
        }
        all
    }
}

/// What stands behind the first key that is there.
fn first<'a>(
    setting: &str,
    table: &'a Table,
    keys: impl Fn() -> Vec<String>,
) -> Result<Option<&'a Way>, Status> {
    // Paths are for the log, which has them from `problems`.
    let lines = table.as_ref().map_err(|_| broken(&format!("{setting}: the table cannot be read")))?;
    if lines.is_empty() {
        return Ok(None);
    }
    let of = |key: &String| lines.iter().find(|(known, _)| known.eq_ignore_ascii_case(key));
    match keys().iter().find_map(of) {
        Some((key, Way::Wrong(why))) => Err(broken(&format!("{setting}: {key}: {why}"))),
        found => Ok(found.map(|(_, way)| way)),
    }
}

/// The mail waits: what stands there is the administrator's mistake.
fn broken(why: &str) -> Status {
    Status::new(451, Enhanced(4, 3, 5), why.to_owned())
}

/// `transport:nexthop`, as Postfix's transport(5) has it.
fn transport(value: &str) -> Way {
    let Some((agent, hop)) = value.split_once(':') else { return wrong(value, "want smtp:NEXTHOP") };
    match (agent, hop.trim()) {
        ("", "") => Way::Usual,
        ("smtp" | "relay", "") => Way::Domain,
        ("" | "smtp" | "relay", hop) => match NextHop::parse(hop) {
            Some(hop) => Way::Hop(hop),
            None => wrong(value, "behind the colon want a domain or [host], also with :port behind it"),
        },
        ("error", text) => Way::Answer(said(5, 550, text)),
        ("retry", text) => Way::Answer(said(4, 450, text)),
        ("discard", text) => {
            let text = if text.is_empty() { "the transport map says so" } else { text };
            Way::Answer(Status::new(250, Enhanced(2, 0, 0), format!("thrown away: {text}")))
        }
        (agent, _) => {
            let known = OTHERS.iter().find(|(name, _)| *name == agent).map(|(_, hint)| *hint);
            wrong(value, known.unwrap_or("want smtp:, relay:, error:, retry: or discard:"))
        }
    }
}

/// A line of sender_dependent_relayhost_maps.
fn relay(value: &str) -> Way {
    match NextHop::parse(value) {
        _ if value == "DUNNO" => Way::Usual,
        Some(hop) => Way::Hop(hop),
        None => wrong(value, "want a domain or [host], also with :port behind it, without smtp: in front"),
    }
}

fn wrong(value: &str, why: &str) -> Way {
    let value = common::log::readable(value.as_bytes());
    Way::Wrong(format!("\"{value}\" is not accepted: {why}"))
}

/// The answer of `error:` and `retry:`, which may begin with a code (RFC 3463) of the same class.
fn said(class: u8, code: u16, text: &str) -> Status {
    let (front, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut numbers =
        front.split('.').map(|number| number.parse::<u16>().ok().filter(|number| *number < 1000));
    let (first, subject, detail) =
        (numbers.next().flatten(), numbers.next().flatten(), numbers.next().flatten());
    let (enhanced, text) = match (first, subject, detail, numbers.next()) {
        (Some(first), Some(subject), Some(detail), None) if first == u16::from(class) => {
            (Enhanced(class, subject, detail), rest.trim())
        }
        _ => (Enhanced(class, 0, 0), text),
    };
    let text: Cow<'_, str> = match text {
        "" => "mail for this address is not delivered".into(),
        text => common::log::readable(text.as_bytes()).to_string().into(),
    };
    Status::new(code, enhanced, text)
}

/// user@domain, domain, .parent, and `*` for everything.
fn transport_keys(recipient: &Address) -> Vec<String> {
    let domain = recipient.domain();
    let mut keys = vec![recipient.to_string(), domain.to_owned()];
    keys.extend(domain.match_indices('.').filter_map(|(at, _)| domain.get(at..).map(str::to_owned)));
    keys.push("*".to_owned());
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::config::next_hop::RelayHost;

    fn address(text: &str) -> Address {
        Address::parse(text.as_bytes()).unwrap()
    }

    fn router(transport: &str, by_sender: &str) -> Router {
        Router::load(&Config {
            transport_maps: transport.to_owned().into(),
            sender_dependent_relayhost_maps: by_sender.to_owned().into(),
            relayhost: RelayHost::To(NextHop::parse("[isp.test]:465")),
            ..Config::DEFAULT
        })
    }

    #[test]
    fn next_hops() {
        let router = router(
            "inline:{special.test=smtp:[10.0.0.1]:2525, .below.test=:up.test, user@one.test=smtp:, usual@one.test=:, *.odd.test=:x}",
            "inline:{anna@me.test=[anna.isp.test]:587, @other.test=other.isp.test, dunno@me.test=DUNNO}",
        );
        let of_null =
            self::router("", "inline:{<>=[null.isp.test]}").next_hop(&None, &address("x@y.test")).unwrap();
        assert_eq!(of_null.to_string(), "[null.isp.test]");
        for (sender, recipient, want) in [
            (None, "x@y.test", "[isp.test]:465"),
            (Some("bert@me.test"), "x@y.test", "[isp.test]:465"),
            (Some("dunno@me.test"), "x@y.test", "[isp.test]:465"),
            (Some("Anna@me.test"), "x@y.test", "[anna.isp.test]:587"),
            (Some("x@Other.test"), "x@y.test", "other.isp.test"),
            (Some("anna@me.test"), "x@special.test", "[10.0.0.1]:2525"),
            (None, "x@a.below.test", "up.test"),
            (None, "x@below.test", "[isp.test]:465"),
            (None, "user@one.test", "one.test"),
            (None, "usual@one.test", "[isp.test]:465"),
        ] {
            let hop = router.next_hop(&sender.map(address), &address(recipient)).unwrap();
            assert_eq!(hop.to_string(), want, "{sender:?} {recipient}");
        }
        assert_eq!(router.problems(), []);
        let plain = Router::load(&Config::DEFAULT);
        let literal = plain.next_hop(&None, &address("x@[192.0.2.1]")).unwrap();
        assert_eq!(literal.address(), Some([192, 0, 2, 1].into()));
    }

    #[test]
    fn no_way_at_all() {
        let router = router(
            "inline:{gone.test=error:the shop is closed, moved.test=error:5.1.6 moved away, odd.test=error:4.1.6 x, \
             bare.test=error:, later.test=retry:4.2.1 try again, away.test=discard:}",
            "",
        );
        for (domain, want) in [
            ("gone.test", "550 5.0.0 the shop is closed"),
            ("moved.test", "550 5.1.6 moved away"),
            ("odd.test", "550 5.0.0 4.1.6 x"),
            ("bare.test", "550 5.0.0 mail for this address is not delivered"),
            ("later.test", "450 4.2.1 try again"),
            ("away.test", "250 2.0.0 thrown away: the transport map says so"),
        ] {
            let status = router.next_hop(&None, &address(&format!("x@{domain}"))).unwrap_err();
            assert_eq!(status.to_string(), want, "{domain}");
        }
        assert_eq!(router.problems(), []);
    }

    #[test]
    fn what_cannot_be_used_concerns_those_it_is_asked_for() {
        for (value, hint) in [
            ("local:", "mydestination"),
            ("virtual:x", "virtual_mailbox_domains"),
            ("lmtp:unix:/run/x", "SMTP only"),
            ("uucp:x", "SMTP only"),
            ("smtp-slow:[h]", "want smtp:"),
            ("smtp:a b", "want a domain or [host]"),
            ("nothing", "want smtp:NEXTHOP"),
        ] {
            let router = router(&format!("inline:{{a.test={value}}}"), "");
            let status = router.next_hop(&None, &address("x@a.test")).unwrap_err();
            assert!(status.is_temporary() && status.text.contains(hint), "{value}: {status}");
            assert!(router.next_hop(&None, &address("x@b.test")).is_ok(), "{value}");
            let [problem] = &router.problems()[..] else { panic!("{value}") };
            assert!(problem.what.starts_with("transport_maps: a.test: ") && !problem.is_table, "{problem:?}");
        }
        for value in ["a b", "smtp:[x]:25", ""] {
            let router = router("", &format!("inline:{{a@a.test={value}}}"));
            let hop = |sender: &str| router.next_hop(&Some(address(sender)), &address("x@a.test"));
            assert!(hop("a@a.test").unwrap_err().is_temporary() && hop("b@a.test").is_ok(), "{value}");
            assert_eq!(router.problems().len(), 1);
        }
    }

    #[test]
    fn a_relayhost_with_names_in_it() {
        let of = |text: &str| {
            let relayhost = RelayHost::Named(text.to_owned());
            Router::load(&Config { relayhost, mydomain: "isp.test".into(), ..Config::DEFAULT })
        };
        let hop = of("[mail.$mydomain]:587").next_hop(&None, &address("x@a.test")).unwrap();
        assert_eq!(hop.to_string(), "[mail.isp.test]:587");
        let status = of("$nothing").next_hop(&None, &address("x@a.test")).unwrap_err();
        assert!(status.is_temporary() && status.text.starts_with("relayhost: "), "{status}");
        assert!(of("$nothing").problems()[0].what.contains("no setting $nothing"));
    }

    #[test]
    fn a_table_that_cannot_be_read_concerns_those_it_would_be_asked_for() {
        let router = router("inline:{b.test=smtp:[b.test]}", "hash:/nonexistent");
        assert!(router.next_hop(&Some(address("a@a.test")), &address("x@b.test")).is_ok());
        assert!(router.next_hop(&None, &address("x@a.test")).is_err());
        let status = router.next_hop(&Some(address("a@a.test")), &address("x@a.test")).unwrap_err();
        assert!(status.is_temporary() && !status.text.contains("/nonexistent"), "{status}");
        let [problem] = &router.problems()[..] else { panic!() };
        assert!(problem.is_table && problem.what.contains("/nonexistent"), "{problem:?}");
    }
}
